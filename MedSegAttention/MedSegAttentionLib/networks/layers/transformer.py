"""The transformer encoder of SETR: pre-norm blocks, a learned position embedding, and the maps of its layers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..picture_network import Record
from .key_value_attention import KeyValueAttention, head_count, over_average


class TransformerBlock(nn.Module):
    """Pre-norm block, with a dropout on both branches.

        x = x + A(LN x)
        x = x + W2 GELU(W1 LN x)        C -> mlp_ratio C -> C

    Args:
        channels: ``C``.
        attention: ``A``.
        mlp_ratio: width of the hidden layer over ``C``.
        drop_rate: of the dropouts.

    Shape:
        ``[B, h, w, C] -> [B, h, w, C]``
    """

    def __init__(self, channels: int, attention: KeyValueAttention, mlp_ratio: float, drop_rate: float) -> None:
        super().__init__()
        hidden = round(mlp_ratio * channels)
        self.attention_norm, self.mlp_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = attention
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))
        self.dropout = nn.Dropout(drop_rate)

    def forward(self, x: Tensor, place: str, record: Record | None) -> Tensor:
        """``[B, h, w, C] -> [B, h, w, C]``; keeps what the attention was given unless ``record`` is None."""
        y = self.attention_norm(x)
        if record is not None:
            record.inputs[place] = y
        x = x + self.dropout(self.attention(y))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class VisionTransformer(nn.Module):
    """Transformer encoder with a learned position embedding and a LayerNorm at its end (ViT without class token).

    Args:
        channels: ``C``.
        depth: number of blocks.
        attention: see :class:`~.key_value_attention.KeyValueAttention`.
        grid: (rows, columns) that the embedding is learned on; it is interpolated to other grids.
        mlp_ratio, drop_rate: see :class:`TransformerBlock`.

    Shape:
        ``[B, C, h, w] -> [B, C, h, w]``
    """

    def __init__(
        self, channels: int, depth: int, attention: str, grid: tuple[int, int], mlp_ratio: float, drop_rate: float
    ) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.empty(1, channels, *grid))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.dropout = nn.Dropout(drop_rate)
        heads = head_count(channels)
        self.blocks = nn.ModuleDict(
            {
                f"layer{number}": TransformerBlock(
                    channels, KeyValueAttention(channels, heads, attention, grid=grid), mlp_ratio, drop_rate
                )
                for number in range(1, depth + 1)
            }
        )
        self.norm = nn.LayerNorm(channels)
        initialise_linear(self)

    def forward(self, x: Tensor, record: Record | None) -> Tensor:
        """``[B, C, h, w] -> [B, C, h, w]``; fills ``record`` unless it is None."""
        x = self.dropout(x + self.position_on(x.shape[-2:])).movedim(1, 3)
        for place, block in self.blocks.items():
            x = block(x, place, record)
        if record is not None:
            record_attention(self.blocks, record, rollout=True)
        return self.norm(x).movedim(3, 1)

    def position_on(self, grid: tuple[int, int]) -> Tensor:
        """The embedding on ``grid``, ``[1, C, h, w]``."""
        if tuple(grid) == tuple(self.position.shape[-2:]):
            return self.position
        return F.interpolate(self.position, tuple(grid), mode="bilinear", align_corners=False)


def record_attention(blocks: Mapping[str, TransformerBlock], record: Record, *, rollout: bool) -> None:
    """Add the maps of a row of blocks to ``record``, from the inputs of their attention that it holds.

    ``received_PLACE`` for each block, and ``bias_PLACE`` with KV+Pos: see
    :class:`~.key_value_attention.KeyValueAttention`. With ``rollout`` also ``rollout_PLACE`` for the last one:
    attention rollout (Abnar and Zuidema, arXiv 2005.00928) through all blocks, ``R = prod (A + 1) / 2`` with ``A`` the
    mean over heads; the map is the column mean of ``R`` over the average, as ``r / (1 + r)``. Only a row vector is
    carried back through the blocks, never the product of the matrices.
    """
    share = None
    for place, block in reversed(blocks.items()):
        layer, x = block.attention, record.inputs[place]
        grid = x.shape[1:3]
        if rollout:
            weights = layer.weights(x)
            received = weights.mean(dim=1)
            share = torch.full_like(received, 1 / received.shape[-1]) if share is None else share
            with torch.autocast(x.device.type, enabled=False):
                share = (share + (share.unsqueeze(1) @ weights).squeeze(1)) / 2
            record.maps[f"received_{place}"] = over_average(received, grid)
        else:
            record.maps[f"received_{place}"] = layer.received(x)
        if layer.position is not None:
            record.maps[f"bias_{place}"] = layer.bias_map(x)
    if share is not None:
        record.maps[f"rollout_{list(blocks)[-1]}"] = over_average(share, grid)


def initialise_linear(module: nn.Module) -> None:
    """Draw the linear layers of ``module`` from a normal distribution of width 0.02, cut at 2; biases become zero.

    The one linear layer of KV+Pos keeps its start, a temperature of 1.
    """
    for name, child in module.named_modules():
        if isinstance(child, nn.Linear) and not name.endswith("position.mix"):
            nn.init.trunc_normal_(child.weight, std=0.02)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
