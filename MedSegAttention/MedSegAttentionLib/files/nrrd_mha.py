"""NRRD (``.nrrd``, ``.nhdr``) and MetaImage (``.mha``, ``.mhd``) files, by SimpleITK after a look at their headers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..data.errors import InputError
from ..data.volume import VolumeImage
from .faults import cut_short, damaged, no_image
from .geometry import of_itk, quiet_itk
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
        with quiet_itk():
            reader.ReadImageInformation()
        dimensions, size = reader.GetDimension(), reader.GetSize()
        if dimensions not in (2, 3):
            raise InputError(
                f"'{stem_of(path)}' is {dimensions}-D, size {list(size)}; expected a 3-D volume or a 2-D picture. "
                "Split the series into its frames first."
            )
        with quiet_itk():
            array = sitk.GetArrayFromImage(reader.Execute()) if packed is None else _unpacked(path, packed, reader)
    except RuntimeError as error:
        raise damaged(path, str(error).strip().splitlines()[-1]) from error
    return VolumeImage(array if dimensions == 3 else array[None], of_itk(reader), stem_of(path), doubts=doubts)


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
    if fields["encoding"].lower() == "raw" and not (fields.keys() & {"data file", "datafile"}):
        promised = _product(path, fields["sizes"]) * NRRD_BYTES.get(fields.get("type", "").lower(), 1)
        there = path.stat().st_size - begin
        if there < promised:
            raise cut_short(path, promised, there)
    steps = _numbers(fields.get("spacings", ""))
    if 0.0 in steps:
        raise _no_size(path, fields["spacings"], "spacings")
    if not fields.keys() & {"space", "space dimension"}:
        sized = "" if np.isfinite(steps).sum() > 1 else ", nor how large its voxels are"
        return (f"'{path.name}' does not say where right and left are (no 'space' in its header){sized}.",)
    return ()


def _look_at_meta(path: Path) -> tuple[tuple[str, ...], tuple[bytes, bool] | None]:
    """As :func:`_look_at_nrrd`; also the voxels where they are compressed, and whether their high byte comes first."""
    with path.open("rb") as file:
        content = file.read(HEADER_BYTES)
    marker = content.find(b"ElementDataFile")
    if b"=" not in content[:200]:
        raise no_image(path, "it does not begin like a MetaImage file")
    if marker < 0 or (end := content.find(b"\n", marker)) < 0:
        raise damaged(path, "its header is not whole")
    fields = _fields(content[: end + 1].decode("latin-1"), "=")
    where = fields.get("elementdatafile", "")
    compressed = fields.get("compresseddata", "false").lower() == "true"
    if where.upper() == "LOCAL":
        data, there = path, path.stat().st_size - end - 1
    else:
        data = path.with_name(where)
        if "%" in where or where.upper().startswith("LIST"):
            return (), None
        if not data.is_file():
            raise InputError(f"'{path}' has its voxels in '{where}', which is not beside it. Copy both files together.")
        there = data.stat().st_size
    kind = fields.get("elementtype", "").upper().removeprefix("MET_").removesuffix("_ARRAY")
    size = META_BYTES.get(kind.removeprefix("U"), 1) * int(fields.get("elementnumberofchannels", "1") or 1)
    promised = (
        int(fields.get("compresseddatasize", "0") or 0)
        if compressed
        else _product(path, fields.get("dimsize", "")) * size
    )
    if there < promised:
        raise cut_short(data, promised, there)
    steps = _numbers(fields.get("elementspacing", fields.get("elementsize", "")))
    if 0.0 in steps or np.isnan(steps).any():
        raise _no_size(path, fields.get("elementspacing", ""), "ElementSpacing")
    packed = None
    if compressed:
        content = data.read_bytes()[end + 1 if data == path else 0 :]
        order = fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "false"))
        packed = content[: promised or None], order.lower() == "true"
    if fields.keys() & {"transformmatrix", "orientation", "rotation"}:
        return (), packed
    sized = "" if len(steps) else ", nor how large its voxels are"
    return (f"'{path.name}' does not say where right and left are (no TransformMatrix in its header){sized}.",), packed


def _no_size(path: Path, found: str, field: str) -> InputError:
    return InputError(f"'{path}' says its voxels measure {found} mm; expected sizes above 0. Correct '{field}' there.")


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
