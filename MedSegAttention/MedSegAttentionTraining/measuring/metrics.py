"""How well a segmentation agrees with its reference, on MONAI's metric functions; and what the dynamic tau did.

Rules for empty masks, for one class of one case:

* nothing to find and nothing found: Dice and IoU are 1;
* one side empty: Dice and IoU are 0;
* HD95 needs two surfaces: with a side empty it is None and left out of every mean;
* sensitivity without a positive voxel in the reference, and specificity without a negative one, are None likewise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.metrics import (
    compute_confusion_matrix_metric,
    compute_iou,
    get_confusion_matrix,
)
from scipy.ndimage import find_objects

from MedSegAttentionLib.inference.agreement import dice_of, hausdorff95

FIGURES = ("dice", "iou", "hd95", "sensitivity", "specificity", "accuracy")
TAU_BINS = 20
MARGIN = 1
"""Voxels kept around the two masks; distances do not need them, a mask's outermost voxels are surface either way."""


@dataclass(frozen=True)
class ClassScore:
    """Figures of one class in one case, that class against all the rest; None where a figure is not defined.

    Attributes:
        in_reference: whether the reference has a voxel of the class.
        found: whether the segmentation has one.
        dice: 0 to 1.
        iou: intersection over union, 0 to 1.
        hd95: the larger of the two directed 95th percentiles of the distances between the voxel centres of the two
            surfaces; mm where a spacing was given, else pixels (one step along any axis, from slice to slice too).
        sensitivity: share of the reference that was found.
        specificity: share of the voxels outside the reference that were left alone.
        accuracy: share of all voxels that agree.
    """

    in_reference: bool
    found: bool
    dice: float
    iou: float
    hd95: float | None
    sensitivity: float | None
    specificity: float | None
    accuracy: float


def score_case(
    found: np.ndarray, reference: np.ndarray, values: Mapping[str, int], spacing: Sequence[float] | None = None
) -> dict[str, ClassScore]:
    """Figures of every class.

    Args:
        found: ``[K, J, I]`` uint8.
        reference: ``[K, J, I]`` uint8, on the same grid. Axes of length 1 are dropped: a picture has an outline, but as
            a volume of one slice it would be nothing but surface.
        values: class name -> its value in both arrays, from 1.
        spacing: mm between neighbours along (k, j, i); None measures HD95 in pixels.

    Returns:
        Class name -> figures, in the order of ``values``.

    Raises:
        ValueError: the two arrays differ in shape.
    """
    if found.shape != reference.shape:
        raise ValueError(f"found has shape {list(found.shape)}, reference {list(reference.shape)}; expected the same")
    axes = [axis for axis, length in enumerate(found.shape) if length > 1] or [0]
    found, reference = (array.reshape([array.shape[axis] for axis in axes]) for array in (found, reference))
    steps = None if spacing is None else [float(spacing[axis]) for axis in axes]
    boxes = zip(*(find_objects(array, max(values.values())) for array in (found, reference)), strict=True)
    joint = [_joint_box(pair, found.shape) for pair in boxes]
    return {
        name: _score(found[joint[value - 1]] == value, reference[joint[value - 1]] == value, found.size, steps)
        for name, value in values.items()
    }


def scored_classes(scores: Mapping[str, ClassScore]) -> list[str]:
    """The classes that count in the figures of a case: those present in its reference.

    Where there are none, those found in error count (Dice 0), and where nothing was found either, all (Dice 1).
    """
    present = [name for name, score in scores.items() if score.in_reference]
    return present or [name for name, score in scores.items() if score.found] or list(scores)


def mean_figures(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Mean of each of :data:`FIGURES` over the rows that have it; None where none has."""
    means = {}
    for figure in FIGURES:
        known = [row[figure] for row in rows if row[figure] is not None]
        means[figure] = float(np.mean(known)) if known else None
    return means


class TauStatistics:
    """How the tau of one attention stage was distributed over all positions it was given.

    ``tau < 1``, so ``floor(tau k_max)`` stays below ``k_max``: a position counts as stuck at the upper bound from
    ``k_max - 1`` on, or where it attends to all positions of its slice, and at the lower bound when ``k <= k_min``.

    Args:
        k_min: fewest neighbours of a position.
        k_max: most neighbours of a position.
        slice_positions: positions of one slice; none can have more neighbours than that.
    """

    def __init__(self, k_min: int, k_max: int, slice_positions: int) -> None:
        self.k_min, self.k_max = k_min, k_max
        self.most = min(k_max - 1, slice_positions)
        self.histogram = np.zeros(TAU_BINS, np.int64)
        self.positions = self.at_k_min = self.at_k_max = 0
        self.sum, self.neighbours = 0.0, 0

    def add(self, tau: np.ndarray, k_share: np.ndarray | None = None) -> None:
        """Count the positions of some maps.

        Args:
            tau: any shape, in [0, 1].
            k_share: same shape, neighbours used over ``k_max``; None computes them from tau.
        """
        if k_share is None:
            neighbours = np.minimum(np.maximum(np.floor(tau * self.k_max), self.k_min), self.most)
        else:
            neighbours = np.rint(k_share * self.k_max)
        self.histogram += np.histogram(tau, TAU_BINS, (0, 1))[0]
        self.positions += tau.size
        self.at_k_min += int(np.count_nonzero(neighbours <= self.k_min))
        self.at_k_max += int(np.count_nonzero(neighbours >= self.most))
        self.sum += float(tau.sum(dtype=np.float64))
        self.neighbours += int(neighbours.sum(dtype=np.float64))

    def merge(self, later: TauStatistics) -> None:
        """Count the positions of ``later``, of the same stage, too."""
        for name in ("histogram", "positions", "at_k_min", "at_k_max", "sum", "neighbours"):
            setattr(self, name, getattr(self, name) + getattr(later, name))

    def summary(self) -> dict[str, list[int] | float | int]:
        """JSON-ready; at least one position must have been added.

        Returns:
            ``histogram`` (counts in 20 equal bins over [0, 1]), ``mean`` (of tau), ``mean_k`` (neighbours used),
            ``share_k_min``, ``share_k_max`` (shares of the positions, 0 to 1), ``positions``, ``k_min``, ``k_max``.
        """
        return {
            "histogram": self.histogram.tolist(),
            "mean": self.sum / self.positions,
            "mean_k": self.neighbours / self.positions,
            "share_k_min": self.at_k_min / self.positions,
            "share_k_max": self.at_k_max / self.positions,
            "positions": self.positions,
            "k_min": self.k_min,
            "k_max": self.k_max,
        }


def _joint_box(boxes: tuple[tuple[slice, ...] | None, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The box around all ``boxes`` with a margin, inside ``shape``; one voxel when there are none."""
    known = [box for box in boxes if box is not None]
    if not known:
        return (slice(0, 1),) * len(shape)
    return tuple(
        slice(
            max(0, min(part.start for part in parts) - MARGIN), min(length, max(part.stop for part in parts) + MARGIN)
        )
        for parts, length in zip(zip(*known, strict=True), shape, strict=True)
    )


def _score(found: np.ndarray, reference: np.ndarray, voxels: int, spacing: list[float] | None) -> ClassScore:
    """Figures of two bool masks, cropped from ``voxels`` voxels; none of those outside belongs to either mask."""
    masks = [torch.from_numpy(mask.astype(np.uint8))[None, None] for mask in (found, reference)]
    confusion = get_confusion_matrix(*masks)[0, 0].double()
    confusion[2] += voxels - found.size
    sensitivity, specificity, accuracy = (
        _or_none(compute_confusion_matrix_metric(name, confusion))
        for name in ("sensitivity", "specificity", "accuracy")
    )
    in_reference, is_found = bool(reference.any()), bool(found.any())
    return ClassScore(
        in_reference=in_reference,
        found=is_found,
        dice=dice_of(found, reference),
        iou=compute_iou(*masks, ignore_empty=False).item(),
        hd95=hausdorff95(found, reference, spacing) if in_reference and is_found else None,
        sensitivity=sensitivity,
        specificity=specificity,
        accuracy=accuracy,
    )


def _or_none(value: torch.Tensor) -> float | None:
    number = value.item()
    return None if math.isnan(number) else number
