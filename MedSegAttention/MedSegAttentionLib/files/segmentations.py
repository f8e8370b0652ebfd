"""Segmentation files to :class:`~..data.comparison.NamedLabels`: ``.seg.nrrd``, and label maps of other formats."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..data.comparison import NamedLabels
from ..data.errors import InputError
from ..data.volume import PICTURE_SUFFIXES
from .faults import damaged
from .geometry import quiet_libraries
from .names import stem_of
from .reading import read_volume

MOST = 255


def read_segmentation(path: str | Path) -> NamedLabels:
    """Read a segmentation.

    A ``.seg.nrrd`` names its segments; where two overlap the later one wins. Label maps (NIfTI, NRRD, MHA, PNG) are
    named by a JSON file of the same name with ``{"segments": [{"name", "value"}]}``, as this package writes them; else
    their classes are called ``label N``.

    Raises:
        InputError: missing, unreadable, or no label map: values that are no whole numbers, negative, or too many.
    """
    path = Path(path)
    if path.name.lower().endswith((".seg.nrrd", ".seg.nhdr")) and path.is_file():
        return _read_seg_nrrd(path)
    volume = read_volume(path)
    if volume.channels > 1:
        raise InputError(f"'{path}' has {volume.channels} channels; expected a label map, one number a voxel.")
    array, numbers = _small(volume.array, path)
    names = _names_beside(path)
    values = {names.get(old, f"label {old}"): new for old, new in numbers.items()}
    missing = {name: 0 for old, name in names.items() if old not in numbers}
    free = iter(set(range(1, 256)) - set(numbers.values()))
    values |= {name: next(free) for name in missing}  # named, and without a voxel
    has_scale = volume.has_scale and not path.name.lower().endswith(PICTURE_SUFFIXES)
    return NamedLabels(stem_of(path), array, volume.ijk_to_ras, values, has_scale)


def _read_seg_nrrd(path: Path) -> NamedLabels:
    volume = read_volume(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with quiet_libraries():
        reader.ReadImageInformation()
    tags = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    numbers = sorted({int(found[1]) for key in tags if (found := re.match(r"Segment(\d+)_ID$", key))})
    if len(numbers) > MOST:
        raise InputError(f"'{path}' has {len(numbers)} segments; expected at most {MOST}.")
    layers = volume.array[..., None] if volume.channels == 1 else volume.array
    array, values = np.zeros(layers.shape[:3], np.uint8), {}
    for new, number in enumerate(numbers, start=1):
        try:
            layer, value = (int(tags.get(f"Segment{number}_{key}", default)) for key, default in _PLACES)
            array[layers[..., layer] == value] = new
        except (ValueError, IndexError) as error:
            raise damaged(path, f"segment {number} is in no layer that is there: {error}") from error
        values[_unused(tags.get(f"Segment{number}_Name", f"label {value}"), values)] = new
    return NamedLabels(stem_of(path), array, volume.ijk_to_ras, values, bool(_told_beside(path).get("has_scale", True)))


_PLACES = (("Layer", 0), ("LabelValue", 1))


def _unused(name: str, taken: dict[str, int]) -> str:
    return name if name not in taken else next(f"{name}_{n}" for n in range(1, 999) if f"{name}_{n}" not in taken)


def _small(array: np.ndarray, path: Path) -> tuple[np.ndarray, dict[int, int]]:
    """Labels as uint8, and old number -> new one."""
    found = np.unique(array)
    if (found != np.floor(found)).any() or found[0] < 0 or len(found) > MOST + 1:
        raise InputError(
            f"'{path}' is no label map: it has {len(found)} values from {found[0]:g} to {found[-1]:g}; expected whole "
            f"numbers from 0, at most {MOST} of them."
        )
    old = [int(value) for value in found if value > 0]
    numbers = {value: value for value in old} if not old or old[-1] <= MOST else {v: n for n, v in enumerate(old, 1)}
    if numbers and max(numbers) > MOST:
        small = np.zeros(array.shape, np.uint8)
        for value, number in numbers.items():
            small[array == value] = number
        return small, numbers
    return array.astype(np.uint8), numbers


def _names_beside(path: Path) -> dict[int, str]:
    """Value -> name of a JSON file of the same name, where there is one that names them."""
    try:
        return {int(item["value"]): str(item["name"]) for item in _told_beside(path)["segments"]}
    except (ValueError, KeyError, TypeError):
        return {}


def _told_beside(path: Path) -> dict[str, Any]:
    """What a JSON file of the same name says; nothing where there is none."""
    try:
        told = json.loads(path.with_name(f"{stem_of(path)}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
