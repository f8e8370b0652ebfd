"""What NRRD and MetaImage share: a header of lines of text, voxels behind it or beside it, and SimpleITK as reader."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..data.errors import InputError
from .faults import cut_short, damaged, too_long
from .geometry import of_itk, quiet_libraries

LONGEST_HEADER = 1 << 22
"""Bytes in which a header must end."""
MOST_FILES = 100_000
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
BETWEEN_WORDS = np.isin(np.arange(256), list(b" \t\n\v\f\r,"))
"""Whether a byte parts the numbers of voxels that are written as text."""


def header_of(path: Path, end: str) -> tuple[str, int]:
    """The text up to the end of the first match of ``end``, and the byte where that is; all of a file without one."""
    with path.open("rb") as file:
        text = file.read(LONGEST_HEADER).decode("latin-1")
    found = re.search(end, text)
    return (text[: found.end()], found.end()) if found else (text, len(text))


def fields_of(text: str, separator: str) -> dict[str, str]:
    """Name in lower case -> value of each line that has a ``separator`` and is no comment (#)."""
    pairs = (line.partition(separator) for line in text.splitlines() if not line.startswith("#"))
    return {name.strip().lower(): value.strip(" =\t") for name, found, value in pairs if found}


def numbers_in(text: str) -> np.ndarray:
    """The numbers in a field; what is none becomes NaN."""

    def number(word: str) -> float:
        try:
            return float(word)
        except ValueError:
            return float("nan")

    return np.array([number(word) for word in text.split()], float)


def sizes_in(path: Path, text: str) -> list[int]:
    """The whole numbers above 0 in a field; raises :class:`InputError` where it holds others, or none."""
    sizes = numbers_in(text)
    if not len(sizes) or not np.isfinite(sizes).all() or (sizes < 1).any() or (sizes % 1).any():
        raise damaged(path, f"sizes '{text}'")
    return [int(size) for size in sizes]


def what_is_not_said(path: Path, unplaced: str | None, sized: bool) -> tuple[str, ...]:
    """The doubt about a header that leaves out left and right, or the size of voxels.

    Args:
        path: of the header.
        unplaced: what it says instead of left and right; None where it says them.
        sized: whether it says how large voxels are.
    """
    small = "how large its voxels are (1 mm was taken)"
    if unplaced:
        return (
            f"'{path.name}' does not say where right and left are ({unplaced}){'' if sized else f', nor {small}'}.",
        )
    return () if sized else (f"'{path.name}' does not say {small}.",)


def beside(path: Path, name: str) -> Path:
    """The file of voxels that a header names; raises :class:`InputError` unless it is there."""
    data = path.parent / name
    if not data.is_file():
        raise InputError(f"'{path}' has voxels in '{name}', which is not beside it. Copy all its files together.")
    return data


def numbered(pattern: str) -> list[str]:
    """The names that a pattern with first, last and step stands for (``s%03d.raw 1 40 1``)."""
    name, *words = pattern.split()
    first, last, step = (int(word) for word in (words + ["1"] * 3)[:3])
    numbers = range(first, last + (-1 if step < 0 else 1), step or 1)
    if len(numbers) > MOST_FILES:
        raise ValueError(f"its voxels are in {len(numbers):,} files")
    return [name % number for number in numbers]


def check_length(path: Path, promised: int, there: int) -> None:
    """Raise :class:`InputError` unless a file has as many bytes of voxels as its header says."""
    if there < promised:
        raise cut_short(path, promised, there)
    if there > promised:
        raise too_long(path, promised, there)


def check_words(path: Path, promised: int, text: bytes | memoryview) -> None:
    """The same of voxels that are written as text: as many words as voxels."""
    parting = BETWEEN_WORDS[np.frombuffer(text, np.uint8)]
    there = int(np.count_nonzero(~parting[1:] & parting[:-1])) + int(bool(len(parting)) and not parting[0])
    if there != promised:
        raise damaged(path, f"its header describes {promised:,} values, {there:,} are there")


def read_by_itk(path: Path, decode: Callable[[sitk.ImageFileReader], np.ndarray | None]) -> tuple[np.ndarray, ...]:
    """Voxels ``[K, J, I]`` or ``[K, J, I, C]`` and ``[4, 4]`` IJK to RAS.

    Args:
        path: of the header.
        decode: makes the voxels of what ITK says about them; ITK reads them where it makes None.

    Raises:
        InputError: ITK cannot read it, or it has more dimensions than a volume.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_libraries():
            reader.ReadImageInformation()
        dimensions, size = reader.GetDimension(), reader.GetSize()
        if dimensions not in (2, 3):
            raise InputError(
                f"'{path}' is {dimensions}-D, size {list(size)}; expected a 3-D volume or a 2-D picture. "
                "Split the series into its frames first."
            )
        array = decode(reader)
        if array is None:
            with quiet_libraries():
                array = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise damaged(path, "its voxels could not be read" if "No such file" in reason else reason) from error
    return array if dimensions == 3 else array[None], of_itk(reader)


def of_bytes(path: Path, values: bytes | memoryview, reader: sitk.ImageFileReader, big_endian: bool) -> np.ndarray:
    """Voxels from their bytes, as ITK says they are; raises :class:`InputError` unless it says as many."""
    kind = np.dtype(NUMPY_OF[reader.GetPixelID()]).newbyteorder(">" if big_endian else "<")
    channels = reader.GetNumberOfComponents()
    shape = (*reversed(reader.GetSize()), *([channels] if channels > 1 else []))
    check_length(path, int(np.prod(shape, dtype=np.int64)) * kind.itemsize, len(values))
    return np.frombuffer(values, kind).reshape(shape).astype(kind.newbyteorder("="), copy=False)
