"""Dynamic k-nearest-neighbour attention with a learned tau, the mechanism of KLO-Net (arXiv 2512.13902, Methods).

At each position a small gate predicts ``tau`` in (0, 1). The position then attends to its

    k = min(N, max(k_min, min(k_max, floor(tau * k_max))))

most similar positions (``N`` = number of positions) and to no others. The paper does not say how a gradient passes the
``floor``; taken literally the gate would never learn. Here the backward pass sees a soft rank mask while the forward
pass keeps the exact formula (a straight-through estimator):

    m_r = sigmoid((clamp(tau * k_max, k_min, k_max) - r - 1/2) / T),   r = rank of the neighbour, 0 = most similar

Left open by the paper and settled here: 8 heads that share one tau, scaled dot product as similarity, self included,
``k_min`` 8 and ``k_max`` 64, pre-norm residual form, a gate of 1x1 convolutions ``C -> C/4 -> 1`` (the width that
reproduces the published 13.426 G).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, scaled_dot_product_attention

from .nearest import GROUP, nearest_mask, nearest_of_many

CLAMP_LEAK = 0.1
"""Share of the gradient that passes where ``tau * k_max`` lies outside ``[k_min, k_max]``: no gate gets stuck."""


MANY_POSITIONS, ROWS = 2048, 128
"""From so many positions on, so many rows of the attention matrix are held at once."""


class GatedAttention(NamedTuple):
    """What one pass of :class:`DynamicKNNAttention` gives.

    Attributes:
        features: ``[B, C, h, w]``, the input plus what was attended to.
        tau: ``[B, 1, h, w]`` in (0, 1), the attention density asked for at each position.
        k_share: ``[B, 1, h, w]`` in (0, 1], the number of neighbours really used over ``k_max``.
    """

    features: Tensor
    tau: Tensor
    k_share: Tensor


class DynamicKNNAttention(nn.Module):
    """Self-attention in which every position attends to its own number of nearest neighbours.

    Args:
        channels: ``C``; a multiple of ``heads`` and of 4.
        heads: number of attention heads; all share one tau map.
        k_min: fewest neighbours of a position.
        k_max: most neighbours of a position, one fewer in fact where ``k_min`` is smaller, as tau < 1.
        temperature: ``T`` of the soft rank mask used in the backward pass, in ranks.

    Shape:
        ``[B, C, h, w] -> [B, C, h, w]``
    """

    def __init__(
        self, channels: int, heads: int = 8, k_min: int = 8, k_max: int = 64, temperature: float = 1.0
    ) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"channels must be a multiple of heads; got channels={channels}, heads={heads}")
        if not 1 <= k_min <= k_max:
            raise ValueError(f"expected 1 <= k_min <= k_max; got k_min={k_min}, k_max={k_max}")
        self.heads, self.k_min, self.k_max, self.temperature = heads, k_min, k_max, temperature
        self.norm = nn.GroupNorm(1, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        self.gate = nn.Sequential(
            nn.Conv2d(channels, channels // 4, 1), nn.ReLU(inplace=True), nn.Conv2d(channels // 4, 1, 1)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weights: tau starts near 1/2 and the branch starts small but not at zero.

        At exactly zero the output convolution would pass no gradient to the gate.
        """
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.trunc_normal_(self.out.weight, std=1e-2)
        nn.init.kaiming_normal_(self.gate[0].weight, nonlinearity="relu")
        nn.init.xavier_uniform_(self.gate[2].weight)
        for convolution in (self.qkv, self.out, self.gate[0], self.gate[2]):
            nn.init.zeros_(convolution.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w] -> [B, C, h, w]``."""
        return self.attend(x).features

    def attend(self, x: Tensor) -> GatedAttention:
        """The pass with its maps; see :class:`GatedAttention`."""
        batch, channels, height, width = x.shape
        normed = self.norm(x)
        tau = self.predict_tau(normed)
        query, key, value = self._heads(normed)
        attended = self.mix(query, key, value, tau)
        attended = attended.transpose(-2, -1).reshape(batch, channels, height, width)
        k_share = self.neighbours(tau, height * width).to(tau.dtype) / self.k_max
        return GatedAttention(x + self.out(attended), tau, k_share)

    def mix(self, query: Tensor, key: Tensor, value: Tensor, tau: Tensor) -> Tensor:
        """Sum of the values of the nearest neighbours, weighted by a softmax over them.

        Args:
            query: ``[B, heads, N, d]``, scaled.
            key: ``[B, heads, N, d]``.
            value: ``[B, heads, N, d]``.
            tau: ``[B, 1, ...]`` with N elements a picture.

        Returns:
            ``[B, heads, N, d]``, the same by each of three forms but for rounding.
        """
        if query.device.type != "cpu" or torch.is_grad_enabled() or torch.jit.is_tracing():
            return self._weights(query @ key.transpose(-2, -1), tau).to(value.dtype) @ value
        if query.shape[-2] >= max(MANY_POSITIONS, GROUP * self.k_max):
            return self._attend_row_by_row(query, key, value, tau)
        return self._attend_head_by_head(query, key, value, tau)

    def predict_tau(self, normed: Tensor) -> Tensor:
        """``[B, C, h, w]`` (after the norm) ``-> [B, 1, h, w]`` in (0, 1), float32."""
        return torch.sigmoid(self.gate(normed).float())

    def neighbours(self, tau: Tensor, positions: int) -> Tensor:
        """``k = min(N, max(k_min, min(k_max, floor(tau k_max))))`` for each element of ``tau``, as int64."""
        return torch.floor(tau * self.k_max).long().clamp(self.k_min, self.k_max).clamp(max=positions)

    def row(self, x: Tensor, position: tuple[int, int]) -> Tensor:
        """Attention of one position to all others.

        Args:
            x: ``[B, C, h, w]``, the input of the layer.
            position: (row, column) on the layer's own ``h x w`` grid.

        Returns:
            ``[B, 1, h, w]``, the mean over heads; non-negative, sums to 1 over the grid.
        """
        batch, _, height, width = x.shape
        token = position[0] * width + position[1]
        normed = self.norm(x)
        tau = self.predict_tau(normed).flatten(2)[..., token : token + 1].unsqueeze(-1)
        query, key, _ = self._heads(normed)
        weights = self._weights(query[:, :, token : token + 1] @ key.transpose(-2, -1), tau)
        return weights.mean(dim=1).reshape(batch, 1, height, width)

    def _heads(self, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query (already scaled), key and value, each ``[B, heads, N, C / heads]``."""
        batch, channels = normed.shape[:2]
        head_width = channels // self.heads
        qkv = self.qkv(normed).reshape(batch, 3, self.heads, head_width, -1).transpose(-2, -1).contiguous()
        query, key, value = qkv.unbind(1)
        return query * head_width**-0.5, key, value

    def _attend_head_by_head(self, query: Tensor, key: Tensor, value: Tensor, tau: Tensor) -> Tensor:
        """What :meth:`_weights` ``@ value`` gives, by a form without gradient that is three times as fast on a CPU.

        One head at a time, ``[N, N]`` stays in the cache. The fused attention multiplies query and key a second time;
        that costs less than a softmax written to memory.
        """
        k = self.neighbours(tau.flatten(2).unsqueeze(-1), query.shape[-2])
        attended = []
        for head in range(self.heads):
            q, of, v = (part[:, head : head + 1] for part in (query, key, value))
            near = nearest_mask((q @ of.transpose(-2, -1)).float(), k, self.k_max)
            outside = torch.where(near, 0.0, -torch.inf).to(q.dtype)
            attended.append(scaled_dot_product_attention(q, of, v, outside, scale=1.0))
        return torch.cat(attended, dim=1)

    def _attend_row_by_row(self, query: Tensor, key: Tensor, value: Tensor, tau: Tensor) -> Tensor:
        """The same for many positions, where all but the scores costs O(k) a position.

        Softmax and sum run over the neighbours alone, and a block of :data:`ROWS` rows is all that is ever held of
        ``[N, N]``. At 4096 positions this takes half the time of dense attention, and of the form above 0.4.
        """
        positions, tau = query.shape[-2], tau.flatten(1).unsqueeze(-1)
        attended = torch.empty_like(query)
        for picture in range(len(query)):
            for head in range(self.heads):
                keys, values = key[picture, head].T, value[picture, head].float()
                for start in range(0, positions, ROWS):
                    rows = slice(start, start + ROWS)
                    top, index = nearest_of_many((query[picture, head, rows] @ keys).float(), self.k_max)
                    weights = self._of_ranks(top, tau[picture, rows], positions)
                    attended[picture, head, rows] = embedding_bag(index, values, mode="sum", per_sample_weights=weights)
        return attended

    def _weights(self, scores: Tensor, tau: Tensor) -> Tensor:
        """Attention weights: a softmax over the nearest neighbours, 0 elsewhere.

        Args:
            scores: ``[B, heads, n, N]`` similarities of ``n`` positions to all ``N``.
            tau: ``[B, 1, ...]`` with ``n`` elements per image.

        Returns:
            ``[B, heads, n, N]`` float32; each row sums to 1 and is exactly 0 from rank k on.
        """
        scores, tau, positions = scores.float(), tau.flatten(2).unsqueeze(-1), scores.shape[-1]
        values, index = scores.topk(min(self.k_max, positions), dim=-1, sorted=True)
        return torch.zeros_like(scores).scatter(-1, index, self._of_ranks(values, tau, positions))

    def _of_ranks(self, values: Tensor, tau: Tensor, positions: int) -> Tensor:
        """Softmax of sorted scores, ``[..., n, ranks]``, over the ranks below k; ``tau`` is ``[..., n, 1]``."""
        weights = torch.exp(values - values[..., :1]) * self._rank_mask(tau, values.shape[-1], positions)
        return weights / weights.sum(dim=-1, keepdim=True)

    def _rank_mask(self, tau: Tensor, ranks: int, positions: int) -> Tensor:
        """``[..., n, ranks]``: 1 below rank k and 0 from it on; its gradient is that of the soft mask."""
        rank = torch.arange(ranks, device=tau.device)
        hard = (rank < self.neighbours(tau, positions)).to(tau.dtype)
        if not (self.training and torch.is_grad_enabled()):
            return hard
        wanted = tau * self.k_max
        wanted = wanted.clamp(self.k_min, self.k_max) + CLAMP_LEAK * (wanted - wanted.detach())
        soft = torch.sigmoid((wanted - rank - 0.5) / self.temperature)
        return hard + (soft - soft.detach())
