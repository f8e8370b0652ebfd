"""Whether a class is in a slice at all: one calibrated score from what the network says anyway.

Networks that outline pictures are trained on pictures that show something, and find it everywhere. The score joins the
network's own judgement of presence (where it has such a head) with how sure and how large the outline is; weights and
thresholds are fitted on training cases kept aside and stand in the card.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..networks.contract import SegmentationOutput, in_picture

FEATURES = ("head", "peak", "area")
PEAK_CELL = 8
"""Pixels of the canvas, squared, whose mean probability counts as a peak."""
SURE = 1e-4


def presence_features(output: SegmentationOutput) -> Tensor:
    """What the score is made of, ``[B, classes, 3]`` in the order of :data:`FEATURES`.

    The logit of the presence head (0 without one), the logit of the highest mean probability in a cell of 8 x 8 pixels,
    and the decimal logarithm of the share of pixels that the class has.
    """
    logits = output.logits
    probability = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)[:, 1:]
    peak = F.avg_pool2d(probability, PEAK_CELL).flatten(2).amax(-1).clamp(SURE, 1 - SURE).logit()
    area = ((probability > 0.5).flatten(2).float().mean(-1) + SURE).log10()
    head = torch.zeros_like(peak) if output.presence is None else in_picture(output.presence)
    return torch.stack([head, peak, area], -1)


def presence_scores(output: SegmentationOutput, how: dict[str, Any]) -> Tensor:
    """``[B, classes]`` in [0, 1]: how probably each class is in the picture.

    Args:
        output: of a batch, float32.
        how: ``presence`` of the card: ``{"weights": {feature: number}, "bias": number, ...}``.
    """
    weights = torch.tensor([float(how["weights"].get(name, 0.0)) for name in FEATURES])
    return (presence_features(output) @ weights + float(how["bias"])).sigmoid()
