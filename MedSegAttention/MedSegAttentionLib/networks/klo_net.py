"""KLO-Net (Tian et al., arXiv 2512.13902; SPIE Medical Imaging 2026) and its ablation rows.

A U-Net whose encoder blocks are cross-stage-partial (:mod:`.layers.csp`), with dynamic k-nearest-neighbour attention
(:mod:`.layers.dynamic_knn_attention`) after level 4 and after the bottleneck. The output of level 4 with attention is
also its skip connection.

With one channel in and out, at the paper's widths: 7.684 M parameters before the two norm layers, and 13.424 G
multiply-accumulates at 256 x 256 by the paper's counting (attention products left out; paper: 13.426 G).

Ablation rows: ``csp=False, attention=False`` is :class:`~.unet.UNet`; each flag alone gives the two rows between.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from .layers.csp import CSPBlock
from .layers.dynamic_knn_attention import DynamicKNNAttention
from .picture_network import Record, attend
from .unet import DoubleConv, UNet

STAGE_LEVELS = {"stage2": 1, "stage3": 2, "stage4": 3, "bottleneck": 4}
"""Name of each place for attention -> the encoder level (0 = full resolution) it follows."""


class KLONet(UNet):
    """KLO-Net.

    Args:
        in_channels: channels of the picture (1 for MR and CT).
        out_channels: ``K``, one logit map for each class.
        width: channels of the first level (paper: 32); a multiple of 4, and of ``heads / 8``.
        csp: cross-stage-partial encoder blocks, else double convolutions.
        csp_depth: ``n``, bottlenecks of a block (paper: 3).
        attention: dynamic k-NN attention at both stages.
        dynamic_tau: with ``attention=False``, attention at the bottleneck alone; else it is there already.
        heads, k_min, k_max, temperature: see :class:`~.layers.dynamic_knn_attention.DynamicKNNAttention`.
        attention_stages: where it is, some of :data:`STAGE_LEVELS` (paper: ``stage4`` and ``bottleneck``). Its memory
            grows with the square of the positions: 16 times as much one stage up.

    Attention maps, each ``[B, 1, h, w]``, ``h = H / 8`` at stage 4 and ``H / 16`` at the bottleneck:
        ``tau_stage4``, ``tau_bottleneck``: tau in (0, 1), how densely a position attends. It is neither saliency nor
        certainty.
        ``k_stage4``, ``k_bottleneck``: number of neighbours used, over ``k_max``.

    Raises:
        ValueError: an unknown attention stage.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 32,
        csp: bool = True,
        csp_depth: int = 3,
        attention: bool = True,
        attention_stages: Sequence[str] = ("stage4", "bottleneck"),
        heads: int = 8,
        k_min: int = 8,
        k_max: int = 64,
        temperature: float = 1.0,
        dynamic_tau: bool = False,
    ) -> None:
        block = partial(CSPBlock, depth=csp_depth) if csp else DoubleConv
        alone = dynamic_tau and not attention
        super().__init__(in_channels, out_channels, width=width, encoder_block=block, dynamic_tau=alone)
        self.attention = nn.ModuleDict()
        if attention:
            if unknown := set(attention_stages) - set(STAGE_LEVELS):
                raise ValueError(
                    f"attention stages {sorted(unknown)} are not known; expected some of {list(STAGE_LEVELS)}"
                )
            for stage in sorted(attention_stages, key=STAGE_LEVELS.__getitem__):
                channels = self.widths[STAGE_LEVELS[stage]]
                self.attention[stage] = DynamicKNNAttention(channels, heads, k_min, k_max, temperature)

    def after_level(self, level: int, x: Tensor, record: Record | None) -> Tensor:
        """The attention of encoder level ``level``, where it has one."""
        for stage, layer in self.attention.items():
            if STAGE_LEVELS[stage] == level:
                return attend(layer, stage, x, record)
        return super().after_level(level, x, record)

    @property
    def cells(self) -> dict[str, int]:
        """Stage with a row of attention -> pixels of the picture to one of its positions."""
        return {stage: 2 ** STAGE_LEVELS[stage] for stage in self.attention} | super().cells

    def row_layer(self, stage: str) -> nn.Module:
        """The layer whose ``row`` takes the recorded input of ``stage``."""
        return self.attention[stage] if stage in self.attention else super().row_layer(stage)


NETWORKS = {"csp-unet": partial(KLONet, attention=False), "knn-unet": partial(KLONet, csp=False), "klo-net": KLONet}
