"""Selective scan (S6) of Mamba (Gu and Dao, arXiv 2312.00752, section 3), in plain PyTorch.

For each direction k and channel d, with states n = 1..N:

    h_t[n] = exp(dt_t A[n]) h_{t-1}[n] + dt_t x_t B_t[n],   h_0 = 0
    y_t    = sum_n C_t[n] h_t[n] + D x_t

A loop over all L positions is slow, and keeping every state takes L x d x N numbers. Here the sequence is cut into
blocks, each block into G chunks of T steps, G about T. Inside a block,

1. T steps run over all chunks at once from a zero state, which gives what each chunk adds to the state;
2. G steps carry the state from chunk to chunk by exp(A sum_t dt_t);
3. the T steps run once more from the right states and are read out by C.

All exponents are <= 0 (A < 0, dt > 0), so nothing overflows. A block holds a bounded number of states
(:data:`BLOCK_STATES`), and only the state at the start of each block is kept for the backward pass, which recomputes
the rest and runs the same three steps with time reversed:

    g_t = C_t dy_t + exp(dt_{t+1} A) g_{t+1},   g_t = dL/dh_t
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

BLOCK_STATES = {"cpu": 2**19, "cuda": 2**24}
"""Most states (positions x batch x directions x channels x N) of a block, for each type of device."""
SMALLEST_BLOCK = 16
LOG2_E = math.log2(math.e)


def selective_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor | None = None) -> Tensor:
    """Scan ``x`` along its positions.

    Runs in float32 (float64 if ``x`` is), also inside autocast.

    Args:
        x: ``[L, B, K, d]``, input of K scans: positions first, so that a chunk is a run of memory.
        dt: ``[L, B, K, d]``, step sizes, positive (after the softplus).
        a: ``[K, N, d]``, ``A``, negative.
        b: ``[L, B, K, N]``, what each position writes.
        c: ``[L, B, K, N]``, what each position reads.
        d: ``[K, d]``, weight of the direct path; none without it.

    Returns:
        ``[L, B, K, d]``, in the dtype of the computation.

    Raises:
        ValueError: shapes that do not fit together.
    """
    length, batch, scans, channels = x.shape
    states = a.shape[1]
    wanted = {"dt": (dt, x.shape), "a": (a, (scans, states, channels))}
    wanted |= {name: (value, (length, batch, scans, states)) for name, value in (("b", b), ("c", c))}
    for name, (value, shape) in wanted.items():
        if value.shape != shape:
            raise ValueError(f"{name} must have the shape {list(shape)} to go with x; got {list(value.shape)}")
    with torch.autocast(x.device.type, enabled=False):
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        x, dt, a, b, c = (value.to(dtype) for value in (x, dt, a, b, c))
        run = _scan_by_halves if torch.jit.is_tracing() else _SelectiveScan.apply
        y = run(dt * x, dt, a, b, c)
        return y if d is None else torch.addcmul(y, x, d.to(dtype))


def _scan_by_halves(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """What :class:`_SelectiveScan` gives, without steps and without writing in place: what a trace (ONNX) can hold.

    All states are in memory at once, about four times.
    """
    length = len(u)
    missing = 2 ** math.ceil(math.log2(length)) - length  # positions past the end are 0 and change no state
    u, dt, b = (F.pad(value, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else value for value in (u, dt, b))
    decay = torch.exp(dt.unsqueeze(-2) * a)
    states = _states_by_halves(decay.flatten(1), (b.unsqueeze(-1) * u.unsqueeze(-2)).flatten(1))
    return (c.unsqueeze(-2) @ states.reshape(decay.shape)[:length]).squeeze(-2)


def _states_by_halves(decay: Tensor, added: Tensor) -> Tensor:
    """``h_t = decay_t h_{t-1} + added_t`` for ``[L, n]``, L a power of two.

    Two positions make one step of a sequence half as long, whose states are those of every second position.
    """
    length = len(added)
    if length == 1:
        return added
    (first, second), (early, late) = (value.reshape(length // 2, 2, -1).unbind(1) for value in (decay, added))
    odd = _states_by_halves(first * second, late + second * early)
    before = torch.cat((torch.zeros_like(odd[:1]), odd[:-1]))
    return torch.stack((early + first * before, odd), dim=1).reshape(length, -1)


class _Blocks:
    """How a sequence is cut: ``blocks`` blocks of ``chunks`` chunks of ``steps`` steps."""

    def __init__(self, length: int, states: int, device: str) -> None:
        limit = max(SMALLEST_BLOCK, BLOCK_STATES.get(device, 2**24) // states)
        self.length = length
        self.blocks = -(-length // limit)
        positions = -(-length // self.blocks)
        self.steps = 2 ** round(math.log2(positions) / 2)  # a power of two leaves the usual lengths without padding
        self.chunks = -(-positions // self.steps)

    def cut(self, value: Tensor) -> Tensor:
        """``[L, B, K, c] -> [blocks, steps, chunks, B, K, c]``; positions past the end are 0 and change no state."""
        missing = self.blocks * self.chunks * self.steps - self.length
        if missing:
            value = F.pad(value, (0, 0, 0, 0, 0, 0, 0, missing))
        return value.unflatten(0, (self.blocks, self.chunks, self.steps)).transpose(1, 2)

    def join(self, value: Tensor) -> Tensor:
        """The inverse of :meth:`cut`."""
        return value.transpose(1, 2).flatten(0, 2)[: self.length]

    def buffer(self, parts: Tensor, a: Tensor, extra: int = 0) -> Tensor:
        """Room for the states of a block of ``parts``: ``[steps + extra, chunks, B, K, N, d]``."""
        return parts.new_empty(self.steps + extra, *parts.shape[2:5], *a.shape[1:])


def _decays(dt: Tensor, a: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """``exp(dt A)`` of each step, ``[steps, chunks, B, K, N, d]``, and of each whole chunk (no ``steps``).

    By powers of two: on many processors they take half the time of an exponential.
    """
    a = a * LOG2_E
    torch.mul(dt.unsqueeze(-2), a, out=out)
    return out.exp2_(), (dt.sum(dim=0).unsqueeze(-2) * a).exp2_()


def _fill_states(u: Tensor, b: Tensor, decay: Tensor, chunk_decay: Tensor, start: Tensor, out: Tensor) -> Tensor:
    """Write the states of a block.

    Args:
        u: ``[steps, chunks, B, K, d]``, ``dt x``.
        b: ``[steps, chunks, B, K, N]``.
        decay: see :func:`_decays`.
        chunk_decay: see :func:`_decays`.
        start: ``[B, K, N, d]``, the state before the block.
        out: ``[steps + 1, chunks, B, K, N, d]``, becomes the states, first that before each chunk.

    Returns:
        The state after the block.
    """
    torch.mul(b.unsqueeze(-1), u.unsqueeze(-2), out=out[1:])
    steps = list(zip(decay.unbind(), out[1:].unbind(), strict=True))
    added = torch.zeros_like(out[0])
    for decay_here, state in steps:
        torch.addcmul(state, decay_here, added, out=added)
    starts = [*out[0].unbind(), torch.empty_like(start)]
    starts[0].copy_(start)
    for number, (end, chunk) in enumerate(zip(added.unbind(), chunk_decay.unbind(), strict=True)):
        torch.addcmul(end, chunk, starts[number], out=starts[number + 1])
    before = out[0]
    for decay_here, state in steps:
        before = state.addcmul_(decay_here, before)
    return starts[-1]


def _fill_gradients(dy: Tensor, c: Tensor, decay: Tensor, chunk_decay: Tensor, after: Tensor, out: Tensor) -> Tensor:
    """Write ``g_t`` of a block into ``out``, ``[steps, chunks, B, K, N, d]``; the mirror image of :func:`_fill_states`.

    ``after`` is the gradient of the state after the block, ``[B, K, N, d]``; returns that of the state before it.
    """
    torch.mul(c.unsqueeze(-1), dy.unsqueeze(-2), out=out)
    steps = list(zip(decay.unbind()[1:], out.unbind()[:-1], strict=True))[::-1]
    passed = out[-1].clone()
    for decay_next, gradient in steps:
        torch.addcmul(gradient, decay_next, passed, out=passed)
    passed *= decay[0]
    chunks = (part.unbind()[::-1] for part in (out[-1], passed, chunk_decay))
    for gradient, passed_here, chunk in zip(*chunks, strict=True):
        gradient.add_(after)
        after = torch.addcmul(passed_here, chunk, after)
    later = out[-1]
    for decay_next, gradient in steps:
        later = gradient.addcmul_(decay_next, later)
    return after


def _over_states(weights: Tensor, values: Tensor, out: Tensor) -> None:
    """``out[d] = sum_n weights[n] values[n, d]``: ``[..., N], [..., N, d] -> [..., d]``."""
    rows = out.numel() // out.shape[-1]
    torch.bmm(weights.reshape(rows, 1, -1), values.view(rows, *values.shape[-2:]), out=out.view(rows, 1, -1))


def _over_channels(values: Tensor, weights: Tensor, out: Tensor) -> None:
    """``out[n] = sum_d values[n, d] weights[d]``: ``[..., N, d], [..., d] -> [..., N]``."""
    rows = out.numel() // out.shape[-1]
    torch.bmm(values.view(rows, *values.shape[-2:]), weights.reshape(rows, -1, 1), out=out.view(rows, -1, 1))


class _SelectiveScan(torch.autograd.Function):
    """``y_t = sum_n C_t h_t`` of ``u = dt x``; keeps the inputs and one state for each block."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        blocks = _Blocks(len(u), u.shape[1] * a.numel(), u.device.type)
        parts = [blocks.cut(value) for value in (u, dt, b, c)]
        decay, states = blocks.buffer(parts[0], a), blocks.buffer(parts[0], a, extra=1)
        y, state, starts = u.new_empty(parts[0].shape), u.new_zeros(u.shape[1], *a.shape), []
        for y_part, u_part, dt_part, b_part, c_part in zip(y, *parts, strict=True):
            starts.append(state)
            state = _fill_states(u_part, b_part, *_decays(dt_part, a, decay), state, states)
            _over_states(c_part, states[1:], out=y_part)
        if any(ctx.needs_input_grad):
            ctx.blocks = blocks
            ctx.save_for_backward(u, dt, a, b, c, torch.stack(starts))
        return blocks.join(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
        u, dt, a, b, c, starts = ctx.saved_tensors
        with torch.autocast(u.device.type, enabled=False):
            parts = [ctx.blocks.cut(value) for value in (dy.to(u.dtype), u, dt, b, c)]
            found = [part.new_empty(part.shape) for part in parts[1:]]
            after, of_a = torch.zeros_like(starts[0]), torch.zeros_like(a)
            buffers = [ctx.blocks.buffer(parts[0], a, extra) for extra in (0, 0, 1)]
            for block in range(len(starts) - 1, -1, -1):
                here = [part[block] for part in parts]
                after = _block_gradients(*here, a, starts[block], after, buffers, [f[block] for f in found], of_a)
            of_u, of_dt, of_b, of_c = (ctx.blocks.join(value) for value in found)
        return of_u, of_dt, of_a, of_b, of_c


def _block_gradients(
    dy: Tensor,
    u: Tensor,
    dt: Tensor,
    b: Tensor,
    c: Tensor,
    a: Tensor,
    start: Tensor,
    after: Tensor,
    buffers: list[Tensor],
    out: list[Tensor],
    of_a: Tensor,
) -> Tensor:
    """Write the gradients of a block for (u, dt, b, c) into ``out``, add that for ``a`` to ``of_a``.

    Returns:
        The gradient of the state before the block.
    """
    decay, gradients, states = buffers
    of_u, of_dt, of_b, of_c = out
    _, chunk_decay = _decays(dt, a, decay)
    _fill_states(u, b, decay, chunk_decay, start, states)
    before = _fill_gradients(dy, c, decay, chunk_decay, after, gradients)
    _over_channels(states[1:], dy, out=of_c)
    _over_states(b, gradients, out=of_u)
    _over_channels(gradients, u, out=of_b)
    of_exponent = decay.mul_(gradients).mul_(states[:-1])
    of_a += torch.mul(of_exponent, dt.unsqueeze(-2), out=gradients).sum(dim=(0, 1, 2))
    torch.sum(of_exponent.mul_(a), dim=-2, out=of_dt)
    return before
