"""Other ways to average than by case, so that our figures can be laid beside those of the papers; and intervals.

The papers average Dice over slices, or take one confusion matrix over all pixels of a data set. Both count large
patients more than small ones; the second also counts large organs more than small ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.stats import bootstrap

RESAMPLES = 9999
THIRDS = ("base", "mid", "apex")
RULES = {
    "interval": "95 % percentile bootstrap interval of the mean over cases (9999 resamples of the cases, seed 0); null "
    "for a single case. With few cases it is narrower than its name says; with two it is no more than their span.",
    "per_slice": "Mean Dice over all slices of all cases in which the class is in the reference or was found; "
    "'empty_slices' counts the others, which would each give a Dice of 1. 'found_in_empty' counts the slices without "
    "the class in the reference in which it was found, and 'found_per_empty' is their share of all slices without it.",
    "pooled": "One confusion matrix over all pixels of all cases, class by class.",
    "weighted_jaccard": "Mean IoU of 'pooled', each class weighted by its share of the pixels of the reference; the "
    "background is no class.",
    "thirds": "Dice of each third of the prostate, mean over the cases: the slices of the reference from superior to "
    "inferior in three parts as equal as can be; slices above it belong to the base, slices below to the apex.",
}


def interval(values: Sequence[float | None]) -> list[float] | None:
    """95 % bootstrap interval ``[low, high]`` of the mean of what is not None; None for fewer than two values."""
    known = np.array([value for value in values if value is not None])
    if known.size < 2:
        return None
    if np.ptp(known) == 0:
        return [float(known[0])] * 2
    found = bootstrap((known,), np.mean, n_resamples=RESAMPLES, method="percentile", random_state=0)
    return [float(found.confidence_interval.low), float(found.confidence_interval.high)]


class Averages:
    """Collects what the other rules need, case by case.

    Args:
        names: the classes; the first has value 1 in the arrays, and so on.
        thirds: also measure the thirds of the first class (the prostate).
    """

    def __init__(self, names: Sequence[str], thirds: bool = False) -> None:
        self.names = list(names)
        self.slices: dict[str, list[float]] = {name: [] for name in names}
        self.empty = dict.fromkeys(names, 0)
        self.found_in_empty = dict.fromkeys(names, 0)
        self.pixels = {name: np.zeros(3, np.int64) for name in names}
        self.thirds: list[list[float | None]] | None = [] if thirds else None

    def add(self, found: np.ndarray, reference: np.ndarray, superior: tuple[int, bool] = (0, True)) -> None:
        """Count a case.

        Args:
            found: ``[K, J, I]`` uint8.
            reference: the same shape.
            superior: array axis of the slices, and whether its index grows towards the head.
        """
        axis, upwards = superior
        found, reference = (np.moveaxis(array, axis, 0) for array in (found, reference))
        for value, name in enumerate(self.names, start=1):
            counts = _counts(found == value, reference == value)
            self.pixels[name] += counts.sum(0)
            filled = counts[:, 1:].any(1)
            self.slices[name] += _dice(counts[filled]).tolist()
            self.empty[name] += int((~filled).sum())
            self.found_in_empty[name] += int(((counts[:, 2] == 0) & filled).sum())
            if self.thirds is not None and value == 1 and counts[:, 2].any():
                self.thirds.append(_thirds(counts[::-1] if upwards else counts))

    def merge(self, later: Averages) -> None:
        """Count the cases of ``later``, of the same classes, after those of this one."""
        for name in self.names:
            self.slices[name] += later.slices[name]
            self.empty[name] += later.empty[name]
            self.found_in_empty[name] += later.found_in_empty[name]
            self.pixels[name] += later.pixels[name]
        if self.thirds is not None:
            self.thirds += later.thirds

    def summary(self) -> dict[str, dict]:
        """JSON-ready: ``per_slice``, ``pooled``, ``weighted_jaccard``, ``thirds`` if asked for; see :data:`RULES`."""
        report = {
            "per_slice": {
                name: {
                    "dice": _mean(values),
                    "slices": len(values),
                    "empty_slices": self.empty[name],
                    "found_in_empty": self.found_in_empty[name],
                    "found_per_empty": _share(self.found_in_empty[name], self.empty[name]),
                }
                for name, values in self.slices.items()
            },
            "pooled": {name: _pooled(counts) for name, counts in self.pixels.items()},
            "weighted_jaccard": self._weighted_jaccard(),
        }
        if self.thirds:
            columns = zip(THIRDS, zip(*self.thirds, strict=True), strict=True)
            report["thirds"] = {name: _mean(values) for name, values in columns} | {"cases": len(self.thirds)}
        return report

    def _weighted_jaccard(self) -> float | None:
        weights = {name: int(counts[2]) for name, counts in self.pixels.items() if counts[2]}
        total = sum(weights.values())
        return sum(weights[name] * _pooled(self.pixels[name])["iou"] for name in weights) / total if total else None


def _share(found: int, left_alone: int) -> float | None:
    return found / (found + left_alone) if found + left_alone else None


def _counts(found: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """``[slices, 3]``: pixels in both, found, in the reference."""
    return np.stack([mask.sum((1, 2)) for mask in (found & reference, found, reference)], axis=1)


def _dice(counts: np.ndarray) -> np.ndarray:
    return 2 * counts[..., 0] / (counts[..., 1] + counts[..., 2])


def _pooled(counts: np.ndarray) -> dict[str, float | None]:
    both, found, reference = counts.tolist()
    if found + reference == 0:
        return {"dice": None, "iou": None}
    return {"dice": 2 * both / (found + reference), "iou": both / (found + reference - both)}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _thirds(counts: np.ndarray) -> list[float | None]:
    """Dice of base, mid and apex from ``[slices, 3]``, the head's end first; None for a third without a slice."""
    filled = np.flatnonzero(counts[:, 2])
    first, length = filled[0], filled[-1] + 1 - filled[0]
    cuts = [0, first + round(length / 3), first + round(2 * length / 3), len(counts)]
    parts = [counts[a:b].sum(0) for a, b in pairwise(cuts)]
    return [float(_dice(part)) if part[2] else None for part in parts]
