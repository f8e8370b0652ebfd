"""Slices of DICOM to a volume, for downloads whose files do not make a series by their UIDs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.files.dicom import open_whole

POSITION, ORIENTATION = "0020|0032", "0020|0037"


def read_tags(path: Path, *tags: str) -> list[str]:
    """Values of ``tags`` ("0020|0011") without the pixels, "" for one that is missing."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"'{path}' cannot be read as DICOM; expected one slice. Download it again.") from error
    return [reader.GetMetaData(tag).strip() if reader.HasMetaDataKey(tag) else "" for tag in tags]


def in_order(files: list[Path]) -> list[Path]:
    """``files`` by their place along the normal of the slices."""

    def place(path: Path) -> float:
        position, orientation = (
            [float(value) for value in text.split("\\") if value] for text in read_tags(path, POSITION, ORIENTATION)
        )
        if len(position) != 3 or len(orientation) != 6:
            raise InputError(f"'{path}' does not say where it lies; expected the DICOM tags {POSITION}, {ORIENTATION}.")
        return float(np.dot(np.cross(orientation[:3], orientation[3:]), position))

    return sorted(files, key=place)


def read_slices(ordered: list[Path]) -> sitk.Image:
    """The volume of slices in order; raises :class:`InputError` when one is not whole, or they do not stack."""
    for path in ordered:
        open_whole(path)
    try:
        return sitk.ReadImage([str(path) for path in ordered])
    except RuntimeError as error:
        raise InputError(
            f"the {len(ordered)} slices of '{ordered[0].parent}' do not make a volume; expected one size."
        ) from error
