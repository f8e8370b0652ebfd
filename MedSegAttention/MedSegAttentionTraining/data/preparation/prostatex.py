"""Cases of PROSTATEx with the whole-gland masks of Cuocolo et al.: T2 images as NIfTI or as TCIA's DICOM."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

from MedSegAttentionLib.data.errors import InputError

from .dicom import in_order, read_slices, read_tags
from .saving import read, save_volume
from .source_case import SourceCase

SERIES_NUMBER = "0020|0011"


def find_prostatex(source: Path) -> list[SourceCase]:
    """``mask_prostate/ProstateX-NNNN.nii.gz`` with the T2 image it was drawn on."""
    masks = sorted(source.rglob("mask_prostate/ProstateX-*.nii.gz"))
    cases = []
    for mask in masks:
        name = mask.name.removesuffix(".nii.gz")
        images = sorted((mask.parents[1] / "Images").glob(f"{name}_*.nii.gz"))
        if len(images) > 1:
            raise InputError(f"'{images[0].parent}' has {len(images)} images of {name}; expected one T2 image.")
        cases.append(SourceCase(name, name, partial(_write, source=source, mask=mask, image=next(iter(images), None))))
    return cases


def _write(folder: Path, source: Path, mask: Path, image: Path | None) -> None:
    name = mask.name.removesuffix(".nii.gz")
    volume = read(image) if image else read_slices(in_order(_slices(source, mask, name)))
    save_volume(folder, name, volume, read(mask) > 0, {0, 1})


def _slices(source: Path, mask: Path, patient: str) -> list[Path]:
    """Files of the patient's series that ``image_list.csv`` names."""
    number = _series_number(mask.parents[1] / "image_list.csv", patient)
    folders = sorted({path.parent for top in source.rglob(patient) if top.is_dir() for path in top.rglob("*.dcm")})
    found = []
    for folder in folders:
        files = sorted(folder.glob("*.dcm"))
        if read_tags(files[0], SERIES_NUMBER)[0] == number:
            found.append(files)
    if len(found) != 1:
        raise InputError(
            f"'{source}' has {len(found)} DICOM series with number {number} in a folder '{patient}' (of {len(folders)} "
            f"series); expected exactly one. Expected otherwise: '{mask.parents[1]}/Images/{patient}_*.nii.gz'."
        )
    return found[0]


def _series_number(table: Path, patient: str) -> str:
    """``4`` for the row ``ProstateX-0000_t2_tse_tra_4``."""
    if not table.is_file():
        raise InputError(
            f"'{table}' does not exist; expected the list of the masks' repository, which names the T2 series of "
            f"{patient}, or the image itself as '{table.parent}/Images/{patient}_*.nii.gz'."
        )
    with open(table, newline="", encoding="utf-8-sig") as file:
        names = [row[0] for row in csv.reader(file) if row and row[0].startswith(f"{patient}_")]
    if len(names) != 1:
        raise InputError(f"'{table}' names {len(names)} series of {patient}; expected one.")
    return names[0].rpartition("_")[2]
