"""2-D selective scan (SS2D) of VMamba (Liu et al., arXiv 2401.10166, section 3), as KM-UNet and VM-UNet use it.

    x, z = split(W_in u)                                C -> 2 * inner, inner = expand * C
    x    = SiLU(depthwise 3x3 (x))
    y    = sum over 4 directions of selective_scan(x in the order of the direction)
    out  = W_out (LayerNorm(y) * SiLU(z))               inner -> C

Each direction has its own ``dt = softplus(W_dt W_r x + bias)``, B, C, A = -exp(A_log) and D.

Directions: ``"cross"`` visits the positions row by row, column by column, and both backwards (the released code of both
networks). ``"spiral"`` visits them from the outside to the centre, clockwise and anticlockwise, and both backwards: the
"rotation from the outside to the centre" of the KM-UNet paper (arXiv 2501.02559), which says no more about it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .selective_scan import selective_scan

DIRECTIONS = 4
SCANS = ("cross", "spiral")
DT_RANGE = (1e-3, 0.1)


def scan_order(height: int, width: int, scan: str) -> Tensor:
    """Positions (row * width + column) in the order in which each direction visits them, ``[4, height * width]``.

    Raises:
        ValueError: ``scan`` is not one of :data:`SCANS`.
    """
    if scan not in SCANS:
        raise ValueError(f"scan '{scan}' is not known; expected one of {', '.join(SCANS)}")
    # By NumPy: a trace holds the order then, not how it is made.
    grid = np.arange(height * width, dtype=np.int64).reshape(height, width)
    first, second = (grid.ravel(), grid.T.ravel()) if scan == "cross" else (_clockwise(grid), _clockwise(grid.T))
    return torch.from_numpy(np.stack((first, second, first[::-1], second[::-1])))


def _clockwise(grid: np.ndarray) -> np.ndarray:
    """The elements of ``grid`` from the first one clockwise round the edge, and on to the centre."""
    visited = []
    while grid.size:
        visited.append(grid[0])
        grid = grid[1:].T[::-1]  # a quarter turn: the right column becomes the next first row
    return np.concatenate(visited)


class SS2D(nn.Module):
    """2-D selective scan.

    Args:
        channels: ``C``.
        states: ``N``, states of each channel.
        expand: inner channels over ``C``.
        scan: ``"cross"`` or ``"spiral"``.

    Shape:
        ``[B, h, w, C] -> [B, h, w, C]`` (channels last).
    """

    def __init__(self, channels: int, *, states: int = 16, expand: int = 2, scan: str = "cross") -> None:
        super().__init__()
        scan_order(1, 1, scan)
        inner, self.rank = expand * channels, math.ceil(channels / 16)
        self.states, self.scan = states, scan
        self.in_projection = nn.Linear(channels, 2 * inner, bias=False)
        self.depthwise = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.x_projection = nn.Parameter(torch.empty(DIRECTIONS, self.rank + 2 * states, inner))
        self.dt_weight = nn.Parameter(torch.empty(DIRECTIONS, inner, self.rank))
        self.dt_bias = nn.Parameter(torch.empty(DIRECTIONS, inner))
        self.a_log = nn.Parameter(torch.empty(DIRECTIONS, inner, states))
        self.d = nn.Parameter(torch.empty(DIRECTIONS, inner))
        self.norm = nn.LayerNorm(inner)
        self.out_projection = nn.Linear(inner, channels, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the initial weights: A = -1..-N, D = 1, and a bias that gives steps in :data:`DT_RANGE`."""
        bound = self.x_projection.shape[-1] ** -0.5
        nn.init.uniform_(self.x_projection, -bound, bound)
        nn.init.uniform_(self.dt_weight, -(self.rank**-0.5), self.rank**-0.5)
        dt = torch.empty_like(self.dt_bias).uniform_(*map(math.log, DT_RANGE)).exp_()
        self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # the inverse of the softplus
        self.a_log.copy_(torch.arange(1, self.states + 1).log())
        nn.init.ones_(self.d)

    def forward(self, u: Tensor) -> Tensor:
        """``[B, h, w, C] -> [B, h, w, C]``."""
        return self.scan_with_step(u, wants_step=False)[0]

    def scan_with_step(self, u: Tensor, *, wants_step: bool = True) -> tuple[Tensor, Tensor | None]:
        """The pass with its step map.

        Returns:
            ``[B, h, w, C]``, and ``[B, 1, h, w]`` in [0, 1) or None: the mean over channels and directions of
            ``1 - exp(-dt)``, which is the share of a state with A = -1 that a position replaces. Large where the scan
            takes in a lot and forgets what came before; no measure of what the position contributes to the output.
        """
        batch, (height, width) = u.shape[0], map(int, u.shape[1:3])  # a trace keeps the batch open, not the size
        x, z = self.in_projection(u).chunk(2, dim=-1)
        x = F.silu(self.depthwise(x.movedim(3, 1))).flatten(2).transpose(1, 2)
        there, back = _moves(scan_order(height, width, self.scan).to(u.device), batch)
        y, dt = self._directions(x, there, back)
        merged = _move(y, back, there, batch).sum(dim=2).reshape(batch, height, width, -1)
        out = self.norm(merged.to(self.norm.weight.dtype)) * F.silu(z)
        step = None
        if wants_step:
            share = _move((1 - torch.exp(-dt)).mean(dim=-1, keepdim=True), back, there, batch)
            step = share.mean(dim=2).reshape(batch, 1, height, width)
        return self.out_projection(out), step

    def _directions(self, x: Tensor, there: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
        """Scan ``x``, ``[B, L, inner]``, in each direction.

        Returns:
            The results and the steps, each ``[L, B, 4, inner]`` in the order of its direction.
        """
        length = x.shape[1]
        projected = F.linear(x, self.x_projection.flatten(0, 1)).unflatten(-1, (DIRECTIONS, -1))
        low, write, read = _move(projected, there, back, length).split([self.rank, *[self.states] * 2], dim=-1)
        dt = torch.einsum("lbkr,kdr->lbkd", low, self.dt_weight)
        dt = F.softplus(dt.to(torch.promote_types(dt.dtype, torch.float32)) + self.dt_bias)
        values = _move(x.unsqueeze(2).expand(-1, -1, DIRECTIONS, -1), there, back, length)
        a = -torch.exp(self.a_log).transpose(1, 2).contiguous()
        return selective_scan(values, dt, a, write, read, self.d), dt


def _moves(order: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """How rows move from ``[B, L, 4]`` to ``[L, B, 4]`` in the order of each direction (``[4, L]``), and back."""
    picture = torch.arange(batch, device=order.device)[:, None]
    direction = torch.arange(DIRECTIONS, device=order.device)
    there = (picture * order.shape[1] + order.T[:, None]) * DIRECTIONS + direction
    back = (order.argsort(dim=1).T * batch + picture[..., None]) * DIRECTIONS + direction
    return there.flatten(), back.flatten()


def _move(value: Tensor, index: Tensor, inverse: Tensor, rows: int) -> Tensor:
    """Rearrange the rows of ``[first, second, 4, c]`` into ``[rows, ..., 4, c]``: row ``index[n]`` becomes row n."""
    if torch.jit.is_tracing():  # a trace takes no function that brings its own gradient
        return _moved(value, index, rows)
    return _Move.apply(value, index, inverse, rows)


def _moved(value: Tensor, index: Tensor, rows: int) -> Tensor:
    return value.flatten(0, 2).index_select(0, index).reshape(rows, -1, *value.shape[2:])


class _Move(torch.autograd.Function):
    """:func:`_moved`, whose gradient moves by the inverse index.

    PyTorch's own would add row by row, which takes longer than the scan.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, index: Tensor, inverse: Tensor, rows: int) -> Tensor:
        """See :func:`_move`."""
        ctx.save_for_backward(inverse)
        ctx.shape = value.shape
        return _moved(value, index, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """The inverse of :meth:`forward`."""
        (inverse,) = ctx.saved_tensors
        return gradient.flatten(0, 2).index_select(0, inverse).reshape(ctx.shape), None, None, None
