"""NIfTI files, by nibabel: whole, with the placement the header gives, and NaN where the file has NaN."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from ..data.errors import InputError
from ..data.volume import VolumeImage
from .faults import cut_short, damaged, no_image
from .geometry import corner_distance, is_sheared, straightened
from .names import stem_of

try:  # reads compressed files in half the time
    from isal import igzip as gzip
except ImportError:
    import gzip

GZIP = b"\x1f\x8b"
SMALLEST = 352
"""Bytes of the shortest header."""
BEGINNINGS = tuple(size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big"))
SAME_PLACE = 0.5
"""Share of a voxel by which two placements may differ."""
SAME_SIZE = 0.01


def read_nifti(path: Path) -> VolumeImage:
    """Read a NIfTI-1 or -2 file.

    Raises:
        InputError: cut short, damaged, with more than one volume, or without a size of its voxels.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    content = _uncompressed(path)
    if len(content) < SMALLEST or content[:4] not in BEGINNINGS:
        raise no_image(path, "it does not begin like a NIfTI file")
    kind = nibabel.Nifti2Image if b"\x1c\x02" in (content[:2], content[3:1:-1]) else nibabel.Nifti1Image
    try:
        header = kind.header_class(content[: kind.header_class.sizeof_hdr], check=False)
        if header["magic"].item() not in (b"n+1", b"n+2"):
            raise damaged(path, "it does not begin like a NIfTI file, or its voxels are in another one")
        shape, kind_of = header.get_data_shape(), header.get_data_dtype()
        begin = int(header.get_data_offset()) or int(header.single_vox_offset)
    except (ImageFileError, HeaderDataError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, error) from error
    promised = int(np.prod(shape, dtype=np.int64)) * kind_of.itemsize
    if len(content) - begin < promised:
        raise cut_short(path, promised, len(content) - begin)
    stored = np.frombuffer(content, kind_of, count=promised // kind_of.itemsize, offset=begin).reshape(shape, order="F")
    array = _channels_last(_scaled(stored, *header.get_slope_inter()), len(shape), path)
    matrix, doubts = _placed(path, header, array.shape[2::-1])
    matrix, note = straightened(matrix)
    return VolumeImage(array, matrix, stem_of(path), notes=(note,) if note else (), doubts=doubts)


def _uncompressed(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(GZIP):
        return content
    try:
        return gzip.decompress(content)  # also compares length and CRC
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, error) from error


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
            f"'{stem_of(path)}' is {dimensions}-D, size {list(values.shape)}; expected a 3-D volume or a 2-D picture. "
            "Split the series into its frames first."
        )
    if dimensions == 2:
        values = np.expand_dims(values, 2)
    return np.ascontiguousarray(values.transpose(2, 1, 0, *([3] if coloured else [])))


def _placed(path: Path, header: object, size: tuple[int, int, int]) -> tuple[np.ndarray, tuple[str, ...]]:
    """IJK to RAS, and why it may be wrong."""
    steps = np.abs(np.asarray(header["pixdim"], float)[1:4])
    steps[len(header.get_data_shape()) :] = 1  # a picture has no third
    if not np.isfinite(steps).all() or not steps.all():
        raise InputError(
            f"'{path}' says its voxels measure {' x '.join(f'{step:g}' for step in steps)} mm; expected sizes above 0. "
            "Correct its header (pixdim), or export the image again."
        )
    sform, s_code = header.get_sform(coded=True)
    qform, q_code = header.get_qform(coded=True)
    if not s_code and not q_code:
        doubt = f"'{path.name}' does not say where right and left are (sform and qform codes are 0)."
        return np.diag([-steps[0], -steps[1], steps[2], 1.0]), (doubt,)
    doubts = []
    if s_code and q_code:
        apart = corner_distance(sform, qform, size)
        if apart > SAME_PLACE * steps.min():
            doubts.append(f"'{path.name}' is placed twice, {apart:.1f} mm apart (sform and qform); sform was taken.")
    matrix = sform if s_code else qform
    found = np.linalg.norm(matrix[:3, :3], axis=0)
    if not doubts and not is_sheared(matrix) and np.abs(found / steps - 1).max() > SAME_SIZE:
        doubts.append(
            f"'{path.name}' gives its voxels two sizes, {_mm(found)} by its placement and {_mm(steps)} by pixdim; the "
            "first was taken."
        )
    return np.asarray(matrix, float), tuple(doubts)


def _mm(steps: np.ndarray) -> str:
    return " x ".join(f"{step:.3g}" for step in steps) + " mm"
