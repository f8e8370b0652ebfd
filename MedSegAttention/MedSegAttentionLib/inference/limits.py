"""What of a volume a run is limited to: some slices, a box, some classes; and how the result says so."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.errors import InputError
from ..data.volume import VolumeImage
from .settings import RunSettings
from .slicing import SlicePlan


def wanted_slices(settings: RunSettings, plan: SlicePlan) -> range:
    """Numbers of the slices that a run does.

    Raises:
        InputError: none is left.
    """
    count = plan.shape[0]
    first, last = 0, count - 1
    for pair in (settings.slices, settings.box[plan.axes[0]] if settings.box else None):
        if pair is not None:
            first, last = max(first, pair[0]), min(last, pair[1])
    if first > last:
        raise InputError(
            f"no slice is left to segment: the volume has {count}, and the slices and the box chosen have none of them "
            "in common. Choose other slices or another box."
        )
    return range(first, last + 1)


def outside_box(settings: RunSettings, volume: VolumeImage) -> np.ndarray | None:
    """``[K, J, I]`` bool, broadcast: where nothing is made; None without a box."""
    if settings.box is None:
        return None
    inside = [
        (np.arange(size) >= first) & (np.arange(size) <= last)
        for size, (first, last) in zip(volume.size, settings.box, strict=True)
    ]
    return ~(inside[2][:, None, None] & inside[1][None, :, None] & inside[0][None, None, :])


def told(settings: RunSettings, slices: range, count: int) -> list[str]:
    """What was left out as the user chose, a sentence each."""
    sentences = []
    if len(slices) < count:
        first, last = slices[0] + 1, slices[-1] + 1
        which = f"slices {first} to {last} of {count} were" if first < last else f"slice {first} of {count} was"
        sentences.append(f"Only {which} segmented, as chosen.")
    if settings.box is not None:
        sentences.append("Only the inside of the region of interest was segmented, as chosen.")
    if settings.left_out:
        sentences.append(f"Not segmented, as chosen: {', '.join(settings.left_out)}.")
    return sentences


def as_json(settings: RunSettings, slices: range, count: int) -> dict[str, Any]:
    """The same for programs; empty where nothing was left out."""
    limits: dict[str, Any] = {}
    if len(slices) < count:
        limits["slices"] = [slices[0], slices[-1]]
    if settings.box is not None:
        limits["box"] = [list(pair) for pair in settings.box]
    if settings.left_out:
        limits["classes"] = list(settings.left_out)
    return limits
