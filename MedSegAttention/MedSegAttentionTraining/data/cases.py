"""Folders of images with reference masks: what training and evaluation read.

A folder holds ``images/``, ``masks/`` or ``labels/`` with files of the same stem, and ``dataset.json`` (nnU-Net's form:
``labels`` maps a class name to its value, or to a list of values that make it up together).
"""

from __future__ import annotations

import csv
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedSegAttentionLib.data.errors import InputError, UsageError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.files.reading import is_image, read_volume, stem_of

from .masks import mask_values

logger = logging.getLogger(__name__)


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

    @property
    def name(self) -> str:
        """The last two parts of the path: what reports call the data."""
        return "/".join(self.path.parts[-2:])

    def check_classes(self, classes: list[str]) -> None:
        """Raise :class:`InputError` where ``dataset.json`` lacks one of ``classes``."""
        if lacking := [name for name in classes if name.lower() not in self.labels]:
            raise InputError(
                f"'{self.path}/dataset.json' has no class {lacking}, it has {sorted(self.labels)}; choose the data of "
                "this task, or correct the names there."
            )

    def check_values(self) -> None:
        """Raise :class:`InputError` where masks have values and ``dataset.json`` knows none of any mask's.

        Reads masks until one has a value that is known, mostly one; each is judged again when its case is read.
        """
        for case in self.cases:
            if mask_values(case.mask, read_volume(case.mask), self.labels).any():
                return

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
    labels, spacing_is_real = _description(folder / "dataset.json")
    masks = _masks(folder)
    images = _by_stem(sorted((folder / "images").glob("*")))
    names = list(images) if split is None else _names_of_split(folder, split, splits, list(images))
    if not names:
        raise InputError(f"'{folder}/images' holds no image; expected images/ with masks/ or labels/ beside it.")
    if lacking := [name for name in names if name not in masks]:
        raise InputError(
            f"'{images[lacking[0]]}' has no mask of the same name in '{folder}/masks' or '{folder}/labels'."
        )
    cases = tuple(Case(name, images[name], masks[name]) for name in names)
    return DataFolder(folder, labels, spacing_is_real, cases)


def _masks(folder: Path) -> dict[str, Path]:
    """Stem -> mask, in ``masks/`` or ``labels/``; raises :class:`InputError` where both have one for a case."""
    first, second = segmentation_files(folder / "masks"), segmentation_files(folder / "labels")
    if twice := sorted(first.keys() & second.keys()):
        raise InputError(
            f"'{first[twice[0]]}' and '{second[twice[0]]}' are two masks for one case; expected one. Take one away."
        )
    return first | second


def segmentation_files(folder: Path) -> dict[str, Path]:
    """Stem -> file of the label maps in ``folder``; raises :class:`InputError` where two files have one stem."""
    return _by_stem(sorted(folder.glob("*")))


def read_labels(path: Path) -> dict[str, tuple[int, ...]]:
    """Class name in lower case -> its values, from a ``dataset.json``; raises :class:`InputError`."""
    return _description(path)[0]


def _by_stem(paths: list[Path]) -> dict[str, Path]:
    """Stem -> image file; raises :class:`InputError` where two files have one."""
    found: dict[str, Path] = {}
    if lost := next((path for path in paths if path.is_symlink() and not path.exists()), None):
        raise InputError(
            f"'{lost}' is a link that leads nowhere; expected a file. Copy the data whole, or take it away."
        )
    for path in filter(is_image, paths):
        other = found.setdefault(stem_of(path), path)
        if other != path:
            raise InputError(f"'{other}' and '{path}' are two files for one case; expected one. Take one of them away.")
    return found


NOT_STATED = "not stated"


def origin_of(data: DataFolder) -> dict[str, str]:
    """Where the cases come from, as ``dataset.json`` says it: ``name``, ``terms``, ``citation``.

    ``title`` goes before ``name`` there, and nnU-Net's ``licence`` and ``reference`` count too. A name that is missing
    is the end of the folder's path; what else is missing is :data:`NOT_STATED`.
    """
    about = json.loads((data.path / "dataset.json").read_text(encoding="utf-8"))
    texts = {key: text.strip() for key, text in about.items() if isinstance(text, str) and text.strip()}
    wanted = {
        "name": ("title", "name"),
        "terms": ("terms", "licence", "license"),
        "citation": ("citation", "reference"),
    }
    without = {"name": data.name, "terms": NOT_STATED, "citation": NOT_STATED}
    return {key: next((texts[k] for k in keys if k in texts), without[key]) for key, keys in wanted.items()}


def _description(path: Path) -> tuple[dict[str, tuple[int, ...]], bool]:
    """Class values and whether spacing is real, from ``dataset.json``."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        named = [
            (name.lower(), value if isinstance(value, list) else [value]) for name, value in about["labels"].items()
        ]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"'{path}' cannot be used ({type(error).__name__}: {error}); expected a folder with images/, masks/ or "
            'labels/, and this file with "labels": {class name: value}.'
        ) from error
    labels = {name: tuple(values) for name, values in named if name != "background"}
    if not labels or len({name for name, _ in named}) < len(named):
        raise InputError(f"'{path}' names no class, or one twice; expected \"labels\": {{class name: value}}.")
    for name, values in labels.items():
        if odd := [value for value in values if not _is_class(value)]:
            raise InputError(
                f"'{path}' gives the class '{name}' the value {json.dumps(odd[0])}; expected whole numbers above 0, as "
                'in {"background": 0, "liver": 1}, or a list of them.'
            )
    return labels, bool(about.get("spacing_is_real", True))


def _is_class(value: object) -> bool:
    """Whether a value of ``dataset.json`` can be that of voxels of a class."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 and value == int(value)


def _names_of_split(folder: Path, split: str, splits: str | Path | None, images: list[str]) -> list[str]:
    """Stems of the images of ``split``; a case may also be named by the part of the stem before its last ``_``."""
    if splits is None or not Path(splits).is_file():
        raise UsageError(f"split '{split}' needs --splits FILE with columns dataset, case, split; got {splits}.")
    with open(splits, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    if lacking := {"dataset", "case", "split"} - set(reader.fieldnames or ()):
        raise InputError(f"'{splits}' lacks the columns {sorted(lacking)}; expected dataset, case, split.")
    ours = [row for row in rows if folder.as_posix().endswith("/" + row["dataset"])]
    wanted = [row["case"] for row in ours if row["split"] == split]
    if not wanted:
        named = sorted({row["split"] for row in ours}) or sorted({row["dataset"] for row in rows})
        raise InputError(
            f"'{splits}' has no case of split '{split}' for '{folder}'; its {'splits' if ours else 'data sets'} are "
            f"{named}. The column dataset must be how the folder's path ends."
        )
    by_case = {name.rpartition("_")[0]: name for name in images} | {name: name for name in images}
    if missing := [case for case in wanted if case not in by_case]:
        raise InputError(f"'{folder}/images' lacks {len(missing)} cases of split '{split}', '{missing[0]}' among them.")
    return sorted(by_case[case] for case in wanted)


def read_case(data: DataFolder, case: Case, classes: list[str]) -> tuple[VolumeImage, np.ndarray]:
    """The image without alpha and its mask ``[K, J, I]`` uint8 (0 background, 1.. as in ``classes``), on one grid.

    Raises:
        InputError: the mask does not fit the image.
    """
    image = read_volume(case.image).without_alpha()
    return image, data.masks(values_on(image, case.mask, data.labels), classes)


def values_on(image: VolumeImage, path: Path, labels: dict[str, tuple[int, ...]]) -> np.ndarray:
    """The values of the mask ``path``, ``[K, J, I]``; raises :class:`InputError` unless it lies on ``image``."""
    mask = read_volume(path)
    values = mask_values(path, mask, labels)
    if values.shape != image.array.shape[:3]:
        raise InputError(
            f"mask '{path}' has shape {list(values.shape)}; expected that of its image, {list(image.array.shape[:3])}."
        )
    if not image.has_scale and not np.allclose(mask.ijk_to_ras, image.ijk_to_ras):
        logger.warning(
            "mask '%s' and its image are stored turned differently (EXIF); each is taken as it is shown upright.", path
        )
    if image.has_scale and not np.allclose(mask.ijk_to_ras, image.ijk_to_ras, atol=1e-2):
        raise InputError(f"mask '{path}' lies elsewhere than its image; expected the same origin and axes.")
    return values
