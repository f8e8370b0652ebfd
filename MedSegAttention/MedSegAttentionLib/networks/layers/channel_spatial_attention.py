"""Channel attention, then spatial attention (CBAM; Woo et al., arXiv 1807.06521, section 3), as in VMKLA-UNet.

channel: y = x * sigmoid(W2 relu(W1 mean(x)) + W2 relu(W1 max(x)))         mean and maximum over positions
spatial: out = y * sigmoid(conv7x7([mean(y); max(y)]))                      mean and maximum over channels
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelSpatialAttention(nn.Module):
    """Channel attention followed by spatial attention.

    Args:
        channels: ``C``.
        reduction: ``C`` over the channels of the hidden layer (at least one).
        kernel_size: side of the spatial convolution.

    Shape:
        ``[B, C, h, w] -> [B, C, h, w]``
    """

    def __init__(self, channels: int, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.channel = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, channels, 1, bias=False)
        )
        self.spatial = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w] -> [B, C, h, w]``."""
        return self.attend(x)[0]

    def attend(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The pass with its map.

        Returns:
            ``[B, C, h, w]``, and ``[B, 1, h, w]`` in (0, 1): the spatial gate, the share of the features that passes at
            a position. It does not say for which class.
        """
        mean, largest = x.mean(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
        x = x * torch.sigmoid(self.channel(mean) + self.channel(largest))
        pooled = torch.cat((x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)), dim=1)
        gate = torch.sigmoid(self.spatial(pooled))
        return x * gate, gate.float()
