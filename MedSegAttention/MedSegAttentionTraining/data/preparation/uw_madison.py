"""Cases of UW-Madison GI Tract: 16-bit PNG slices and one CSV of run lengths for all."""

from __future__ import annotations

import csv
import re
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedSegAttentionLib.data.errors import InputError

from .saving import read, save_volume
from .source_case import SourceCase

SLICE = re.compile(r"slice_(\d+)_(\d+)_(\d+)_(\d+\.?\d*)_(\d+\.?\d*)\.png")
BITS = {"stomach": 1, "large_bowel": 2, "small_bowel": 4}
"""A mask value is the sum of its organs, so that organs may overlap."""
SLICE_DISTANCE = 3.0
"""mm; the files do not say it."""

Runs = dict[str, dict[str, str]]


def find_uw_madison(source: Path) -> list[SourceCase]:
    """One case for each day a patient was scanned; all days of a patient stay on one side of the split."""
    folders = sorted(source.rglob("case*_day*/scans"))
    if not folders:
        return []
    tables = sorted(source.rglob("train.csv"))
    if len(tables) != 1:
        raise InputError(f"'{source}' holds {len(tables)} files train.csv; expected one (id, class, segmentation).")
    runs = _read_runs(tables[0])
    cases = []
    for folder in folders:
        name = folder.parent.name
        if f"{name}_slice_0001" in runs:  # the test folder has no reference
            cases.append(SourceCase(name, name.partition("_")[0], partial(_write, scans=folder, runs=runs)))
    return cases


def _read_runs(table: Path) -> Runs:
    """Slice -> organ -> run lengths (organs that are not there left out)."""
    runs: Runs = {}
    with open(table, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"id", "class", "segmentation"} <= set(reader.fieldnames or ()):
            raise InputError(f"'{table}' has the columns {reader.fieldnames}; expected id, class, segmentation.")
        for row in reader:
            organs = runs.setdefault(row["id"], {})
            if row["class"] not in BITS:
                raise InputError(f"'{table}' has the class '{row['class']}'; expected some of {sorted(BITS)}.")
            if row["segmentation"]:
                organs[row["class"]] = row["segmentation"]
    return runs


def _write(folder: Path, scans: Path, runs: Runs) -> None:
    name = scans.parent.name
    images, labels, spacing = [], [], None
    for number, path in enumerate(sorted(scans.glob("slice_*.png")), start=1):
        image = sitk.GetArrayFromImage(read(path))
        found, *here = _numbers_of(path, image.shape)
        identifier = f"{name}_slice_{number:04d}"
        if found != number or identifier not in runs:
            raise InputError(
                f"'{path}' is slice {found}; expected slice {number}, with a row {identifier} in train.csv."
            )
        if spacing not in (None, here) or (images and images[0].shape != image.shape):
            raise InputError(f"'{path}' has another size or spacing than the slices before it; expected one grid.")
        spacing = here
        images.append(image)
        labels.append(sum(BITS[organ] * decode_runs(text, image.shape) for organ, text in runs[identifier].items()))
    volume = sitk.GetImageFromArray(np.stack(images))
    volume.SetSpacing((*spacing, SLICE_DISTANCE))
    reference = sitk.GetImageFromArray(np.stack([np.zeros(images[0].shape, np.uint8) + mask for mask in labels]))
    reference.CopyInformation(volume)
    save_volume(folder, name, volume, reference, set(range(8)))


def _numbers_of(path: Path, shape: tuple[int, ...]) -> tuple[int, float, float]:
    """Number of the slice, mm between columns, mm between rows, from its file name."""
    parts = SLICE.fullmatch(path.name)
    if not parts:
        raise InputError(f"'{path}' is not named like slice_0001_266_266_1.50_1.50.png; expected the original names.")
    number, first, second, first_mm, second_mm = (float(text) for text in parts.groups())
    if (second, first) == shape:
        return int(number), first_mm, second_mm
    if (first, second) == shape:  # the publishers' text and files disagree on which comes first
        return int(number), second_mm, first_mm
    raise InputError(f"'{path}' has {shape} pixels; expected {first:g} x {second:g}, as its name says.")


def decode_runs(text: str, shape: tuple[int, int]) -> np.ndarray:
    """``"3 2 11 4"`` to ``[rows, columns]`` uint8, 1 inside: pairs of start (from 1, row by row) and length.

    Raises:
        InputError: not pairs of whole numbers, or a run that leaves the picture.
    """
    mask = np.zeros(shape[0] * shape[1], np.uint8)
    words = text.split()
    if len(words) % 2 or not all(word.isdigit() for word in words):
        raise InputError(f"run lengths '{text[:40]}' cannot be read; expected pairs of start and length.")
    for start, length in zip(map(int, words[::2]), map(int, words[1::2]), strict=True):
        if start < 1 or start - 1 + length > mask.size:
            raise InputError(f"run '{start} {length}' leaves the picture of {shape} pixels; expected 1 to {mask.size}.")
        mask[start - 1 : start - 1 + length] = 1
    return mask.reshape(shape)
