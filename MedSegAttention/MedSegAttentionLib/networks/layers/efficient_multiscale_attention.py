"""Efficient multi-scale attention (EMA; Ouyang et al., ICASSP 2023, arXiv 2305.13563, section 3), a part of KM-UNet.

The channels are cut into g groups of c = C / g, each treated alike. For a group x:

    r, s = sigmoid(conv1x1([mean over columns of x; mean over rows of x]))      one gate for each row and each column
    x1   = GroupNorm(x * r * s)                                                 long range
    x2   = conv3x3(x)                                                           short range
    m    = softmax(mean x1) . x2 + softmax(mean x2) . x1                        c numbers times c maps -> one map
    out  = x * sigmoid(m)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EfficientMultiscaleAttention(nn.Module):
    """EMA.

    Args:
        channels: ``C``, a multiple of ``groups``.
        groups: ``g``; each gets a map of its own.

    Shape:
        ``[B, C, h, w] -> [B, C, h, w]``
    """

    def __init__(self, channels: int, groups: int = 8) -> None:
        super().__init__()
        if channels % groups:
            raise ValueError(f"channels must be a multiple of groups; got channels={channels}, groups={groups}")
        self.groups, width = groups, channels // groups
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w] -> [B, C, h, w]``."""
        return self.attend(x)[0]

    def attend(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The pass with its map.

        Returns:
            ``[B, C, h, w]``, and ``[B, 1, h, w]`` in (0, 1): ``sigmoid(m)``, the mean over groups. It is the share of
            the features that passes at a position; not how sure the network is, nor which class it sees.
        """
        batch, channels, height, width = x.shape
        group = x.reshape(batch * self.groups, channels // self.groups, height, width)
        rows, columns = group.mean(dim=3, keepdim=True), group.mean(dim=2, keepdim=True)
        gates = torch.sigmoid(self.conv1x1(torch.cat((rows, columns.transpose(2, 3)), dim=2)))
        row_gate, column_gate = gates.split((height, width), dim=2)
        far = self.norm(group * row_gate * column_gate.transpose(2, 3))
        near = self.conv3x3(group)
        gate = torch.sigmoid(_weighted(far, near) + _weighted(near, far))
        shown = gate.reshape(batch, self.groups, height, width).float().mean(dim=1, keepdim=True)
        return (group * gate).reshape(x.shape), shown


def _weighted(by: Tensor, maps: Tensor) -> Tensor:
    """The channels of ``maps`` weighted by the softmax of the channel means of ``by``, summed: ``[.., 1, h, w]``."""
    weights = torch.softmax(by.mean(dim=(2, 3)), dim=1)
    return (weights.unsqueeze(1) @ maps.flatten(2)).unflatten(2, maps.shape[2:])
