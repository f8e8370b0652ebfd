"""NRRD files (``.nrrd``, ``.nhdr``): a look at header and voxels; SimpleITK says where they lie and reads most of them.

ITK compares neither the length of a gzip stream nor what follows it, and takes the first voxels of too many.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..data.volume import VolumeImage
from .faults import damaged, no_image, no_place, no_size
from .geometry import shear_notes
from .gzipped import ungzipped
from .names import stem_of
from .text_headers import (
    beside,
    check_length,
    check_words,
    fields_of,
    header_of,
    numbered,
    numbers_in,
    of_bytes,
    read_by_itk,
    sizes_in,
    what_is_not_said,
)

END = "\r?\n\r?\n"
ENCODINGS = {
    **dict.fromkeys(("text", "txt", "ascii"), "text"),
    **dict.fromkeys(("gz", "gzip"), "gzip"),
    **dict.fromkeys(("bz2", "bzip2"), "bzip2"),
}
TYPE_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "signed long long int"), 8),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int"), 8),
    **dict.fromkeys(("int64", "int64_t", "uint64", "uint64_t", "double"), 8),
    "float": 4,
}
PATIENT_SPACES = (
    "ras",
    "las",
    "lps",
    *(f"{i}-{j}-superior" for i in ("right", "left") for j in ("anterior", "posterior")),
)
"""Values of ``space`` that say where right and left are; "scanner-xyz" and "3D-right-handed" do not."""


def read_nrrd(path: Path) -> VolumeImage:
    """Read a NRRD file.

    Raises:
        InputError: cut short, damaged, longer than its header says, with more than one volume, or without a size of
            its voxels.
    """
    text, begin = header_of(path, END)
    if not text.startswith("NRRD"):
        raise no_image(path, "it does not begin like a NRRD file")
    fields = fields_of(text, ":")
    if "sizes" not in fields or "encoding" not in fields:
        raise damaged(path, "its header is not whole")
    doubts = _doubts(path, fields)
    unpacked = _checked(path, fields, text, begin)
    array, matrix = read_by_itk(path, lambda reader: _decoded(path, fields, unpacked, reader))
    return VolumeImage(array, matrix, stem_of(path), notes=shear_notes(matrix), doubts=doubts)


def _checked(path: Path, fields: dict[str, str], text: str, begin: int) -> bytes | None:
    """The voxels where they are compressed, in one file; raises where they are not as many as the header says."""
    encoding = ENCODINGS.get(fields["encoding"].lower(), fields["encoding"].lower())
    if encoding == "bzip2":
        raise no_image(path, "its voxels are compressed with bzip2; save it with gzip or as it is")
    size = TYPE_BYTES.get(fields.get("type", "").lower())
    sizes = sizes_in(path, fields["sizes"])
    if str(len(sizes)) != fields.get("dimension"):
        raise damaged(path, f"its dimension is {fields.get('dimension')}, and it has {len(sizes)} sizes")
    where = fields.get("data file", fields.get("datafile"))
    files = [path] if where is None else [beside(path, name) for name in _names(where, text)]
    if size is None or not files:
        return None  # ITK says what is wrong
    values, over = divmod(int(np.prod(sizes, dtype=np.int64)), len(files))
    if over:
        raise damaged(path, f"its voxels cannot be in {len(files)} files of one size")
    lines, skipped = (
        int(fields.get(name, fields.get(name.replace(" ", ""))) or 0) for name in ("line skip", "byte skip")
    )
    unpacked = None
    for file in files:
        first = _after_lines(file, lines, 0 if where else begin)
        if encoding == "raw":
            _check(file, values * size, file.stat().st_size - first, skipped)
            continue
        content = memoryview(file.read_bytes())[first:]
        if encoding == "gzip":
            unpacked = ungzipped(file, content)
            _check(file, values * size, len(unpacked), skipped)
            unpacked = unpacked[len(unpacked) - values * size :]
        elif encoding == "text":
            check_words(file, values, content[max(skipped, 0) :])
        elif encoding == "hex":
            check_length(file, values * size, sum(map(bytes(content).count, b"0123456789abcdefABCDEF")) // 2)
    return unpacked if len(files) == 1 else None


def _check(file: Path, promised: int, there: int, skipped: int) -> None:
    """Bytes to skip go before the voxels; -1 stands for all of them."""
    check_length(file, promised, min(there, promised) if skipped < 0 else there - skipped)


def _names(where: str, text: str) -> list[str]:
    """Names of the files that hold the voxels: one, those listed at the end of the header, or those of a pattern."""
    if where.split()[:1] == ["LIST"]:
        listed = re.search(r"(?i)\ndata ?file:.*\n((?s:.*))", text)
        return [line.strip() for line in listed.group(1).splitlines() if line.strip()] if listed else []
    return numbered(where) if "%" in where and " " in where else [where]


def _after_lines(file: Path, lines: int, begin: int) -> int:
    """The byte after so many lines."""
    with file.open("rb") as stream:
        stream.seek(begin)
        for _ in range(lines):
            stream.readline()
        return stream.tell()


def _decoded(
    path: Path, fields: dict[str, str], unpacked: bytes | None, reader: sitk.ImageFileReader
) -> np.ndarray | None:
    """The voxels that are unpacked already; None where their axes are in another order than ITK's."""
    kinds = fields.get("kinds", "").lower().split()
    channels = reader.GetNumberOfComponents()
    axes = [*([channels] if channels > 1 else []), *reader.GetSize()]
    channels_first = channels == 1 or (kinds and kinds[0] not in ("domain", "space"))
    if (
        unpacked is None
        or not channels_first
        or [n for n in sizes_in(path, fields["sizes"]) if n > 1] != [n for n in axes if n > 1]
    ):
        return None
    return of_bytes(path, unpacked, reader, fields.get("endian", "").lower() == "big")


def _doubts(path: Path, fields: dict[str, str]) -> tuple[str, ...]:
    """What the header leaves open about the geometry; raises where it says what cannot be."""
    directions = fields.get("space directions", "")
    axes = [numbers_in(vector) for vector in re.findall(r"\(([^)]*)\)", directions.replace(",", " "))]
    steps = numbers_in(fields.get("spacings", ""))
    if (steps <= 0).any():
        raise no_size(path, fields["spacings"], "spacings")
    if any(not np.isfinite(axis).all() or not axis.any() for axis in axes):
        raise no_place(path, "space directions")
    if len(axes) == 3 and {len(axis) for axis in axes} == {3}:
        units = np.array(axes) / np.linalg.norm(axes, axis=1, keepdims=True)
        if abs(np.linalg.det(units)) < 1e-6:
            raise no_place(path, "space directions")
    if not np.isfinite(numbers_in(fields.get("space origin", "").strip("()").replace(",", " "))).all():
        raise no_place(path, "space origin")
    space = fields.get("space", "").lower()
    said = f"'space' is '{space}'" if space else "no 'space' in its header"
    placed = space.removesuffix("-time") in PATIENT_SPACES
    kinds = fields.get("kinds", "").split() or ["domain"] * len(fields["sizes"].split())
    dimensions = min(3, sum(kind.lower() in ("domain", "space") for kind in kinds))
    sized = max(len(axes), int(np.isfinite(steps).sum())) >= dimensions
    doubts = what_is_not_said(path, None if placed else said, sized)
    if units := sorted(set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) - {"mm", "", "millimeter"}):
        doubts += (f"'{path.name}' measures in '{units[0]}', not in mm, which Slicer and this program take it for.",)
    return doubts
