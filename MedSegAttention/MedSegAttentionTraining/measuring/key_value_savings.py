"""What KV attention saves against QKV in the three SETR, by what is counted ("about 10 %" in arXiv 2503.18862)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from MedSegAttentionLib.networks import build_network

from .complexity import Complexity, measure_complexity

SIZE = 256
CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("setr", {}),
    ("setr", {"width": 768}),
    ("setr", {"width": 768, "mlp_ratio": 3, "decoder": "naive"}),
    ("setr-conv", {}),
    ("setr-conv", {"width": 768}),
    ("setr-cvt", {}),
    ("setr-cvt", {"kv_stride": 2}),
)


class _Encoder(nn.Module):
    """In the place of a decoder: the features go out as they come in."""

    def forward(self, x: Tensor, *_skips: Any) -> Tensor:
        return x


def measured(name: str, attention: str, *, encoder: bool = False, **config: Any) -> Complexity:
    """Count a SETR with one channel in and three classes at 256 x 256, whole or its encoder; no weight is drawn."""
    with torch.device("meta"):
        network = build_network(name, in_channels=1, out_channels=3, attention=attention, **config)
    if encoder:
        network.decoder = _Encoder()
    return measure_complexity(name, network, (1, 1, SIZE, SIZE))


def savings_table(cases: Sequence[tuple[str, dict[str, Any]]] = CASES) -> str:
    """A Markdown table: parameters and MACs of QKV, and what KV changes, whole and encoder alone."""
    lines = [
        f"Change from QKV to KV. Input 1 x 1 x {SIZE} x {SIZE}, three classes; MAC = multiply-accumulates. Of a "
        "transformer KV saves 1 / (4 + 2 mlp_ratio) of the parameters: 8.3 % at 4, 10.0 % at 3.",
        "",
        "| network | parameters, QKV | KV | encoder alone | G MAC, all products, QKV | KV | encoder alone | "
        "KV, no attention products |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, config in cases:
        whole, part = (
            [measured(name, attention, encoder=encoder, **config) for attention in ("qkv", "kv")]
            for encoder in (False, True)
        )
        options = ", ".join(f"{key} {value}" for key, value in config.items())
        lines.append(
            f"| {name}{f' ({options})' if options else ''} | {whole[0].parameters / 1e6:.3f} M | "
            f"{_change(whole, lambda c: c.parameters)} | {_change(part, lambda c: c.parameters)} | "
            f"{whole[0].mac / 1e9:.2f} | {_change(whole, lambda c: c.mac)} | {_change(part, lambda c: c.mac)} | "
            f"{_change(whole, lambda c: c.mac_without_attention)} |"
        )
    return "\n".join(lines)


def _change(pair: list[Complexity], figure: Callable[[Complexity], int]) -> str:
    before, after = map(figure, pair)
    return f"{100 * (after / before - 1):+.1f} %"
