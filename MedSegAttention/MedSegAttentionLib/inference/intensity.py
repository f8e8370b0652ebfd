"""Bringing intensities to the range the network was trained on. The same code runs in training and in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SAMPLED_VOXELS = 4_000_000
"""Statistics of a larger volume come from every n-th voxel, so that at most about this many are looked at."""

BODY_SHARE, BODY_ROUNDS = 0.2, 12
AIR_SHARE, DARKEST_BODY = 0.1, -80.0
"""Of a CT window, from its lower end: what is darker is air, or the edge of cloth and table; never what is brighter
than this CT number, the border of fat."""


@dataclass(frozen=True)
class Normaliser:
    """Clips to [low, high], then ``(value - offset) / scale``. What a slice is padded with is 0 after it.

    Attributes:
        low, high: bounds in the volume's own unit.
        offset: what becomes 0, same unit.
        scale: what becomes 1 above it, same unit, positive.
    """

    low: float
    high: float
    offset: float
    scale: float

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Any shape and number type to float32 of the same shape."""
        clipped = np.clip(array, self.low, self.high).astype(np.float32)
        clipped -= np.float32(self.offset)
        clipped /= np.float32(self.scale)
        return clipped


def measure(array: np.ndarray, how: dict[str, Any]) -> Normaliser:
    """The normaliser of a whole volume (never of one slice, so that slices stay comparable).

    Args:
        array: the volume, ``[K, J, I]`` or ``[K, J, I, C]``.
        how: from the card. ``{"method": "zscore", "percentiles": [0.5, 99.5]}`` clips to those percentiles of the
            volume, then subtracts the mean and divides by the standard deviation; ``{"method": "body", "percentiles":
            [0.5, 99.5]}`` does the same with the percentiles, mean and deviation of the body alone (see
            :func:`body_threshold`), so that it does not matter how much air is around it; ``{"method": "window",
            "low": a, "high": b}`` maps [a, b] to [0, 1].

    Raises:
        ValueError: unknown method.
    """
    if how["method"] == "window":
        low, high = float(how["low"]), float(how["high"])
        return Normaliser(low, high, low, high - low)
    if how["method"] in ("zscore", "body"):
        voxels = array.reshape(-1) if array.ndim < 4 else array.reshape(-1, array.shape[3])
        sample = voxels[:: max(1, array.size // SAMPLED_VOXELS)]
        if how["method"] == "body":
            sample = sample[sample >= body_threshold(sample)]
        low, high = np.percentile(sample, how["percentiles"])
        clipped = np.clip(sample, low, high).astype(np.float32)
        return Normaliser(float(low), float(high), float(clipped.mean()), float(clipped.std()) or 1.0)
    raise ValueError(f"normalisation method '{how['method']}' is not known; expected window, zscore or body")


def air_of(how: dict[str, Any]) -> float | None:
    """Up to which CT number a voxel is air, by the intensity of a card; None where its numbers have no such meaning.

    A window that begins below fat is one of CT numbers: an MR's have no unit, and a photograph's dark edge may be skin.
    """
    if how["method"] != "window" or how["low"] >= DARKEST_BODY:
        return None
    return min(DARKEST_BODY, float(how["low"] + AIR_SHARE * (how["high"] - how["low"])))


def body_threshold(sample: np.ndarray) -> float:
    """The intensity from which on a voxel of an MR volume belongs to the body.

    A fifth of the way from the darkest voxels to the mean of the body itself: found by iteration from above, it depends
    on the body alone and not on the amount of air, as long as air is darker than that.
    """
    darkest, threshold = (float(value) for value in np.percentile(sample, (0.1, 99.9)))
    for _ in range(BODY_ROUNDS):
        threshold = darkest + BODY_SHARE * (float(sample[sample >= threshold].mean(dtype=np.float64)) - darkest)
    return threshold
