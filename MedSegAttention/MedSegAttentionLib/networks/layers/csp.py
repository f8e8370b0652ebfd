"""Cross-stage-partial (CSP) block, the encoder block of KLO-Net (arXiv 2512.13902, Methods).

The paper gives the form: two 1x1 projections to half the channels, ``n`` bottlenecks (1x1 then 3x3) on the first,
concatenation, 1x1 fusion. It leaves three things open, settled here by its published 6.29 M parameters: both halves are
``C_out / 2`` wide, a bottleneck keeps that width throughout, and it has an identity shortcut (which costs nothing).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .convolution import ConvNormAct


class Bottleneck(nn.Module):
    """``x + conv3x3(conv1x1(x))``, all at ``channels``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = ConvNormAct(channels, channels, kernel_size=1)
        self.extract = ConvNormAct(channels, channels, kernel_size=3)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, channels, H, W] -> [B, channels, H, W]``."""
        return x + self.extract(self.reduce(x))


class CSPBlock(nn.Module):
    """Cross-stage-partial block.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; even.
        depth: ``n``, the number of bottlenecks on the first half ("CSP depth 3" in the paper).

    Shape:
        ``[B, in_channels, H, W] -> [B, out_channels, H, W]``
    """

    def __init__(self, in_channels: int, out_channels: int, depth: int = 3) -> None:
        super().__init__()
        # The two 1x1 projections see the same input: one convolution computes both, the halves are split after it.
        self.project = ConvNormAct(in_channels, out_channels, kernel_size=1)
        self.bottlenecks = nn.Sequential(*(Bottleneck(out_channels // 2) for _ in range(depth)))
        self.fuse = ConvNormAct(out_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in_channels, H, W] -> [B, out_channels, H, W]``."""
        deep, short = self.project(x).chunk(2, dim=1)
        return self.fuse(torch.cat((self.bottlenecks(deep), short), dim=1))
