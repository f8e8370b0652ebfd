"""U-Net (Ronneberger et al. 2015) in the form KLO-Net was compared with (arXiv 2512.13902).

Batch normalisation, convolutions without bias, bilinear upsampling without parameters and full-width concatenation: the
only reading that gives the paper's 7.85 M parameters at widths 32, 64, 128, 256, 512 (7,849,025 with one channel in and
out).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers.convolution import ConvNormAct, initialise_convolutions
from .picture_network import PictureNetwork, Record

LEVELS = 5
STRIDE = 2 ** (LEVELS - 1)


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions: ``[B, in, H, W] -> [B, out, H, W]``, ``middle`` channels (default ``out``) between them."""

    def __init__(self, in_channels: int, out_channels: int, middle_channels: int | None = None) -> None:
        middle = middle_channels or out_channels
        super().__init__(ConvNormAct(in_channels, middle), ConvNormAct(middle, out_channels))


class UNet(PictureNetwork):
    """Five-level U-Net.

    Args:
        in_channels: channels of the picture.
        out_channels: ``K``, one logit map for each class.
        width: channels of the first level; each further level has twice as many.
        encoder_block: makes the block of an encoder level from (in_channels, out_channels).
        halved: the narrower "vanilla" form that the paper measures savings against: the deepest level and each decoder
            output have half the channels (``width=64`` gives 17.26 M parameters, 40.1 G MACs at 256 x 256).
        dynamic_tau: see :class:`~.picture_network.PictureNetwork`; the only attention, and source of maps, it can have.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 32,
        encoder_block: Callable[[int, int], nn.Module] = DoubleConv,
        halved: bool = False,
        dynamic_tau: bool = False,
    ) -> None:
        widths = [width * 2**level for level in range(LEVELS)]
        if halved:
            widths[-1] //= 2
        super().__init__(in_channels, out_channels, stride=STRIDE, deepest=widths[-1], dynamic_tau=dynamic_tau)
        self.widths = tuple(widths)
        self.encoder = nn.ModuleList(
            encoder_block(before, after) for before, after in zip((in_channels, *widths), widths, strict=False)
        )
        self.decoder = nn.ModuleList()
        below = widths[-1]
        for skip in reversed(widths[:-1]):
            joined = below + skip
            below = max(skip // 2, width) if halved else skip
            self.decoder.append(DoubleConv(joined, below, joined // 2 if halved else below))
        self.head = nn.Conv2d(below, out_channels, 1)
        for part in (self.encoder, self.decoder, self.head):  # attention has drawn its own
            initialise_convolutions(part)

    def segment(self, x: Tensor, record: Record | None) -> Tensor:
        """``[B, in_channels, H, W] -> [B, K, H, W]``, H and W multiples of 16."""
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = self.after_level(level, block(F.max_pool2d(x, 2) if level else x), record)
            skips.append(x)
        skips.pop()
        for block in self.decoder:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(torch.cat((skips.pop(), x), dim=1))
        return self.head(x)

    def after_level(self, level: int, x: Tensor, record: Record | None) -> Tensor:
        """What follows the block of encoder level ``level`` (0 = full resolution)."""
        return self.at_bottleneck(x, record) if level == LEVELS - 1 else x


NETWORKS = {"unet": UNet}
