"""Bringing intensities to the range the network was trained on. The same code runs in training and in use."""

from __future__ import annotations

import numpy as np


def normalise(array: np.ndarray, how: dict) -> np.ndarray:
    """Normalise a whole volume (never a slice alone, so that slices stay comparable).

    Args:
        array: any shape and number type.
        how: from the card. ``{"method": "zscore", "percentiles": [0.5, 99.5]}`` clips to those percentiles of the
            volume, then subtracts the mean and divides by the standard deviation; ``{"method": "window", "low": a,
            "high": b}`` maps [a, b] to [0, 1] and clips. In both, 0 is what a slice is padded with.

    Returns:
        float32, same shape.
    """
    if how["method"] == "window":
        low, high = float(how["low"]), float(how["high"])
        scaled = np.clip(array, low, high).astype(np.float32)
        return (scaled - np.float32(low)) / np.float32(high - low)
    if how["method"] == "zscore":
        low, high = np.percentile(array, how["percentiles"])
        clipped = np.clip(array, low, high).astype(np.float32)
        deviation = float(clipped.std())
        return (clipped - clipped.mean()) / np.float32(deviation if deviation > 0 else 1.0)
    raise ValueError(f"normalisation method '{how['method']}' is not known; expected window or zscore")
