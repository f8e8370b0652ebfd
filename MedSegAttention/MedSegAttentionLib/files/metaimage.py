"""MetaImage files (``.mha``, ``.mhd``): SimpleITK says where their voxels lie, which are read here.

ITK compares no checksum of compressed voxels, takes the first or the last of too many, and makes nonsense of some that
are listed in files of their own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..data.volume import VolumeImage
from .faults import damaged, no_image, no_place, no_size
from .geometry import shear_notes
from .gzipped import inflated
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

END = r"(?m)^[ \t]*ElementDataFile[ \t]*=.*(\n|\Z)"
TYPE_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "FLOAT": 4, "LONG": 4, "DOUBLE": 8, "LONG_LONG": 8}
SAME_SIZE = 0.01


def read_metaimage(path: Path) -> VolumeImage:
    """Read a MetaImage file.

    Raises:
        InputError: cut short, damaged, longer than its header says, with more than one volume, or without a size of
            its voxels.
    """
    text, begin = header_of(path, END)
    if "=" not in text[:200]:
        raise no_image(path, "it does not begin like a MetaImage file")
    fields = fields_of(text, "=")
    if "elementdatafile" not in fields:
        raise damaged(path, "its header is not whole")
    doubts = _doubts(path, fields)
    voxels = _voxels(path, fields, begin)
    big_endian = _is_true(fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "")))
    array, matrix = read_by_itk(
        path, lambda reader: None if voxels is None else of_bytes(path, voxels, reader, big_endian)
    )
    return VolumeImage(array, matrix, stem_of(path), notes=shear_notes(matrix), doubts=doubts)


def _voxels(path: Path, fields: dict[str, str], begin: int) -> bytes | memoryview | None:
    """The bytes of all voxels, None where they are text; raises where they are not as many as the header says."""
    sizes = sizes_in(path, fields.get("dimsize", ""))
    if str(len(sizes)) != fields.get("ndims", str(len(sizes))):
        raise damaged(path, f"NDims is {fields['ndims']}, DimSize has {len(sizes)} numbers")
    kind = fields.get("elementtype", "").upper().removeprefix("MET_").removesuffix("_ARRAY").removeprefix("U")
    if kind not in TYPE_BYTES:
        raise damaged(path, f"it has values of type '{fields.get('elementtype', '')}' (ElementType)")
    files = [path] if fields["elementdatafile"].upper() == "LOCAL" else _files(path, fields, sizes, begin)
    (channels,) = sizes_in(path, fields.get("elementnumberofchannels") or "1")
    values = int(np.prod(sizes, dtype=np.int64)) * channels // len(files)
    skipped = int(fields.get("headersize") or 0)
    compressed, as_text = _is_true(fields.get("compresseddata", "")), not _is_true(fields.get("binarydata", "true"))
    promised, parts = values * TYPE_BYTES[kind], []
    for file in files:
        first = _first_byte(file, skipped, begin if file == path else 0)
        content = memoryview(file.read_bytes())[first:]
        if as_text:
            check_words(file, values, content)
            continue
        voxels = inflated(file, content) if compressed else content
        check_length(file, promised, min(len(voxels), promised) if skipped < 0 else len(voxels))
        parts.append(voxels[len(voxels) - promised :])
    return None if as_text else parts[0] if len(parts) == 1 else b"".join(parts)


def _first_byte(file: Path, skipped: int, begin: int) -> int:
    """Where the voxels begin: MetaIO skips from the beginning of the file, also where the header is in it."""
    if 0 < skipped < begin:
        raise damaged(file, f"its voxels begin at byte {skipped} (HeaderSize), within its header")
    return max(skipped, begin)


def _files(path: Path, fields: dict[str, str], sizes: list[int], begin: int) -> list[Path]:
    """The files that hold the voxels: one, those listed below the header, or those of a pattern."""
    where = fields["elementdatafile"]
    words = where.split()
    if words[:1] == ["LIST"]:
        listed = path.read_bytes()[begin:].decode("utf-8", "surrogateescape")
        names, flat = [line.strip() for line in listed.splitlines() if line.strip()], words[1:2]
    elif "%" in where and len(words) > 1:
        names, flat = numbered(where), words[4:5]
    else:
        return [beside(path, where)]
    axes = int(flat[0]) if flat and flat[0].isdigit() and 0 < int(flat[0]) <= len(sizes) else len(sizes) - 1
    if len(names) != (wanted := int(np.prod(sizes[axes:], dtype=np.int64))):
        raise damaged(path, f"it names {len(names)} files for the voxels of {wanted}")
    return [beside(path, name) for name in names]


def _doubts(path: Path, fields: dict[str, str]) -> tuple[str, ...]:
    """What the header leaves open about geometry and values; raises where it says what cannot be."""
    named = next((name for name in ("elementspacing", "elementsize") if name in fields), "")
    steps = numbers_in(fields.get(named, ""))
    if not np.isfinite(steps).all() or (steps <= 0).any():
        raise no_size(path, fields[named], "ElementSpacing")
    turned = next((name for name in ("transformmatrix", "orientation", "rotation") if name in fields), "")
    axes = numbers_in(fields.get(turned, ""))
    side = int(np.sqrt(len(axes)))
    axes = axes[: side**2].reshape(side, side)
    if not np.isfinite(axes).all() or (turned and abs(np.linalg.det(axes)) < 1e-6):
        raise no_place(path, "TransformMatrix")
    moved = next((fields[name] for name in ("offset", "position", "origin") if name in fields), "")
    if not np.isfinite(numbers_in(moved)).all():
        raise no_place(path, "Offset")
    doubts = what_is_not_said(path, None if turned else "no TransformMatrix in its header", bool(named))
    lengths = np.linalg.norm(axes, axis=1)
    if len(lengths) and np.abs(lengths - 1).max() > SAME_SIZE:
        doubts += (
            f"'{path.name}' gives its voxels two sizes, by ElementSpacing and by axes of length "
            f"{', '.join(f'{length:.3g}' for length in lengths)} (TransformMatrix); their product was taken.",
        )
    slope, shift = (
        numbers_in(fields.get(f"elementtointensityfunction{name}", default))[:1].tolist()
        for name, default in (("slope", "1"), ("offset", "0"))
    )
    if (slope, shift) not in (([1.0], [0.0]), ([], []), ([0.0], [0.0])):
        doubts += (
            f"'{path.name}' says that its values are to be multiplied and shifted (ElementToIntensityFunctionSlope and "
            "-Offset), which Slicer and this program do not.",
        )
    return doubts


def _is_true(text: str) -> bool:
    """As MetaIO takes it."""
    return text[:1] in ("t", "T", "1")
