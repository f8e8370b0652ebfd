"""Folders of images with reference masks: what training and evaluation read.

A folder holds ``images/``, ``masks/`` or ``labels/`` with files of the same stem, and ``dataset.json`` (nnU-Net's form:
``labels`` maps a class name to its value, or to a list of values that make it up together).
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.files.reading import is_image, read_volume, stem_of


@dataclass(frozen=True)
class Case:
    """One patient volume, or one picture: name, image file, mask file."""

    name: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class DataFolder:
    """A folder of cases.

    Attributes:
        path: the folder.
        labels: class name in lower case -> the mask values that belong to it (background left out).
        spacing_is_real: whether distances in mm mean anything.
        cases: the cases of the chosen split, by name.
    """

    path: Path
    labels: dict[str, tuple[int, ...]]
    spacing_is_real: bool
    cases: tuple[Case, ...]

    def masks(self, mask: np.ndarray, classes: list[str]) -> np.ndarray:
        """``[...] -> [...]`` uint8: 0 for background, 1.. in the order of ``classes``."""
        out = np.zeros(mask.shape, np.uint8)
        for value, name in enumerate(classes, start=1):
            out[np.isin(mask, self.labels[name.lower()])] = value
        return out


def read_folder(folder: str | Path, split: str | None = None, splits: str | Path | None = None) -> DataFolder:
    """List the cases of ``folder``.

    Args:
        folder: see the module's text.
        split: ``"train"`` or ``"test"``; None takes every case. Needs ``splits``.
        splits: CSV file with the columns dataset, case, split; ``dataset`` is the end of the folder's path.

    Raises:
        InputError: something is missing, or the split leaves no case.
    """
    folder = Path(folder).resolve()
    description = folder / "dataset.json"
    if not description.is_file():
        raise InputError(f"'{description}' does not exist; expected a folder with images/, masks/ or labels/ and it.")
    about = json.loads(description.read_text(encoding="utf-8"))
    labels = {
        name.lower(): tuple(value) if isinstance(value, list) else (value,)
        for name, value in about["labels"].items()
        if name.lower() != "background"
    }
    wanted = None if split is None else _names_of_split(folder, split, splits)
    masks = {stem_of(path): path for sub in ("masks", "labels") for path in (folder / sub).glob("*") if is_image(path)}
    cases = []
    for image in sorted(path for path in (folder / "images").glob("*") if is_image(path)):
        name = stem_of(image)
        if wanted is None or name in wanted:
            if name not in masks:
                raise InputError(f"'{image}' has no mask of the same name in '{folder}/masks' or '{folder}/labels'.")
            cases.append(Case(name, image, masks[name]))
    if not cases:
        raise InputError(f"'{folder}' has no case{f' of split {split!r}' if split else ''}; check images/ and --splits.")
    return DataFolder(folder, labels, bool(about.get("spacing_is_real", True)), tuple(cases))


def _names_of_split(folder: Path, split: str, splits: str | Path | None) -> set[str]:
    if splits is None:
        raise InputError(f"split '{split}' needs --splits FILE.csv with the columns dataset, case, split.")
    with open(splits, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row["case"] for row in rows if row["split"] == split and folder.as_posix().endswith("/" + row["dataset"])}


def read_case(data: DataFolder, case: Case, classes: list[str]) -> tuple[VolumeImage, np.ndarray]:
    """The image and its mask ``[K, J, I]`` uint8 (0 background, 1.. in the order of ``classes``), on one grid."""
    image, mask = read_volume(case.image), read_volume(case.mask)
    labels = mask.array if mask.channels == 1 else mask.array[..., 0]
    if labels.shape != image.array.shape[:3]:
        raise InputError(
            f"mask '{case.mask}' has shape {list(labels.shape)}; expected that of its image, "
            f"{list(image.array.shape[:3])}."
        )
    return image, data.masks(labels, classes)
