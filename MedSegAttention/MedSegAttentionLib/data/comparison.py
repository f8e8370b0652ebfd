"""Two segmentations of one image, and how well they agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

ONLY_FIRST, ONLY_SECOND, OTHER_CLASS = 1, 2, 3
"""Values of :attr:`Comparison.disagreement`."""


@dataclass(frozen=True)
class NamedLabels:
    """A segmentation as numbers.

    Attributes:
        name: what the user calls it.
        array: ``[K, J, I]`` uint8; 0 is background.
        ijk_to_ras: ``[4, 4]``, mm.
        values: class name -> its number in ``array``.
        has_scale: whether distances are those of the patient, and not of a picture file.
    """

    name: str
    array: np.ndarray
    ijk_to_ras: np.ndarray
    values: dict[str, int]
    has_scale: bool = True


@dataclass(frozen=True)
class ClassAgreement:
    """One class in both.

    Attributes:
        name: of the class.
        dice: 0 to 1; 1 where neither has a voxel of it.
        hd95: the larger of the two directed 95th percentiles of the distances between the surfaces; None where one of
            them is empty.
        mean_distance: mean distance between the surfaces, both ways; None likewise.
        size_a, size_b: mL, or pixels (voxels) where there is no scale, or square mm for a single slice.
    """

    name: str
    dice: float
    hd95: float | None
    mean_distance: float | None
    size_a: float
    size_b: float


@dataclass(frozen=True)
class SliceAgreement:
    """One slice in both.

    Attributes:
        number: along the slice axis, from 0.
        differing: voxels that differ.
        dice: over all classes together, 0 to 1.
    """

    number: int
    differing: int
    dice: float


@dataclass(frozen=True)
class Comparison:
    """How well two segmentations agree.

    Attributes:
        names: of the two.
        classes: those in both, in the order of the first.
        slices: those that differ, most voxels first.
        axis: 0, 1 or 2 for i, j, k of the first: what slices are numbered along.
        slice_count: how many there are.
        only_a, only_b: names of classes that the other lacks; they are not compared.
        disagreement: ``[K, J, I]`` uint8 on the grid of the first: 0, or :data:`ONLY_FIRST`, :data:`ONLY_SECOND`,
            :data:`OTHER_CLASS`.
        distance_unit, size_unit: ``mm`` or ``pixels``; ``mL``, ``mm2``, ``voxels`` or ``pixels``.
    """

    names: tuple[str, str]
    classes: tuple[ClassAgreement, ...]
    slices: tuple[SliceAgreement, ...]
    axis: int
    slice_count: int
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    disagreement: np.ndarray
    distance_unit: str
    size_unit: str

    @property
    def mean_dice(self) -> float:
        """Over the classes in both."""
        return float(np.mean([item.dice for item in self.classes]))

    def as_json(self) -> dict[str, Any]:
        """For programs; ``ml_a`` and ``ml_b`` are None where there is no volume to speak of."""
        has_ml = self.size_unit == "mL"
        return {
            "a": self.names[0],
            "b": self.names[1],
            "per_class": {
                item.name: {
                    "dice": item.dice,
                    "hd95": item.hd95,
                    "mean_distance": item.mean_distance,
                    "ml_a": item.size_a if has_ml else None,
                    "ml_b": item.size_b if has_ml else None,
                    "size_a": item.size_a,
                    "size_b": item.size_b,
                }
                for item in self.classes
            },
            "mean": {"dice": self.mean_dice},
            "distance_unit": self.distance_unit,
            "size_unit": self.size_unit,
            "only_in_a": list(self.only_a),
            "only_in_b": list(self.only_b),
            "slices": [
                {"slice": item.number, "differing_voxels": item.differing, "dice": item.dice} for item in self.slices
            ],
        }

    def rows(self) -> list[list[str]]:
        """Both tables, an empty row between; slices are counted from 1."""
        headings = ["class", "dice", f"hd95 ({self.distance_unit})", f"mean distance ({self.distance_unit})"]
        sizes = [f"{name} ({self.size_unit})" for name in self.names]
        return [
            [*headings, *sizes],
            *(
                [
                    item.name,
                    f"{item.dice:.4f}",
                    *("" if value is None else f"{value:.2f}" for value in (item.hd95, item.mean_distance)),
                    *(f"{value:.4f}".rstrip("0").rstrip(".") for value in (item.size_a, item.size_b)),
                ]
                for item in self.classes
            ),
            [],
            ["slice", "differing voxels", "dice"],
            *([str(item.number + 1), str(item.differing), f"{item.dice:.4f}"] for item in self.slices),
        ]
