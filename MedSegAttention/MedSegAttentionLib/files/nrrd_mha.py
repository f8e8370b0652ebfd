"""NRRD (``.nrrd``, ``.nhdr``) and MetaImage (``.mha``, ``.mhd``) files, by SimpleITK after a look at their headers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..data.errors import InputError
from ..data.volume import VolumeImage
from .faults import cut_short, damaged, no_image, no_place, no_size
from .geometry import of_itk, quiet_libraries, shear_notes
from .names import stem_of

try:  # reads compressed files in half the time
    from isal import isal_zlib as zlib
except ImportError:
    import zlib

HEADER_BYTES = 1 << 16
NRRD_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "int16", "int16_t", "ushort", "unsigned short", "uint16", "uint16_t"), 2),
    **dict.fromkeys(
        ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"), 4
    ),
    **dict.fromkeys(("longlong", "long long", "int64", "int64_t", "ulonglong", "uint64", "uint64_t", "double"), 8),
}
NUMPY_OF = {
    **dict.fromkeys((sitk.sitkUInt8, sitk.sitkVectorUInt8), "u1"),
    **dict.fromkeys((sitk.sitkInt8, sitk.sitkVectorInt8), "i1"),
    **dict.fromkeys((sitk.sitkUInt16, sitk.sitkVectorUInt16), "u2"),
    **dict.fromkeys((sitk.sitkInt16, sitk.sitkVectorInt16), "i2"),
    **dict.fromkeys((sitk.sitkUInt32, sitk.sitkVectorUInt32), "u4"),
    **dict.fromkeys((sitk.sitkInt32, sitk.sitkVectorInt32), "i4"),
    **dict.fromkeys((sitk.sitkUInt64, sitk.sitkVectorUInt64), "u8"),
    **dict.fromkeys((sitk.sitkInt64, sitk.sitkVectorInt64), "i8"),
    **dict.fromkeys((sitk.sitkFloat32, sitk.sitkVectorFloat32), "f4"),
    **dict.fromkeys((sitk.sitkFloat64, sitk.sitkVectorFloat64), "f8"),
}
PATIENT_SPACES = (
    "ras",
    "las",
    "lps",
    *(f"{i}-{j}-superior" for i in ("right", "left") for j in ("anterior", "posterior")),
)
"""Values of a NRRD's ``space`` that say where right and left are; "scanner-xyz" and "3D-right-handed" do not."""
META_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "FLOAT": 4, "LONG": 4, "DOUBLE": 8, "LONG_LONG": 8}


def read_nrrd_or_meta(path: Path) -> VolumeImage:
    """Read a NRRD or MetaImage file.

    Raises:
        InputError: cut short, damaged, with more than one volume, or without a size of its voxels.
    """
    if path.name.lower().endswith((".nrrd", ".nhdr")):
        doubts, packed = _look_at_nrrd(path), None
    else:
        doubts, packed = _look_at_meta(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_libraries():
            reader.ReadImageInformation()
        dimensions, size = reader.GetDimension(), reader.GetSize()
        if dimensions not in (2, 3):
            raise InputError(
                f"'{stem_of(path)}' is {dimensions}-D, size {list(size)}; expected a 3-D volume or a 2-D picture. "
                "Split the series into its frames first."
            )
        with quiet_libraries():
            array = sitk.GetArrayFromImage(reader.Execute()) if packed is None else _unpacked(path, packed, reader)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise damaged(path, "its voxels could not be read" if "No such file" in reason else reason) from error
    matrix = of_itk(reader)
    array = array if dimensions == 3 else array[None]
    return VolumeImage(array, matrix, stem_of(path), notes=shear_notes(matrix), doubts=doubts)


def _unpacked(path: Path, packed: tuple[bytes, bool], reader: sitk.ImageFileReader) -> np.ndarray:
    """The voxels of a compressed MetaImage, which ITK would read without a look at their checksum."""
    content, big_endian = packed
    try:
        values = zlib.decompress(content)
    except zlib.error as error:
        raise damaged(path, error) from error
    kind = np.dtype(NUMPY_OF[reader.GetPixelID()]).newbyteorder(">" if big_endian else "<")
    channels = reader.GetNumberOfComponents()
    shape = (*reversed(reader.GetSize()), *([channels] if channels > 1 else []))
    promised = int(np.prod(shape)) * kind.itemsize
    if len(values) < promised:
        raise cut_short(path, promised, len(values))
    return (
        np.frombuffer(values, kind, promised // kind.itemsize).reshape(shape).astype(kind.newbyteorder("="), copy=False)
    )


def _look_at_nrrd(path: Path) -> tuple[str, ...]:
    """Doubts about the geometry; raises where the file is not whole."""
    text, begin = _header(path, b"\n\n", b"\r\n\r\n")
    if not text.startswith("NRRD"):
        raise no_image(path, "it does not begin like a NRRD file")
    fields = _fields(text, ":")
    if "sizes" not in fields or "encoding" not in fields:
        raise damaged(path, "its header is not whole")
    encoding = fields["encoding"].lower()
    if encoding in ("bz2", "bzip2"):
        raise no_image(path, "its voxels are compressed with bzip2; save it with gzip or as it is")
    if encoding == "raw" and not (fields.keys() & {"data file", "datafile"}):
        promised = _product(path, fields["sizes"]) * NRRD_BYTES.get(fields.get("type", "").lower(), 1)
        there = path.stat().st_size - begin
        if there < promised:
            raise cut_short(path, promised, there)
    return _doubts_of_nrrd(path, fields)


def _doubts_of_nrrd(path: Path, fields: dict[str, str]) -> tuple[str, ...]:
    directions = fields.get("space directions", "")
    axes = [_numbers(vector) for vector in re.findall(r"\(([^)]*)\)", directions.replace(",", " "))]
    steps = _numbers(fields.get("spacings", ""))
    if (steps <= 0).any():
        raise no_size(path, fields["spacings"], "spacings")
    if any(not np.isfinite(axis).all() or not axis.any() for axis in axes):
        raise no_place(path, "space directions")
    if not np.isfinite(_numbers(fields.get("space origin", "").strip("()").replace(",", " "))).all():
        raise no_place(path, "space origin")
    space = fields.get("space", "").lower()
    said = f"'space' is '{space}'" if space else "no 'space' in its header"
    placed = space.removesuffix("-time") in PATIENT_SPACES
    kinds = fields.get("kinds", "").split() or ["domain"] * len(fields["sizes"].split())
    dimensions = min(3, sum(kind.lower() in ("domain", "space") for kind in kinds))
    sized = max(len(axes), int(np.isfinite(steps).sum())) >= dimensions
    doubts = _doubts(path, None if placed else said, sized)
    if units := sorted(set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) - {"mm", "", "millimeter"}):
        doubts += (f"'{path.name}' measures in '{units[0]}', not in mm, which Slicer and this program take it for.",)
    return doubts


def _doubts(path: Path, unplaced: str | None, sized: bool) -> tuple[str, ...]:
    """What is not said of left and right, with where it should be, and of the size of voxels."""
    small = "how large its voxels are (1 mm was taken)"
    if unplaced:
        return (
            f"'{path.name}' does not say where right and left are ({unplaced}){'' if sized else f', nor {small}'}.",
        )
    return () if sized else (f"'{path.name}' does not say {small}.",)


def _look_at_meta(path: Path) -> tuple[tuple[str, ...], tuple[bytes, bool] | None]:
    """As :func:`_look_at_nrrd`; also the voxels where they are compressed, and whether their high byte comes first."""
    with path.open("rb") as file:
        content = file.read(HEADER_BYTES)
    marker = content.find(b"ElementDataFile")
    if b"=" not in content[:200]:
        raise no_image(path, "it does not begin like a MetaImage file")
    if marker < 0 or ((end := content.find(b"\n", marker)) < 0 and len(content) == HEADER_BYTES):
        raise damaged(path, "its header is not whole")
    end = len(content) if end < 0 else end
    fields = _fields(content[: end + 1].decode("latin-1"), "=")
    compressed = fields.get("compresseddata", "false").lower() == "true"
    kind = fields.get("elementtype", "").upper().removeprefix("MET_").removesuffix("_ARRAY")
    channels = _product(path, fields.get("elementnumberofchannels") or "1")
    promised = _product(path, fields.get("dimsize", "")) * META_BYTES.get(kind.removeprefix("U"), 1) * channels
    if compressed:
        promised = _product(path, fields.get("compresseddatasize") or "1")
    where = fields.get("elementdatafile", "")
    data, begin = (path, end + 1) if where.upper() == "LOCAL" else (path.with_name(where), 0)
    if "%" in where or where.upper().startswith("LIST"):
        listed = content[end + 1 :].decode("latin-1")
        _check_parts(path, [path.with_name(name) for name in _part_names(where, listed)], promised)
        return _doubts_of_meta(path, fields), None
    if not data.is_file():
        raise InputError(f"'{path}' has its voxels in '{where}', which is not beside it. Copy both files together.")
    if (there := data.stat().st_size - begin - max(0, int(fields.get("headersize") or 0))) < promised:
        raise cut_short(data, promised, there)
    if not compressed:
        return _doubts_of_meta(path, fields), None
    order = fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "false"))
    packed = data.read_bytes()[begin:], order.lower() == "true"
    return _doubts_of_meta(path, fields), packed


def _part_names(where: str, listed: str) -> list[str]:
    """The files of a MetaImage of several: listed below its header, or by a pattern with first, last and step."""
    if where.upper().startswith("LIST"):
        return [line.strip() for line in listed.splitlines() if line.strip()]
    pattern, *numbers = where.split()
    first, last, step = (int(number) for number in [*numbers, *("1", "1", "1")[len(numbers) :]])
    return [pattern % number for number in range(first, last + 1, max(1, step))]


def _check_parts(path: Path, parts: list[Path], promised: int) -> None:
    """Raise :class:`InputError` unless the files are there and long enough together and each."""
    for part in parts:
        if not part.is_file():
            raise InputError(f"'{path}' has voxels in '{part.name}', which is not beside it. Copy all its files.")
        if part.stat().st_size < promised // len(parts):
            raise cut_short(part, promised // len(parts), part.stat().st_size)


def _doubts_of_meta(path: Path, fields: dict[str, str]) -> tuple[str, ...]:
    named = next((name for name in ("elementspacing", "elementsize") if name in fields), "")
    steps = _numbers(fields.get(named, ""))
    if not np.isfinite(steps).all() or (steps <= 0).any():
        raise no_size(path, fields[named], "ElementSpacing")
    turned = next((name for name in ("transformmatrix", "orientation", "rotation") if name in fields), "")
    axes = _numbers(fields.get(turned, ""))
    side = int(np.sqrt(len(axes)))
    if not np.isfinite(axes).all() or (turned and abs(np.linalg.det(axes[: side**2].reshape(side, side))) < 1e-6):
        raise no_place(path, "TransformMatrix")
    moved = next((fields[name] for name in ("offset", "position", "origin") if name in fields), "")
    if not np.isfinite(_numbers(moved)).all():
        raise no_place(path, "Offset")
    return _doubts(path, None if turned else "no TransformMatrix in its header", bool(named))


def _header(path: Path, *ends: bytes) -> tuple[str, int]:
    """Text before the first of ``ends``, and where it ends; all of a detached header."""
    with path.open("rb") as file:
        content = file.read(HEADER_BYTES)
    found = [(content.find(end), len(end)) for end in ends if end in content]
    place, length = min(found) if found else (len(content), 0)
    return content[:place].decode("latin-1"), place + length


def _fields(text: str, separator: str) -> dict[str, str]:
    pairs = (line.partition(separator) for line in text.splitlines() if not line.startswith("#"))
    return {name.strip().lower(): value.strip(" =\t") for name, found, value in pairs if found}


def _numbers(text: str) -> np.ndarray:
    """The numbers in a field; what is none becomes NaN."""

    def number(word: str) -> float:
        try:
            return float(word)
        except ValueError:
            return float("nan")

    return np.array([number(word) for word in text.split()], float)


def _product(path: Path, text: str) -> int:
    sizes = _numbers(text)
    if not len(sizes) or not np.isfinite(sizes).all() or (sizes < 1).any():
        raise damaged(path, f"sizes '{text}'")
    return int(np.prod(sizes.astype(np.int64)))
