"""SETR with a convolutional encoder before the transformer, as TransUNet (Chen et al., arXiv 2102.04306).

With s = ``stem_width`` (64 in TransUNet) and C = ``width`` (768 there), on a picture of H x W:

* stem, a ResNet-50 cut after its third stage, with group normalisation and standardised weights: 7x7 convolution of
  stride 2 to s channels (1/2), 3x3 max-pooling, then 3, 4 and 9 bottlenecks to 4s (1/4), 8s (1/8) and 16s (1/16);
* 1x1 convolution to C channels, position embedding, transformer of 12 layers at 1/16;
* decoder: 3x3 convolution to 8s, then four times: bilinear upsampling x 2, the stem's output of that size joined (8s,
  4s, s; none at full size), two 3x3 convolutions to 4s, 2s, s, s/4 (at least 8); 3x3 convolution to the classes.

``width=768`` with three channels in and three classes is TransUNet R50-ViT-B/16: 105.322 M parameters, with KV 98.235 M
(-6.7 %). Which encoder the KV paper (arXiv 2503.18862) used is not stated; the default here is half of that in both
parts, and ``width=128`` has 2.8 M. The stem takes any number of channels (TransUNet repeats a single one three times).
"""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers.convolution import ConvNormAct, initialise_convolutions
from .layers.transformer import VisionTransformer
from .picture_network import Record
from .setr import TransformerNetwork, check_options, default_grid

STRIDE, GROUPS, STAGE_DEPTHS = 16, 32, (3, 4, 9)


class StandardisedConv2d(nn.Conv2d):
    """Convolution without bias whose weights have mean 0 and variance 1 for each output channel (arXiv 1903.10520)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in, H, W] -> [B, out, H / stride, W / stride]``."""
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        weight = weight * torch.rsqrt(weight.square().mean(dim=(1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, weight.to(x.dtype), None, self.stride, self.padding)


def group_norm(channels: int) -> nn.GroupNorm:
    """32 groups; fewer in a narrow stem, so that a group has two channels at least as in the published one."""
    return nn.GroupNorm(gcd(GROUPS, channels // 2), channels)


class Bottleneck(nn.Module):
    """``ReLU(shortcut(x) + f(x))`` with f of 1x1, 3x3 (with the stride) and 1x1 convolutions.

    Between them are a quarter of the channels of ``after``. The shortcut is a normalised 1x1 convolution where size or
    channels change.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        middle = after // 4
        self.branch = nn.Sequential(
            StandardisedConv2d(before, middle, 1),
            group_norm(middle),
            nn.ReLU(inplace=True),
            StandardisedConv2d(middle, middle, 3, stride),
            group_norm(middle),
            nn.ReLU(inplace=True),
            StandardisedConv2d(middle, after, 1),
            group_norm(after),
        )
        self.shortcut = nn.Identity()
        if stride > 1 or before != after:
            self.shortcut = nn.Sequential(StandardisedConv2d(before, after, 1, stride), nn.GroupNorm(after, after))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, before, H, W] -> [B, after, H / stride, W / stride]``."""
        return F.relu(self.shortcut(x) + self.branch(x))


class ResNetStem(nn.Module):
    """``[B, in, H, W] ->`` features at 1/2, 1/4, 1/8 and 1/16 with s, 4s, 8s and 16s channels, s = ``width``."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.root = nn.Sequential(
            StandardisedConv2d(in_channels, width, 7, 2), group_norm(width), nn.ReLU(inplace=True)
        )
        self.stages = nn.ModuleList()
        before = width
        for number, depth in enumerate(STAGE_DEPTHS):
            after = 4 * width * 2**number
            first = Bottleneck(before, after, stride=2 if number else 1)
            self.stages.append(nn.Sequential(first, *(Bottleneck(after, after, 1) for _ in range(depth - 1))))
            before = after
        initialise_convolutions(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """See the class; finest first."""
        features = [self.root(x)]
        x = F.max_pool2d(features[0], 3, stride=2, padding=1)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class SkipDecoder(nn.Module):
    """TransUNet's decoder, see the module: ``[B, C, h, w]`` and three skips ``-> [B, classes, 16 h, 16 w]``."""

    def __init__(self, before: int, stem: int, classes: int) -> None:
        super().__init__()
        self.first = ConvNormAct(before, 8 * stem)
        last = max(8, stem // 4)
        widths, skips = (8 * stem, 4 * stem, 2 * stem, stem, last), (8 * stem, 4 * stem, stem, 0)
        self.blocks = nn.ModuleList(
            nn.Sequential(ConvNormAct(below + skip, after), ConvNormAct(after, after))
            for below, skip, after in zip(widths, skips, widths[1:], strict=False)
        )
        self.head = nn.Conv2d(last, classes, 3, padding=1)
        initialise_convolutions(self)

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        """``skips``: finest first, the deepest at twice the grid of ``x``."""
        x, skips = self.first(x), list(skips)
        for block in self.blocks:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(torch.cat((x, skips.pop()), dim=1) if skips else x)
        return self.head(x)


class SETRConv(TransformerNetwork):
    """SETR with a convolutional encoder.

    Args:
        in_channels: channels of the picture.
        out_channels: ``K``, one logit map for each class.
        width: channels of the transformer, a multiple of 8 (TransUNet: 768).
        attention, depth, mlp_ratio, drop_rate, dynamic_tau: see :class:`~.setr.SETR`.
        stem_width: ``s``, a multiple of 8; None means ``width / 12``, rounded down to a multiple of 8, and at least 8.

    Attention maps: those of :class:`~.setr.SETR`. What a position attends to are features of the convolutional stem,
    which have seen far more of the picture than their own 16 x 16 pixels.

    Raises:
        ValueError: ``width`` or ``stem_width`` is not a multiple of 8, an unknown ``attention``, or no layers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 384,
        attention: str = "qkv",
        depth: int = 12,
        mlp_ratio: float = 4.0,
        stem_width: int | None = None,
        drop_rate: float = 0.1,
        dynamic_tau: bool = False,
    ) -> None:
        check_options(width, depth, attention)
        stem = max(8, width // 12 // 8 * 8) if stem_width is None else stem_width
        if stem <= 0 or stem % 8:
            raise ValueError(f"stem_width must be a positive multiple of 8; got {stem}")
        super().__init__(in_channels, out_channels, stride=STRIDE, deepest=width, dynamic_tau=dynamic_tau)
        self.stem = ResNetStem(in_channels, stem)
        self.embed = nn.Conv2d(16 * stem, width, 1)
        self.transformer = VisionTransformer(width, depth, attention, default_grid(STRIDE), mlp_ratio, drop_rate)
        self.decoder = SkipDecoder(width, stem, out_channels)

    def segment(self, x: Tensor, record: Record | None) -> Tensor:
        """``[B, in_channels, H, W] -> [B, K, H, W]``, H and W multiples of 16."""
        *skips, deepest = self.stem(x)
        x = self.transformer(self.embed(deepest), record)
        return self.decoder(self.at_bottleneck(x, record), skips)


NETWORKS = {"setr-conv": SETRConv}
