"""Self-attention with or without a query: QKV, KV and KV+Pos of the key-value transformers.

Compared for segmentation by Hwa, Holmes, Drechsler (arXiv 2503.18862); KV and KV+Pos are those of Borji (arXiv
2305.19129). Each head for itself, N positions, d channels of the head, s = d^-1/2:

    QKV      softmax_j(s Q_i . K_j) V_j
    KV       softmax_j(s K_i . K_j) V_j
    KV+Pos   softmax_j(w . (s K_i . K_j + P_ij) + b) V_j

KV has no query projection: C^2 (+ C biases) parameters fewer, and symmetric logits. In KV+Pos, P is a fixed 2-D
sinusoid of ``pos_dim`` = 50 channels, indexed by row i and column j of the N x N matrix; w and b are one linear layer
``pos_dim -> 1`` shared by all heads.

The score is added to every channel of P, and P is a code u of i beside a code v of j, so that

    w . (score_ij + P_ij) + b  =  (sum w) score_ij + w_u . u(i) + w_v . v(j) + b

where the terms without j cancel in the softmax. KV+Pos is a learned temperature ``sum w`` and a bias ``g(j) = w_v .
v(j)`` of each key: exactly the published layer, with ``pos_dim + 1`` parameters more than KV, but without a tensor of
N x N x 50. (``b`` has no effect there either; it is kept so that parameters and checkpoints match.) The only asymmetry
it adds is that some places are preferred by all.

Settled here, where the sources say nothing or differ: scale by the width of a head (Borji: of all heads together);
biases on; the first ``2 ceil(pos_dim / 4)`` channels of P code i, the others j; w starts at ``1 / pos_dim``, a
temperature of 1. For another picture size than 256 x 256, g is interpolated on the grid of the picture, since the same
index j would mean another place there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ATTENTIONS = ("qkv", "kv", "kv-pos")
POSITION_CHANNELS = 50
LONGEST_PERIOD = 10_000.0
ROWS_AT_ONCE = 1024
"""Rows of the attention matrix held at once where only its column means are wanted."""


def check_attention(attention: str) -> None:
    """Raise ValueError for a name that is not one of :data:`ATTENTIONS`."""
    if attention not in ATTENTIONS:
        raise ValueError(f"attention '{attention}' is not known; expected one of {', '.join(ATTENTIONS)}")


def head_count(channels: int) -> int:
    """Heads of about 64 channels, a divisor of ``channels``: 6 at 384 and 12 at 768 as in ViT."""
    return next(heads for heads in range(max(1, channels // 64), 0, -1) if channels % heads == 0)


class LinearProjection(nn.Linear):
    """One linear layer, ``[B, h, w, C] ->`` query side, key and value, each ``[B, h, w, C]``.

    Without a query the key takes its side.
    """

    def __init__(self, channels: int, attention: str, *, bias: bool = True) -> None:
        self.has_query = attention == "qkv"
        super().__init__(channels, (3 if self.has_query else 2) * channels, bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        parts = super().forward(x).chunk(3 if self.has_query else 2, dim=-1)
        return parts[0], parts[-2], parts[-1]


class KeyPosition(nn.Module):
    """Temperature and key bias of KV+Pos.

    Args:
        grid: (rows, columns) of the keys at the default picture size.
        pos_dim: channels of the sinusoid; even, at least 4.
    """

    def __init__(self, grid: tuple[int, int], pos_dim: int = POSITION_CHANNELS) -> None:
        super().__init__()
        if pos_dim < 4 or pos_dim % 2:
            raise ValueError(f"pos_dim must be even and at least 4; got {pos_dim}")
        self.grid = grid
        self.mix = nn.Linear(pos_dim, 1)
        nn.init.constant_(self.mix.weight, 1 / pos_dim)
        nn.init.zeros_(self.mix.bias)
        self.of_row = 2 * math.ceil(pos_dim / 4)
        codes = sinusoid(grid[0] * grid[1], self.of_row)[:, : pos_dim - self.of_row]
        self.register_buffer("codes", codes, persistent=False)

    @property
    def temperature(self) -> Tensor:
        """``sum w``, what every score is multiplied by."""
        return self.mix.weight.sum()

    def key_bias(self, grid: tuple[int, int]) -> Tensor:
        """``g(j) + b`` for the keys of ``grid``: ``[rows, columns]``."""
        bias = (self.codes * self.mix.weight[0, self.of_row :]).sum(dim=-1).reshape(self.grid) + self.mix.bias
        if tuple(grid) == tuple(self.grid):
            return bias
        return F.interpolate(bias[None, None], tuple(grid), mode="bilinear", align_corners=False)[0, 0]


def sinusoid(positions: int, channels: int) -> Tensor:
    """``[positions, channels]``: sine and cosine in turn, of angles ``n 10000^(-2p / channels)``."""
    theta = LONGEST_PERIOD ** (-torch.arange(0, channels, 2) / channels)
    angles = torch.arange(positions)[:, None] * theta
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


class _Sides(NamedTuple):
    """Query side (scaled), key, value, ``[B, heads, N or M, d]``; bias of the keys, ``[M]`` or None; their grid."""

    query: Tensor
    key: Tensor
    value: Tensor
    bias: Tensor | None
    grid: tuple[int, int]


class KeyValueAttention(nn.Module):
    """Multi-head self-attention over all positions of a feature map.

    Args:
        channels: ``C``, a multiple of ``heads``.
        heads: number of attention heads.
        attention: ``"qkv"``, ``"kv"`` or ``"kv-pos"``.
        grid: (rows, columns) of the keys at the default picture size; what KV+Pos is indexed by.
        bias: biases in the projections.
        scale: factor of the scores; None means ``(C / heads)^-1/2``.
        projection: in place of :class:`LinearProjection`; its key and value may have a coarser grid than its query
            side, by a whole factor.
        pos_dim: channels of the sinusoid of KV+Pos.

    Shape:
        ``[B, h, w, C] -> [B, h, w, C]`` (channels last).

    Raises:
        ValueError: unknown ``attention``, or ``channels`` is not a multiple of ``heads``.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        attention: str = "qkv",
        *,
        grid: tuple[int, int] = (16, 16),
        bias: bool = True,
        scale: float | None = None,
        projection: nn.Module | None = None,
        pos_dim: int = POSITION_CHANNELS,
    ) -> None:
        super().__init__()
        check_attention(attention)
        if channels % heads:
            raise ValueError(f"channels must be a multiple of heads; got channels={channels}, heads={heads}")
        self.heads = heads
        self.scale = (channels // heads) ** -0.5 if scale is None else scale
        self.projection = LinearProjection(channels, attention, bias=bias) if projection is None else projection
        self.position = KeyPosition(grid, pos_dim) if attention == "kv-pos" else None
        self.out = nn.Linear(channels, channels, bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, h, w, C] -> [B, h, w, C]``, by the fused attention of PyTorch: no N x N matrix in memory."""
        sides = self._sides(x)
        mask = None if sides.bias is None else sides.bias.to(sides.query.dtype)[None, None, None]
        attended = F.scaled_dot_product_attention(sides.query, sides.key, sides.value, mask, scale=1.0)
        return self.out(attended.transpose(1, 2).reshape(x.shape))

    def logits(self, x: Tensor) -> Tensor:
        """What the softmax is taken of: ``[B, heads, N, M]`` for ``[B, h, w, C]``; symmetric for KV without strides."""
        sides = self._sides(x)
        return _logits(sides, sides.query)

    def weights(self, x: Tensor) -> Tensor:
        """Attention of every position to every other: ``[B, N, N]`` for ``[B, h, w, C]``, rows sum to 1, head mean.

        The weight of a key on a coarser grid is shared evenly by the positions it covers.
        """
        sides = self._sides(x)
        return _shared(_logits(sides, sides.query).softmax(dim=-1).mean(dim=1), sides.grid, x.shape[1:3])

    def received(self, x: Tensor) -> Tensor:
        """How much attention each position receives from all.

        With ``r_j`` = N times the mean over rows i and heads of the weight of j, the map is ``r / (1 + r)``: 1/2 where
        a position receives the average, 2/3 where twice that. A fixed scale: maps of all pictures compare.

        Args:
            x: ``[B, h, w, C]``, the input of the layer.

        Returns:
            ``[B, 1, h, w]`` in (0, 1).
        """
        sides = self._sides(x)
        total = sum(
            _logits(sides, rows).softmax(dim=-1).sum(dim=2).mean(dim=1)
            for rows in sides.query.split(ROWS_AT_ONCE, dim=2)
        )
        return over_average(_shared(total / sides.query.shape[2], sides.grid, x.shape[1:3]), x.shape[1:3])

    def row(self, x: Tensor, position: tuple[int, int]) -> Tensor:
        """Attention of one position to all others, mean over heads.

        Args:
            x: ``[B, h, w, C]``, the input of the layer.
            position: (row, column) on its grid.

        Returns:
            ``[B, 1, h, w]``, non-negative, summing to 1 over the grid.
        """
        sides, token = self._sides(x), position[0] * x.shape[2] + position[1]
        weights = _logits(sides, sides.query[:, :, token : token + 1]).softmax(dim=-1).mean(dim=1)
        return _shared(weights, sides.grid, x.shape[1:3]).reshape(-1, 1, *x.shape[1:3])

    def bias_map(self, x: Tensor) -> Tensor:
        """Which places KV+Pos prefers as keys, whatever the picture shows: ``[B, 1, h, w]`` in (0, 1), all B alike.

        ``sigmoid(g(j) - mean g)``, which is ``r / (1 + r)`` for the factor ``r = exp(g(j) - mean g)`` that the weight
        of key j is multiplied by before the softmax normalises.
        """
        bias = self.position.key_bias(self._sides(x).grid)
        values = torch.sigmoid(bias - bias.mean())[None, None]
        return F.interpolate(values, tuple(x.shape[1:3]), mode="nearest").expand(x.shape[0], -1, -1, -1)

    def _sides(self, x: Tensor) -> _Sides:
        query, key, value = self.projection(x)
        grid = (key.shape[1], key.shape[2])
        scale, bias = self.scale, None
        if self.position is not None:
            scale, bias = scale * self.position.temperature, self.position.key_bias(grid).flatten()
        query, key, value = (self._heads(part) for part in (query, key, value))
        return _Sides(query * scale, key, value, bias, grid)

    def _heads(self, x: Tensor) -> Tensor:
        """``[B, h, w, C] -> [B, heads, h w, C / heads]``."""
        return x.flatten(1, 2).unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _logits(sides: _Sides, query: Tensor) -> Tensor:
    """``[B, heads, n, M]`` for some rows ``query`` of ``sides.query``, in float32 at least."""
    dtype = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        scores = query.to(dtype) @ sides.key.to(dtype).transpose(-2, -1)
    return scores if sides.bias is None else scores + sides.bias


def _shared(weights: Tensor, grid: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    """``[..., M]`` on ``grid`` to ``[..., N]`` on the finer ``wanted``; the sum stays."""
    factor = wanted[0] // grid[0]
    if factor == 1:
        return weights
    rows, columns = (torch.arange(side, device=weights.device) // factor for side in wanted)
    return weights[..., (rows[:, None] * grid[1] + columns).flatten()] / factor**2


def over_average(share: Tensor, grid: tuple[int, int]) -> Tensor:
    """``[B, N]``, shares that sum to 1, to the map ``r / (1 + r)`` with ``r = N share``: ``[B, 1, h, w]`` in [0, 1)."""
    ratio = share * share.shape[-1]
    return (ratio / (1 + ratio)).reshape(-1, 1, *grid)
