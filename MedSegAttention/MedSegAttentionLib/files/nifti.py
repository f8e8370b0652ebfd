"""NIfTI files, by nibabel: whole, with the placement the header gives, and NaN where the file has NaN.

Also pairs of a header and a file of voxels (``.hdr`` and ``.img``), and those of Analyze 7.5, from which NIfTI came.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.errors import InputError
from ..data.volume import VolumeImage
from .faults import cut_short, damaged, no_image, no_place, no_size, too_long
from .geometry import LIKELY_MM, corner_distance, is_sheared, of_itk, quiet_itk, straightened
from .gzipped import GZIP, ungzipped
from .names import stem_of

BEGINNINGS = tuple(size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big"))
SINGLE, PAIR = (b"n+1", b"n+2"), (b"ni1", b"ni2")
MM_PER_UNIT = {1: 1000.0, 3: 0.001}
"""Spatial units of the header that are no mm: metres and micrometres."""
SAME_PLACE = 0.5
"""Share of a voxel by which two placements may differ."""
SAME_SIZE = 0.01


@dataclass(frozen=True)
class _Placement:
    """Where a header says the voxels lie.

    Attributes:
        ijk_to_ras: ``[4, 4]``, mm.
        notes: see ``VolumeImage``.
        doubts: likewise.
    """

    ijk_to_ras: np.ndarray
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def read_nifti(path: Path) -> VolumeImage:
    """Read a NIfTI-1 or -2 file, or a pair of NIfTI or Analyze files named by one of the two.

    Raises:
        InputError: cut short, damaged, longer than its header says, with more than one volume, or without a size of
            its voxels.
    """
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    paired = path.suffix.lower() in (".hdr", ".img")
    content = _uncompressed(_beside(path, ".hdr") if paired else path)
    try:
        header = _header(path, content, paired)
        shape, kind_of = header.get_data_shape(), header.get_data_dtype()
        begin = int(header.get_data_offset())
        slope, intercept = header.get_slope_inter()
        if "scl_slope" in header and np.isinf(header["scl_slope"]):
            raise ValueError("its values are to be multiplied by infinity")
    except (ImageFileError, HeaderDataError, ValueError, KeyError, TypeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise damaged(path, error) from error
    if not shape or min(shape) < 1:
        raise damaged(path, f"its size is {list(shape)}")
    if not paired:
        begin = begin or header.single_vox_offset
        if begin < header.sizeof_hdr:
            raise damaged(path, f"its voxels begin at byte {begin}, within its header")
    voxels, where = (_uncompressed(_beside(path, ".img")), _beside(path, ".img")) if paired else (content, path)
    promised = int(np.prod(shape, dtype=np.int64)) * kind_of.itemsize
    if begin < 0 or len(voxels) - begin < promised:
        raise cut_short(where, promised, len(voxels) - begin)
    if len(voxels) - begin > promised:
        raise too_long(where, promised, len(voxels) - begin)
    stored = np.frombuffer(voxels, kind_of, count=promised // kind_of.itemsize, offset=begin).reshape(shape, order="F")
    array = _channels_last(_scaled(stored, slope, intercept), len(shape), path)
    place = _placed(path, header, array.shape[2::-1])
    return VolumeImage(array, place.ijk_to_ras, stem_of(path), notes=place.notes, doubts=place.doubts)


def _header(path: Path, content: bytes, paired: bool) -> Any:
    """The header at the beginning of ``content``, unchecked; raises where it is of another kind of file."""
    import nibabel

    if content[:4] not in BEGINNINGS:
        raise no_image(path, "it does not begin like a NIfTI file")
    kind = nibabel.Nifti2Header if b"\x1c\x02" in (content[:2], content[3:1:-1]) else nibabel.Nifti1Header
    if len(content) < kind.sizeof_hdr:
        raise damaged(path, "its header is not whole")
    header = kind(content[: kind.sizeof_hdr], check=False)
    magic = header["magic"].item()
    if paired and magic not in PAIR:
        return nibabel.AnalyzeHeader(content[: nibabel.AnalyzeHeader.sizeof_hdr], check=False)
    if not paired and magic not in SINGLE:
        raise damaged(path, "it does not begin like a NIfTI file, or its voxels are in another one")
    if not 1 <= int(header["dim"][0]) <= 7:
        raise damaged(path, f"it has {int(header['dim'][0])} dimensions")
    if int(header["pixdim"][0]) == 0:  # means the same
        header["pixdim"][0] = 1
    return header


def _beside(path: Path, suffix: str) -> Path:
    """The other file of a pair, in the letters of ``path``."""
    other = path.with_suffix(suffix.upper() if path.suffix.isupper() else suffix)
    if not other.is_file():
        raise InputError(f"'{path}' is one of two files; '{other.name}' is not beside it. Copy both together.")
    return other


def _uncompressed(path: Path) -> bytes:
    content = path.read_bytes()
    return ungzipped(path, content) if content.startswith(GZIP) else content


def _scaled(stored: np.ndarray, slope: float | None, intercept: float | None) -> np.ndarray:
    """Real values; the file's own numbers where it has no scale."""
    if stored.dtype.names:  # red, green and blue
        return np.stack([stored[name] for name in stored.dtype.names], -1)
    native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    if slope is None or (slope == 1 and not intercept):
        return native
    kind = np.float64 if native.dtype == np.float64 else np.float32
    return native.astype(kind) * kind(slope) + kind(intercept or 0)


def _channels_last(values: np.ndarray, dimensions: int, path: Path) -> np.ndarray:
    """``(x, y[, z])``, with axes of length 1 behind, to ``[K, J, I]``; colours or vectors behind it stay there.

    Args:
        values: as stored, colours as one more axis.
        dimensions: of the header, without the colours.
        path: for the error.
    """
    coloured = values.ndim > dimensions
    if dimensions == 5 and values.shape[3] == 1:  # vectors are stored along the fifth
        values, coloured, dimensions = values[:, :, :, 0], True, 3
    while dimensions > 3 and values.shape[3] == 1:
        values, dimensions = values[:, :, :, 0], dimensions - 1
    if not 2 <= dimensions <= 3:
        raise InputError(
            f"'{path}' is {dimensions}-D, size {list(values.shape)}; expected a 3-D volume or a 2-D picture. "
            "Split the series into its frames first."
        )
    if dimensions == 2:
        values = np.expand_dims(values, 2)
    return np.ascontiguousarray(values.transpose(2, 1, 0, *([3] if coloured else [])))


def _placed(path: Path, header: Any, size: tuple[int, int, int]) -> _Placement:
    """Where the voxels lie, and why that may be wrong."""
    steps = np.abs(np.asarray(header["pixdim"], float)[1:4])
    steps[len(header.get_data_shape()) :] = 1  # a picture has no third
    if not np.isfinite(steps).all() or not steps.all():
        raise no_size(path, " x ".join(f"{step:g}" for step in steps) + " mm", "pixdim")
    analyze = "qform_code" not in header
    unit = 1.0 if analyze else MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    steps = steps * unit
    if analyze or not (int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0):
        said = "it is an Analyze file" if analyze else "sform and qform codes are 0"
        doubt = f"'{path.name}' does not say where right and left are ({said})."
        return _Placement(np.diag([-steps[0], -steps[1], steps[2], 1.0]), doubts=(doubt,))
    matrix, doubts = _chosen(path, header, size, float(steps.min()) / unit)
    matrix = np.diag([unit, unit, unit, 1.0]) @ matrix
    found = np.linalg.norm(matrix[:3, :3], axis=0)
    stored = len(header.get_data_shape())  # a picture may be placed with the thickness of the slice it was
    if not doubts and not is_sheared(matrix) and np.abs(found / steps - 1)[:stored].max() > SAME_SIZE:
        doubts += (
            f"'{path.name}' gives its voxels two sizes, {_mm(found)} by its placement and {_mm(steps)} by pixdim; the "
            "first was taken.",
        )
    matrix, notes = straightened(matrix)
    if unit != 1:
        said = f"'{path.name}' measures in {'metres' if unit > 1 else 'micrometres'}, so its voxels are {_mm(found)}."
        likely = LIKELY_MM[0] <= found.min() and found.max() <= LIKELY_MM[1]
        notes, doubts = ((*notes, said), doubts) if likely else (notes, (*doubts, said))
    return _Placement(matrix, notes, doubts)


def _chosen(path: Path, header: Any, size: tuple[int, int, int], step: float) -> tuple[np.ndarray, tuple[str, ...]]:
    """The sform, or the qform where there is no other; of two that differ the one that Slicer takes, with a doubt."""
    both = {}
    for name, code in (("sform", "sform_code"), ("qform", "qform_code")):
        if int(header[code]) > 0:
            matrix = np.asarray(header.get_sform() if name == "sform" else header.get_qform(), float)
            if not np.isfinite(matrix).all() or not np.linalg.norm(matrix[:3, :3], axis=0).all():
                raise no_place(path, name)
            both[name] = matrix
    if len(both) == 1 or (apart := corner_distance(both["sform"], both["qform"], size)) <= SAME_PLACE * step:
        return next(iter(both.values())), ()
    sheared = is_sheared(both["sform"])  # a qform has right angles, and Slicer knows no others
    taken = "sform was taken" if sheared else f"{_nearest_to_itk(path, both, size)} was taken, as Slicer does"
    doubt = f"'{path.name}' is placed twice, {apart:.1f} mm apart (sform and qform); {taken}."
    return both[taken.partition(" ")[0]], (doubt,)


def _nearest_to_itk(path: Path, choices: dict[str, np.ndarray], size: tuple[int, int, int]) -> str:
    """Which of several placements ITK takes, and Slicer with it."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_itk():
            reader.ReadImageInformation()
    except RuntimeError:
        return "sform"
    itk = of_itk(reader)
    return min(choices, key=lambda name: corner_distance(choices[name], itk, size))


def _mm(steps: np.ndarray) -> str:
    return " x ".join(f"{step:.3g}" for step in steps) + " mm"
