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
    ) -> None:
        block = partial(CSPBlock, depth=csp_depth) if csp else DoubleConv
        super().__init__(in_channels, out_channels, width=width, encoder_block=block)
        self.attention = nn.ModuleDict()
        if attention:
            if unknown := set(attention_stages) - set(STAGE_LEVELS):
                raise ValueError(
                    f"attention stages {sorted(unknown)} are not known; expected some of {list(STAGE_LEVELS)}"
                )
            for stage in sorted(attention_stages, key=STAGE_LEVELS.__getitem__):
                channels = self.widths[STAGE_LEVELS[stage]]
                self.attention[stage] = DynamicKNNAttention(channels, heads, k_min, k_max, temperature)

    def encode_level(self, level: int, x: Tensor, attention: dict[str, Tensor]) -> Tensor:
        """Encoder level ``level``, followed by its attention where it has one."""
        x = super().encode_level(level, x, attention)
        for stage, module in self.attention.items():
            if STAGE_LEVELS[stage] == level:
                x, attention[f"tau_{stage}"], attention[f"k_{stage}"] = module.attend(x)
        return x

    def attention_grid(self, size: tuple[int, int], stage: str) -> tuple[int, int]:
        """(rows, columns) of the maps of ``stage`` for a picture of ``size`` (H, W)."""
        cell = 2 ** STAGE_LEVELS[stage]
        return tuple(-(-side // self.stride) * self.stride // cell for side in size)

    def attention_row(self, x: Tensor, stage: str, position: tuple[int, int]) -> Tensor:
        """Attention of one position to all others, mean over heads.

        Args:
            x: ``[B, in_channels, H, W]``.
            stage: ``"stage4"`` or ``"bottleneck"``.
            position: (row, column) on the grid of that stage.

        Returns:
            ``[B, 1, h, w]``, non-negative, summing to 1 over the grid.

        Raises:
            ValueError: unknown stage, or a position off its grid.
        """
        if stage not in self.attention:
            raise ValueError(f"stage '{stage}' has no attention; expected one of {list(self.attention)}")
        rows, columns = self.attention_grid(x.shape[-2:], stage)
        if not (0 <= position[0] < rows and 0 <= position[1] < columns):
            raise ValueError(f"position {position} lies off the {rows} x {columns} grid of stage '{stage}'")
        x = self.padded(x)
        for level in range(STAGE_LEVELS[stage]):
            x = self.encode_level(level, x, {})
        return self.attention[stage].row(UNet.encode_level(self, STAGE_LEVELS[stage], x, {}), position)
