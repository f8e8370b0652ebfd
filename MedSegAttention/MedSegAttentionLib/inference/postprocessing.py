"""What is done to the labels of a whole volume after the last slice."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk


def postprocess(labels: np.ndarray, how: dict[str, Any]) -> None:
    """Change ``labels`` ``[K, J, I]`` uint8 in place as the card asks.

    Args:
        labels: 0 is background.
        how: ``{"largest_component": true}`` keeps the largest face-connected piece of each class.
    """
    if how.get("largest_component"):
        for value in np.unique(labels):
            if value:
                _keep_largest(labels, value)


def _keep_largest(labels: np.ndarray, value: int) -> None:
    mask = labels == value
    box = tuple(
        slice(int(line[0]), int(line[-1]) + 1)
        for line in (np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
    )
    pieces = sitk.ConnectedComponent(sitk.GetImageFromArray(mask[box].astype(np.uint8)))
    by_size = sitk.GetArrayFromImage(sitk.RelabelComponent(pieces, sortByObjectSize=True))
    labels[box][by_size > 1] = 0
