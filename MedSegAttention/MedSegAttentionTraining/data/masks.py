"""What the values of a reference mask mean; a mask that means nothing certain is refused, never scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.data.volume import VolumeImage

INSIDE = 128
"""From this grey on a pixel of a picture's mask is inside: half of 255, as ``prepare`` has it."""
COLOURFUL, TOLERATED = 32, 0.001
"""Difference of two channels that makes a pixel coloured, and the share of such pixels that JPEG alone can make."""


def mask_values(path: Path, mask: VolumeImage, labels: dict[str, tuple[int, ...]]) -> np.ndarray:
    """``[K, J, I]`` integers: the values that ``dataset.json`` speaks of.

    The mask of a picture with one class may be soft, as JPEG or a resampling leaves it: it is cut at half of 255. One
    of 0 and 1 alone counts as one of 0 and 255.

    Args:
        path: of the mask, for errors.
        mask: as read.
        labels: of ``dataset.json``.

    Raises:
        InputError: real colours, or values between those of classes.
    """
    array = _grey(path, mask)
    known = {value for group in labels.values() for value in group}
    if not mask.has_scale and len(known) == 1:
        inside = array >= (1 if array.max() <= 1 else INSIDE)
        return np.where(inside, known.pop(), 0).astype(np.int64)
    if array.dtype.kind == "f":
        if (array != np.rint(array)).any():
            odd = array[array != np.rint(array)].flat[0]
            raise InputError(
                f"mask '{path}' has values between whole numbers, such as {odd:g} (a probability map, or resampled); "
                "expected those of dataset.json. Threshold it, or resample it with nearest neighbours."
            )
        array = array.astype(np.int64)
    return array


def _grey(path: Path, mask: VolumeImage) -> np.ndarray:
    """The first channel of a mask whose channels are alike; an alpha channel does not count."""
    opaque = mask.without_alpha()
    if opaque.channels == 1:
        return opaque.array.reshape(opaque.array.shape[:3])
    channels = opaque.array.astype(np.int64)
    coloured = np.ptp(channels, axis=-1) > COLOURFUL
    if coloured.mean() > TOLERATED:
        example = tuple(channels[coloured][0].tolist())
        raise InputError(
            f"mask '{path}' is coloured, {coloured.mean():.1%} of its pixels, such as {example}; expected grey values "
            "of dataset.json. Write each class as a grey value of its own."
        )
    return channels[..., 0]
