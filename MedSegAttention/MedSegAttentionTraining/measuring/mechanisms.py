"""The selective scan and the dynamic k-NN attention against the plain forms of the same: ratios on this machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, softplus

from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.networks.layers.dynamic_knn_attention import DynamicKNNAttention
from MedSegAttentionLib.networks.layers.selective_scan import selective_scan

from .complexity import scans_replaced
from .timing import ratio, seconds_in_turn

SCANS, CHANNELS, POSITIONS, STATES = 4, 64, 4096, 16
ATTENTION_CHANNELS, ATTENTION_POSITIONS = 256, (1024, 4096)
Scan = Callable[..., Tensor]


def step_loop(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor | None = None) -> Tensor:
    """The recurrence word for word, arguments and result as of :func:`selective_scan`."""
    x, dt, b, c = (value.float() for value in (x, dt, b, c))
    state = torch.zeros(x.shape[1], *a.shape, dtype=x.dtype)
    outputs = []
    for x_t, dt_t, b_t, c_t in zip(x, dt, b, c, strict=True):
        state = torch.exp(dt_t.unsqueeze(2) * a) * state + (dt_t * x_t).unsqueeze(2) * b_t.unsqueeze(3)
        outputs.append((c_t.unsqueeze(3) * state).sum(dim=2))
    y = torch.stack(outputs)
    return y if d is None else y + d * x


def reference_loop(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor | None = None) -> Tensor:
    """The same in the form of the Mamba authors' reference: all decays and inputs first, ``[B, K, d, L, N]``."""
    x, dt, b, c = (value.float() for value in (x, dt, b, c))
    decay = torch.einsum("lbkd,knd->bkdln", dt, a).exp()
    added = torch.einsum("lbkd,lbkn->bkdln", dt * x, b)
    state, outputs = torch.zeros_like(decay[..., 0, :]), []
    for decay_t, added_t, c_t in zip(decay.unbind(-2), added.unbind(-2), c, strict=True):
        state = decay_t * state + added_t
        outputs.append(torch.einsum("bkdn,bkn->bkd", state, c_t))
    y = torch.stack(outputs)
    return y if d is None else y + d * x


def no_scan(x: Tensor, *_rest: Tensor) -> Tensor:
    """In the place of a scan: nothing."""
    return x.float()


LOOPS: dict[str, Scan] = {"step loop": step_loop, "reference loop (decays first)": reference_loop}


def scan_table(rounds: int = 3, size: int = 256, length: int = POSITIONS) -> str:
    """Times of the loops over ours, and of KM-UNet with ours over KM-UNet with a loop and without scans; Markdown."""
    values = _scan_inputs(length)
    lines = [
        f"Selective scan, K = {SCANS}, d = {CHANNELS}, L = {length}, N = {STATES}; {_machine(rounds)}",
        "",
        "| compared with | forward: times as fast | forward and backward |",
        "| --- | --- | --- |",
    ]
    scans = {"ours": selective_scan, **LOOPS}
    with torch.no_grad():
        forward = seconds_in_turn({name: partial(scan, *values) for name, scan in scans.items()}, rounds)
    wanted = [value.requires_grad_() for value in values]
    both = seconds_in_turn({name: partial(_with_gradient, scan, wanted) for name, scan in scans.items()}, rounds)
    for name in LOOPS:
        lines.append(
            f"| {name} | {ratio(forward[name], forward['ours']):.1f} | {ratio(both[name], both['ours']):.1f} |"
        )
    return "\n".join([*lines, "", _of_km_unet(size, rounds)])


def _of_km_unet(size: int, rounds: int) -> str:
    """KM-UNet with our scan against the same with a step loop and without scans."""
    network = build_network("km-unet", in_channels=3, out_channels=1).eval()
    picture = torch.zeros(1, 3, size, size)
    forms = {"ours": selective_scan, "step loop": step_loop, "no scans": no_scan}
    calls = {name: partial(_pass_with, scan, network, picture) for name, scan in forms.items()}
    with torch.inference_mode():
        times = seconds_in_turn(calls, rounds)
    return (
        f"KM-UNet at {size} x {size}: {ratio(times['ours'], times['step loop']):.2f} times the time of the same with a "
        f"step loop, {ratio(times['ours'], times['no scans']):.2f} times that of the same without scans."
    )


def attention_table(rounds: int = 5, positions: tuple[int, ...] = ATTENTION_POSITIONS) -> str:
    """Time of dynamic k-NN attention over that of dense softmax attention, between the projections; Markdown."""
    layer = DynamicKNNAttention(ATTENTION_CHANNELS).eval()
    lines = [
        f"Dynamic k-NN attention, C = {ATTENTION_CHANNELS}, {layer.heads} heads, k_max {layer.k_max}, "
        f"tau evenly from 0 to 1; {_machine(rounds)}",
        "",
        "| positions | ms | time / dense softmax attention | time / PyTorch's fused dense attention |",
        "| --- | --- | --- | --- |",
    ]
    for count in positions:
        generator = torch.Generator().manual_seed(0)
        shape = (3, 1, layer.heads, count, ATTENTION_CHANNELS // layer.heads)
        query, key, value = torch.randn(shape, generator=generator)
        query, tau = query * shape[-1] ** -0.5, torch.rand(1, 1, count, generator=generator)
        with torch.inference_mode():
            times = seconds_in_turn(
                {
                    "ours": partial(layer.mix, query, key, value, tau),
                    "dense": partial(dense_attention, query, key, value),
                    "fused": partial(scaled_dot_product_attention, query, key, value, scale=1.0),
                },
                rounds,
            )
        lines.append(
            f"| {count} | {1000 * median(times['ours']):.0f} | {ratio(times['ours'], times['dense']):.2f} | "
            f"{ratio(times['ours'], times['fused']):.2f} |"
        )
    return "\n".join(lines)


def dense_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax over all positions; ``query`` is scaled."""
    return torch.softmax(query @ key.transpose(-2, -1), dim=-1) @ value


def _scan_inputs(length: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, raw = torch.randn(2, length, 1, SCANS, CHANNELS, generator=generator)
    write, read = torch.randn(2, length, 1, SCANS, STATES, generator=generator)
    a = -torch.arange(1.0, STATES + 1).reshape(1, -1, 1).expand(SCANS, -1, CHANNELS).contiguous()
    return [x, softplus(raw - 3), a, write, read, torch.ones(SCANS, CHANNELS)]


def _with_gradient(scan: Scan, values: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(scan(*values).square().sum(), values)


def _pass_with(scan: Scan, network: torch.nn.Module, picture: Tensor) -> Tensor:
    with scans_replaced(scan):
        return network(picture)


def _machine(rounds: int) -> str:
    return f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}, median of {rounds} rounds in turn."
