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

from .contract import SegmentationOutput
from .layers.convolution import ConvNormAct, initialise_convolutions

LEVELS = 5


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions: ``[B, in, H, W] -> [B, out, H, W]``, ``middle`` channels (default ``out``) between them."""

    def __init__(self, in_channels: int, out_channels: int, middle_channels: int | None = None) -> None:
        middle = middle_channels or out_channels
        super().__init__(ConvNormAct(in_channels, middle), ConvNormAct(middle, out_channels))


class UNet(nn.Module):
    """Five-level U-Net.

    Args:
        in_channels: channels of the picture.
        out_channels: ``K``, one logit map for each class.
        width: channels of the first level; each further level has twice as many.
        encoder_block: makes the block of an encoder level from (in_channels, out_channels).
        halved: the narrower "vanilla" form that the paper measures savings against: the deepest level and each decoder
            output have half the channels (``width=64`` gives 17.26 M parameters, 40.1 G MACs at 256 x 256).

    Shape:
        ``[B, in_channels, H, W] -> [B, K, H, W]`` for any H, W >= 32. Sizes that 16 does not divide are padded at the
        bottom and right by repeating the edge, and the logits cut back.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 32,
        encoder_block: Callable[[int, int], nn.Module] = DoubleConv,
        halved: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        widths = [width * 2**level for level in range(LEVELS)]
        if halved:
            widths[-1] //= 2
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
        initialise_convolutions(self)

    @property
    def stride(self) -> int:
        """Pixels of the input to one position of the deepest level."""
        return 2 ** (LEVELS - 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in_channels, H, W] -> [B, K, H, W]`` logits."""
        return self.forward_with_attention(x).logits

    def forward_with_attention(self, x: Tensor) -> SegmentationOutput:
        """Logits, and the maps of the levels that have attention (none in a plain U-Net)."""
        height, width = x.shape[-2:]
        x = self.padded(x)
        attention: dict[str, Tensor] = {}
        skips: list[Tensor] = []
        for level in range(LEVELS):
            x = self.encode_level(level, x, attention)
            skips.append(x)
        skips.pop()
        for block in self.decoder:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(torch.cat((skips.pop(), x), dim=1))
        return SegmentationOutput(self.head(x)[..., :height, :width], attention)

    def encode_level(self, level: int, x: Tensor, attention: dict[str, Tensor]) -> Tensor:
        """Encoder level ``level`` (0 = full resolution) on the output of the level before it.

        A network with attention adds its maps to ``attention``.
        """
        return self.encoder[level](F.max_pool2d(x, 2) if level else x)

    def padded(self, x: Tensor) -> Tensor:
        """``[B, in_channels, H, W]`` to the next multiples of the stride; raises ValueError for another shape."""
        if x.ndim != 4 or x.shape[1] != self.in_channels or min(x.shape[-2:]) < 2 * self.stride:
            raise ValueError(
                f"{type(self).__name__} takes [B, {self.in_channels}, H, W] with H and W of at least "
                f"{2 * self.stride}; got {list(x.shape)}"
            )
        height, width = x.shape[-2:]
        if height % self.stride or width % self.stride:
            x = F.pad(x, (0, -width % self.stride, 0, -height % self.stride), mode="replicate")
        return x
