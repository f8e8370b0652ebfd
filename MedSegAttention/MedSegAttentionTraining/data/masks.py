"""What the values of a reference mask mean; a mask that means nothing certain is refused, never scored."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.data.volume import VolumeImage

logger = logging.getLogger(__name__)

HALF = {"u1": 128, "u2": 32768}
"""Number type of a picture's mask -> from which grey on a pixel is inside: half of the range, as ``prepare`` has it."""
JPEG_NOISE = 16
"""Grey that a JPEG alone can make of black."""
COLOURFUL, TOLERATED = 32, 0.001
"""Difference of two channels that makes a pixel coloured, and the share of such pixels that JPEG alone can make."""


def mask_values(path: Path, mask: VolumeImage, labels: dict[str, tuple[int, ...]]) -> np.ndarray:
    """``[K, J, I]`` integers: the values that ``dataset.json`` speaks of.

    The mask of a picture with one class may be soft, as JPEG or a resampling leaves it: it is cut at half of its range.
    One of 0 and 1 alone counts as one of 0 and 255.

    Args:
        path: of the mask, for errors.
        mask: as read.
        labels: of ``dataset.json``.

    Raises:
        InputError: real colours, values between those of classes, or none that ``dataset.json`` knows.
    """
    array = _grey(path, mask)
    known = {value for group in labels.values() for value in group}
    if not mask.has_scale and len(known) == 1:
        return np.where(_inside(path, array), known.pop(), 0).astype(np.int64)
    if array.dtype.kind == "f":
        if (array != np.rint(array)).any():
            odd = array[array != np.rint(array)].flat[0]
            raise InputError(
                f"mask '{path}' has values between whole numbers, such as {odd:g} (a probability map, or resampled); "
                "expected those of dataset.json. Threshold it, or resample it with nearest neighbours."
            )
        array = array.astype(np.int64)
    _check_known(path, array, known, exact=not mask.has_scale)
    return array


def _inside(path: Path, array: np.ndarray) -> np.ndarray:
    """Where the mask of one class is more white than black; raises where nothing is, and something grey is there."""
    if not np.isfinite(array).all():
        raise InputError(f"mask '{path}' has values that are NaN or infinite; expected 0 and 255.")
    if array.max() <= 1:
        return array >= (0.5 if array.dtype.kind == "f" else 1)
    half = HALF["u2" if array.max() > 255 else "u1"]
    black = JPEG_NOISE if path.suffix.lower() in (".jpg", ".jpeg") else 0
    if black < array.max() < half:
        raise InputError(
            f"mask '{path}' has no value above {array.max():g}, less than half of white; expected 0 and 255 (or 0 and "
            "1). Correct it, or the values in dataset.json."
        )
    return array >= half


def _check_known(path: Path, array: np.ndarray, known: set[int], exact: bool) -> None:
    """Raise where no value of a mask is known, or one is not and ``exact``; else warn of those that are not."""
    values = set(np.unique(array).tolist()) - {0}
    unknown = sorted(values - known)
    if not unknown:
        return
    told = f"the voxels of mask '{path}' hold the values {unknown[:5]}, and dataset.json knows {sorted(known)}"
    if exact or not values & known:
        raise InputError(f"{told}; correct the values there (pictures often have 255), or the mask.")
    logger.warning("%s; they are taken for background.", told)


def _grey(path: Path, mask: VolumeImage) -> np.ndarray:
    """The first channel of a mask whose channels are alike; an alpha channel does not count."""
    opaque = mask.without_alpha()
    if opaque is not mask and np.ptp(mask.array[..., -1]):
        raise InputError(
            f"mask '{path}' is transparent in places; expected the classes as grey values, all of them opaque. Save it "
            "without transparency."
        )
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
