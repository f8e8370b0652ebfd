"""Parameters and multiply-accumulates (MAC) of the networks, by three counting rules that must not be mixed.

* ``mac``: convolutions, linear layers and attention products: what the network really multiplies.
* ``mac_without_attention``: the same without the attention products.
* ``mac_thop``: what the KLO-Net paper printed as "GFLOPs". Its figures are those of the ``thop`` counter: attention
  products left out, 4 for each element of a batch normalisation and 11 for each element of a bilinear upsampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from MedSegAttentionLib.networks import build_network

ATTENTION_PRODUCTS = ("aten.bmm", "aten.baddbmm")
THOP_NORM, THOP_UPSAMPLE = 4, 11
PUBLISHED = {
    "unet": "7.85 M",
    "csp-unet": "6.29 M",
    "klo-net": "13.426 G by thop",
    "setr": "KV: about 10 % fewer, no figures",
    "setr-conv": "KV: about 10 % fewer, no figures",
    "setr-cvt": "KV: about 10 % fewer, no figures",
}
"""What the papers (arXiv 2512.13902; 2503.18862 for SETR) print for each network, at 1 x 1 x 256 x 256."""


@dataclass(frozen=True)
class Complexity:
    """Size and cost of one network for one input; MACs are per picture."""

    name: str
    parameters: int
    norm_parameters: int
    gate_parameters: int
    mac: int
    mac_without_attention: int
    mac_thop: int


def vanilla_unet(in_channels: int = 1, out_channels: int = 1) -> nn.Module:
    """The 64..1024 U-Net with bilinear upsampling that the paper measures its savings against."""
    return build_network("unet", in_channels=in_channels, out_channels=out_channels, width=64, halved=True)


def measure_complexity(name: str, network: nn.Module, shape: tuple[int, int, int, int]) -> Complexity:
    """Count ``network`` on an input of ``shape`` (B, C, H, W)."""
    upsampled, norms = [0], [0]

    def count_upsampled(*_args: Any, out_shape: torch.Size, **_kwargs: Any) -> int:
        upsampled[0] += prod(out_shape)
        return 0

    def count_norm(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        norms[0] += output.numel()

    hooks = [m.register_forward_hook(count_norm) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.upsample_bilinear2d: count_upsampled})
    # With gradients and the plain kernel attention is made of products that can be counted.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        network.eval()(torch.zeros(shape, device=next(network.parameters()).device))
    for hook in hooks:
        hook.remove()
    counts = {str(operation): count for operation, count in counter.get_flop_counts()["Global"].items()}
    products = sum(counts.get(operation, 0) for operation in ATTENTION_PRODUCTS) // 2
    mac = sum(counts.values()) // 2
    of_norms = (module for module in network.modules() if isinstance(module, (nn.GroupNorm, nn.LayerNorm)))
    return Complexity(
        name=name,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        norm_parameters=sum(parameter.numel() for module in of_norms for parameter in module.parameters()),
        gate_parameters=sum(value.numel() for key, value in network.named_parameters() if "gate" in key),
        mac=mac // shape[0],
        mac_without_attention=(mac - products) // shape[0],
        mac_thop=(mac - products + THOP_NORM * norms[0] + THOP_UPSAMPLE * upsampled[0]) // shape[0],
    )


def complexity_table(names: list[str], size: int = 256) -> str:
    """A Markdown table of networks with one channel in and out at ``size`` x ``size``, batch 1."""
    lines = [
        f"Input 1 x 1 x {size} x {size}. G MAC = 10^9 multiply-accumulates.",
        "",
        "| network | parameters | of them gate | G MAC, all products | G MAC, no attention products | "
        "G by the paper's counter (thop) | paper |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in names:
        network = vanilla_unet() if name == "unet-vanilla" else build_network(name, in_channels=1, out_channels=1)
        found = measure_complexity(name, network, (1, 1, size, size))
        lines.append(
            f"| {name} | {found.parameters:,} | {found.gate_parameters:,} | {found.mac / 1e9:.3f} | "
            f"{found.mac_without_attention / 1e9:.3f} | {found.mac_thop / 1e9:.3f} | {PUBLISHED.get(name, '')} |"
        )
    return "\n".join(lines)
