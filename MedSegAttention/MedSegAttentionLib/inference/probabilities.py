"""What the calibrated probabilities say beside the labels: how unsure the network is, and where."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor
from torch.nn import functional as F


def log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    """``[B, K, H, W]`` logits to the logarithms of ``[B, max(K, 2), H, W]`` probabilities, channel 0 the background.

    Args:
        logits: of one channel (sigmoid) or several (softmax).
        temperature: of the card; logits are divided by it.
    """
    scaled = logits / temperature
    if logits.shape[1] == 1:
        return torch.cat((F.logsigmoid(-scaled), F.logsigmoid(scaled)), 1)
    return scaled.log_softmax(1)


def entropy(probabilities: Tensor, logarithms: Tensor) -> Tensor:
    """``[B, K, H, W]`` probabilities and their logarithms to ``[B, H, W]`` in [0, 1]: the entropy over log K."""
    return (-(probabilities * logarithms).sum(1) / log(logarithms.shape[1])).clamp(0, 1)
