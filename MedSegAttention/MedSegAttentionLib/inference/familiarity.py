"""Whether an image is of the kind that a checkpoint was trained on, by the features of its own encoder.

A few slices are described by the mean of every channel of the encoder. The training images' descriptions, each number
over its spread, have main directions (principal components); the distance of a slice is how far it lies out along
these, and off them, over what is usual there: a Mahalanobis distance with a compact covariance (Gonzalez et al., arXiv
2208.03217, use it on nnU-Net's features). It is 1 on the average of the training slices. The early levels of the
encoder are part of the description, since intensities and textures tell kinds of images apart better than what is deep
(Vasiliuk et al., arXiv 2306.13528).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from .preparation import PreparedVolume

SLICES = 6
"""Evenly spread over a volume; the median of their distances counts."""


def description(network: nn.Module, prepared: PreparedVolume, device: torch.device) -> np.ndarray:
    """``[n, F]``: at most :data:`SLICES` slices of a volume, without its ends, or the one there is."""
    count = prepared.plan.shape[0]
    spread = np.linspace(0, count - 1, SLICES + 2)[1:-1]
    numbers = [int(number) for number in np.unique(spread.round())]
    shown = [number for number in numbers if not prepared.is_blank(number)] or numbers
    with torch.inference_mode():
        canvases = torch.cat([prepared.canvases(number, 1) for number in shown])
        return network.describe(canvases.to(device)).float().cpu().numpy()


def distance(described: np.ndarray, known: Mapping[str, Tensor]) -> float:
    """How far a volume lies from the training images.

    Args:
        described: ``[n, F]``, see :func:`description`.
        known: ``mean`` and ``spread`` ``[F]``, ``axes`` ``[k, F]``, ``variance`` ``[k]`` along them and ``rest``
            ``[1]``, the mean square off them, of the training slices.

    Returns:
        1 for the average training slice, in the square root of the mean of both parts.
    """
    mean, spread, axes, variance, rest = (
        known[name].double().numpy() for name in ("mean", "spread", "axes", "variance", "rest")
    )
    scaled = (described - mean) / spread
    along = scaled @ axes.T
    off = scaled - along @ axes
    squares = (along**2 / variance).mean(1) / 2 + (off**2).sum(1) / rest[0] / 2
    return float(np.sqrt(np.median(squares)))
