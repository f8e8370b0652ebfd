"""Training slices: cut, oriented, normalised and fitted by the very code that inference uses."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.inference.fitting import content_box, plan_fit
from MedSegAttentionLib.inference.intensity import air_of, measure
from MedSegAttentionLib.inference.preparation import channels_first
from MedSegAttentionLib.inference.slicing import plan_slices, with_adjacent

from .cases import Case, DataFolder, read_case

logger = logging.getLogger(__name__)


def fitted_slices(
    data: DataFolder,
    case: Case,
    classes: list[str],
    intensity: dict,
    fit: dict,
    in_channels: int | None = None,
    adjacent: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """All slices of a case on the canvas.

    Returns:
        images ``[S, C, size, size]`` float32, of three slices each with ``adjacent`` (see the card), and labels
        ``[S, 1, size, size]`` uint8.

    Raises:
        InputError: the image has not ``in_channels`` channels, one value, or voxels that are NaN or infinite.
    """
    volume, mask = read_case(data, case, classes)
    replace(volume, name=str(case.image)).check_values()
    if volume.is_constant and mask.any():
        raise InputError(
            f"'{case.image}' has one value everywhere, and its mask marks something there; expected the image of the "
            "mask. Copy it again, or take both away."
        )
    for doubt in volume.doubts:
        logger.warning("%s It is learned from as it is.", doubt)
    if in_channels is not None and volume.channels != in_channels:
        raise InputError(
            f"'{case.image}' has {volume.channels} channel(s), the configuration {in_channels}; expected the same for "
            "all. Convert it, or take it away."
        )
    plan = plan_slices(volume)
    slices = plan.view(volume.array)
    box, air = content_box(slices), air_of(intensity)
    body = box if air is None else content_box(slices, air)
    images = channels_first(measure(slices[box], intensity)(slices))
    if adjacent:
        images = torch.cat(
            [images[group] for group in with_adjacent(np.arange(len(slices)), plan, adjacent, box[0])], 1
        )
    labels = channels_first(plan.view(mask))
    placed = plan_fit(plan.shape[1:], plan.spacing[1:], fit, crop=True, box=body)
    return (
        placed.to_canvas(images),
        placed.to_canvas(labels, label=True),
    )
