"""KAN linear attention of VMKLA-UNet (Sci Rep 15:13258): MLLA's (arXiv 2405.16605) with a KAN for Q and K.

    [Q, K] = KAN(C -> 64 -> 2C)(x),   V = x,   phi(.) = ELU(.) + 1          (N positions, each head for itself)
    out_i  = rope(phi(Q_i)) (sum_j rope(phi(K_j))^T V_j / N) / (phi(Q_i) . mean_j phi(K_j) + 1e-6) + depthwise3x3(V)_i

The rotary position encoding turns pairs of channels by angles that grow with the row (first half of the channels) and
with the column (second half), in the numerator alone, as in MLLA. The released code turns by the row only, and mixes
tokens with channels when it reshapes; both are taken for slips here, not for the method. ``kan=False`` is MLLA's own
form: one linear layer with bias for Q and K.

No N x N matrix is formed: the cost is N C^2 / heads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .kan_linear import KANLinear

HIDDEN = 64
ROPE_BASE = 10_000.0
EPSILON = 1e-6


class AttendedTokens(NamedTuple):
    """What one pass of :class:`KANLinearAttention` gives.

    Attributes:
        tokens: ``[B, h, w, C]``.
        query: ``phi(Q)``, ``[B, heads, N, C / heads]``, positive, without rotary encoding.
        key: ``phi(K)``, of the same shape.
    """

    tokens: Tensor
    query: Tensor
    key: Tensor


class KANLinearAttention(nn.Module):
    """Linear attention over the positions of a feature map.

    Args:
        channels: ``C``, a multiple of ``heads`` and of 4.
        heads: number of attention heads.
        kan: KAN for query and key, else one linear layer (MLLA).

    Shape:
        ``[B, h, w, C] -> [B, h, w, C]`` (channels last).
    """

    def __init__(self, channels: int, heads: int, *, kan: bool = True) -> None:
        super().__init__()
        if channels % heads or channels % 4:
            raise ValueError(f"channels must be a multiple of heads and of 4; got channels={channels}, heads={heads}")
        self.heads = heads
        if kan:
            self.query_key = nn.Sequential(KANLinear(channels, HIDDEN), KANLinear(HIDDEN, 2 * channels))
        else:
            self.query_key = nn.Linear(channels, 2 * channels)
        self.local = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, h, w, C] -> [B, h, w, C]``."""
        return self.attend(x).tokens

    def attend(self, x: Tensor) -> AttendedTokens:
        """The pass with its queries and keys; see :class:`AttendedTokens`."""
        height, width, positions = x.shape[1], x.shape[2], x.shape[1] * x.shape[2]
        query, key = self._features(x)
        value = self._heads(x)
        with torch.autocast(x.device.type, enabled=False):
            value, q, k = value.to(query.dtype), self._heads(query), self._heads(key)
            angles = rotary_angles(height, width, x.shape[-1], device=x.device, dtype=query.dtype)
            turned_q, turned_k = (self._heads(rotate(part, angles)) for part in (query, key))
            scale = (q @ k.mean(dim=2, keepdim=True).transpose(-2, -1)) + EPSILON
            out = turned_q @ (turned_k.transpose(-2, -1) @ value / positions) / scale
        out = out.transpose(1, 2).reshape(x.shape).to(x.dtype)
        return AttendedTokens(out + self.local(x.movedim(3, 1)).movedim(1, 3), q, k)

    def received(self, query: Tensor, key: Tensor, height: int, width: int) -> Tensor:
        """How much attention each position receives from all others, without rotary encoding.

        With ``r_j`` = N times the mean over queries i and heads of the weight ``phi(Q_i) . phi(K_j) / sum``, the map is
        ``r / (1 + r)``: 1/2 where a position receives the average, towards 1 where it receives much more. The rotary
        encoding, which can make a weight negative, is left out: the map shows content, not distance.

        Returns:
            ``[B, 1, h, w]`` in (0, 1).
        """
        total = query @ key.sum(dim=2, keepdim=True).transpose(-2, -1)
        asked = (query / total).mean(dim=2, keepdim=True)
        ratio = (key @ asked.transpose(-2, -1)).squeeze(-1).mean(dim=1) * key.shape[2]
        return (ratio / (1 + ratio)).reshape(-1, 1, height, width)

    def row(self, x: Tensor, position: tuple[int, int]) -> Tensor:
        """Weights of one position to all others, without rotary encoding, mean over heads.

        Args:
            x: ``[B, h, w, C]``.
            position: (row, column).

        Returns:
            ``[B, 1, h, w]``, non-negative, summing to 1 over the grid.
        """
        height, width = x.shape[1:3]
        query, key = (self._heads(part) for part in self._features(x))
        token = position[0] * width + position[1]
        weights = key @ query[:, :, token].unsqueeze(-1)
        weights = (weights / weights.sum(dim=2, keepdim=True)).mean(dim=1)
        return weights.reshape(-1, 1, height, width)

    def _features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``phi(Q)`` and ``phi(K)``, each ``[B, h, w, C]``, in float32 at least."""
        query, key = self.query_key(x).chunk(2, dim=-1)
        dtype = torch.promote_types(query.dtype, torch.float32)
        return F.elu(query.to(dtype)) + 1, F.elu(key.to(dtype)) + 1

    def _heads(self, x: Tensor) -> Tensor:
        """``[B, h, w, C] -> [B, heads, N, C / heads]``."""
        batch, height, width, channels = x.shape
        return x.reshape(batch, height * width, self.heads, channels // self.heads).transpose(1, 2)


def rotary_angles(height: int, width: int, channels: int, *, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Angle of each pair of channels at each position, ``[h, w, C / 2]``.

    ``theta_p = 10000^(-p / (C / 4))``, p = 0 .. C/4 - 1; row * theta for the first C/4 pairs, column * theta after.
    """
    pairs = channels // 4
    theta = ROPE_BASE ** (-torch.arange(pairs, device=device, dtype=dtype) / pairs)
    rows = torch.arange(height, device=device, dtype=dtype)[:, None, None] * theta
    columns = torch.arange(width, device=device, dtype=dtype)[None, :, None] * theta
    return torch.cat((rows.expand(height, width, pairs), columns.expand(height, width, pairs)), dim=-1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn each pair (2p, 2p + 1) of the channels of ``x``, ``[B, h, w, C]``, by ``angles``, ``[h, w, C / 2]``."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cosine, sine = angles.cos(), angles.sin()
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1).flatten(-2)
