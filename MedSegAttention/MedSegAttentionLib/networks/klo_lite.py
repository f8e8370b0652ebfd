"""KLO-Lite: KLO-Net's dynamic k-nearest-neighbour attention with an encoder that can start from ImageNet weights.

No paper's network. The encoder is EfficientNet-Lite0 (:mod:`.layers.efficientnet_lite`), the decoder a narrow U-Net's.
The attention is that of KLO-Net (:mod:`.layers.dynamic_knn_attention`) on KLO-Net's own grids, H / 8 and H / 16, and in
the deep form on H / 32 too: after the deepest level of the encoder, and from there up after the levels of the decoder.
There its gate knows what the deeper levels saw; on the way down, on H / 8, it could not know which places are hard.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers.convolution import initialise_convolutions
from .layers.dynamic_knn_attention import DynamicKNNAttention
from .layers.efficientnet_lite import WIDTHS, efficientnet_lite0
from .picture_network import PictureNetwork, Record, attend
from .unet import DoubleConv

DECODER_WIDTHS = (1, 2, 4, 6)
"""Channels of the decoder at H / 2, H / 4, H / 8 and H / 16, over those at H / 2."""


class KLOLite(PictureNetwork):
    """Pretrained encoder, dynamic k-NN attention, light U-Net decoder.

    Args:
        in_channels: channels of the picture, with values of about -1 to 1 for the pretrained weights.
        out_channels: ``K``, one logit map for each class.
        deep: encoder to H / 32, else to H / 16.
        attention: dynamic k-NN attention on H / 8 and coarser.
        presence: also judge, place by place on the deepest grid, whether a class is in the picture at all.
        heads: of the attention, from H / 8 down; by default 24 to 40 channels each.
        k_min, k_max, temperature: see :class:`~.layers.dynamic_knn_attention.DynamicKNNAttention`.
        deep_supervision: a head at every level of the decoder, for training; without it the last level alone has one.
        width: channels of the decoder at H / 2.
        dynamic_tau: with ``attention=False``, attention at the bottleneck alone; else it is there already.

    Attention maps, each ``[B, 1, h, w]``; stages are ``stage4`` (H / 8), with ``deep`` ``stage5`` (H / 16), and
    ``bottleneck`` (the deepest): ``tau_STAGE`` in (0, 1), how densely a position attends, and ``k_STAGE``, the number
    of neighbours used over ``k_max``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        deep: bool = True,
        attention: bool = True,
        presence: bool = False,
        heads: Sequence[int] = (2, 4, 8),
        k_min: int = 8,
        k_max: int = 64,
        temperature: float = 1.0,
        width: int = 16,
        deep_supervision: bool = False,
        dynamic_tau: bool = False,
    ) -> None:
        levels = 5 if deep else 4
        alone = dynamic_tau and not attention
        super().__init__(in_channels, out_channels, stride=2**levels, deepest=WIDTHS[levels - 1], dynamic_tau=alone)
        self.encoder = efficientnet_lite0(in_channels, levels)
        self.stages = {"stage4": 2, "stage5": 3, "bottleneck": 4} if deep else {"stage4": 2, "bottleneck": 3}
        self.attention = nn.ModuleDict()
        if attention:
            for (stage, level), count in zip(self.stages.items(), heads, strict=False):
                channels = WIDTHS[level] if stage == "bottleneck" else DECODER_WIDTHS[level] * width
                self.attention[stage] = DynamicKNNAttention(channels, count, k_min, k_max, temperature)
        self.decoder, self.heads = nn.ModuleList(), nn.ModuleList()
        below = WIDTHS[levels - 1]
        for level in reversed(range(levels - 1)):
            channels = DECODER_WIDTHS[level] * width
            self.decoder.append(DoubleConv(below + WIDTHS[level], channels))
            if deep_supervision or not level:
                self.heads.append(nn.Conv2d(channels, out_channels, 1))
            below = channels
        self.presence = nn.Conv2d(WIDTHS[levels - 1], max(1, out_channels - 1), 1) if presence else None
        for part in (self.encoder, self.decoder):  # attention has drawn its own
            initialise_convolutions(part)
        for head in (*self.heads, *([] if self.presence is None else [self.presence])):
            nn.init.xavier_uniform_(head.weight)
            nn.init.zeros_(head.bias)

    def segment(self, x: Tensor, record: Record | None) -> Tensor:
        """``[B, in_channels, H, W] -> [B, K, H, W]``, H and W multiples of the stride."""
        skips: list[Tensor] = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        x = self.after_level(len(skips) - 1, skips.pop(), record)
        if self.presence is not None and record is not None:
            record.presence = self.presence(x)
        levels = []
        for block in self.decoder:
            x = block(torch.cat((skips.pop(), upsampled(x)), dim=1))
            x = self.after_level(len(skips), x, record)
            levels.append(x)
        if self.training and record is not None:
            record.heads = tuple(
                head(level) for head, level in zip(self.heads, levels[-len(self.heads) :], strict=True)
            )
            return upsampled(record.heads[-1])
        return upsampled(self.heads[-1](x))

    def describe(self, x: Tensor) -> Tensor:
        """``[B, in_channels, H, W] -> [B, F]``: the mean of every channel of the encoder, level by level."""
        means, x = [], self.padded(x)
        for block in self.encoder:
            x = block(x)
            means.append(x.mean((2, 3)))
        return torch.cat(means, 1)

    def after_level(self, level: int, x: Tensor, record: Record | None) -> Tensor:
        """The attention on the grid of ``level`` (0 for H / 2), where there is one."""
        for stage, layer in self.attention.items():
            if self.stages[stage] == level:
                return attend(layer, stage, x, record)
        return self.at_bottleneck(x, record) if level == len(self.encoder) - 1 else x

    @property
    def cells(self) -> dict[str, int]:
        """Stage with a row of attention -> pixels of the picture to one of its positions."""
        return {stage: 2 ** (self.stages[stage] + 1) for stage in self.attention} | super().cells

    def row_layer(self, stage: str) -> nn.Module:
        """The layer whose ``row`` takes the recorded input of ``stage``."""
        return self.attention[stage] if stage in self.attention else super().row_layer(stage)


def upsampled(x: Tensor) -> Tensor:
    """``[B, C, h, w] -> [B, C, 2h, 2w]``, bilinear."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


NETWORKS = {"klo-lite": KLOLite}
