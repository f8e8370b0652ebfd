"""Parameters and multiply-accumulates (MAC) of the networks, by three counting rules that must not be mixed.

* ``mac``: convolutions, linear layers and attention products: what the network really multiplies, but for its scans.
* ``mac_without_attention``: the same without the attention products.
* ``mac_thop``: what the papers print as "GFLOPs", the figure of the ``thop`` counter. It sees modules alone: no
  attention product, and no projection that is a bare parameter (those of SS2D and KAN). It adds 4 for each element of a
  batch or layer normalisation and, where the authors upsample by a module (the U-Nets do, KM-UNet calls a function), 11
  for each element of a bilinear upsampling. By it KLO-Net has 13.424 G (paper: 13.426), VM-UNet 4.112 (4.11), and
  KM-UNet 2.179 a picture, 17.4 for a batch of 8 (17.66).

A selective scan is a recurrence and in none of them. Only its read-out ``sum_n C_n h_n`` is a product; it is counted
apart, as ``scan_readout``. The whole scan takes about 4.5 times as much (9 L d N K operations).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.networks.layers import ss2d
from MedSegAttentionLib.networks.layers.ss2d import SS2D
from MedSegAttentionLib.networks.unet import UNet

BATCHED_PRODUCTS = ("aten.bmm", "aten.baddbmm")
THOP_NORM, THOP_UPSAMPLE = 4, 11


@dataclass(frozen=True)
class Complexity:
    """Size and cost of one network for one input; MACs are per picture."""

    name: str
    parameters: int
    gate_parameters: int
    mac: int
    mac_without_attention: int
    mac_thop: int
    scan_readout: int


def vanilla_unet() -> nn.Module:
    """The 64..1024 U-Net with bilinear upsampling that the KLO-Net paper measures its savings against."""
    return build_network("unet", in_channels=1, out_channels=1, width=64, halved=True)


@contextmanager
def scans_replaced(by: Callable[..., Tensor]) -> Iterator[None]:
    """Within it every SS2D calls ``by`` for its selective scan, with the same arguments."""
    scan = ss2d.selective_scan
    ss2d.selective_scan = by
    try:
        yield
    finally:
        ss2d.selective_scan = scan


def measure_complexity(name: str, network: nn.Module, shape: tuple[int, int, int, int]) -> Complexity:
    """Count ``network`` on an input of ``shape`` (B, C, H, W); its weights may be on the meta device."""
    seen: Counter[str] = Counter()

    def count_upsampled(*_args: Any, out_shape: torch.Size, **_kwargs: Any) -> int:
        seen["upsampled"] += prod(out_shape)
        return 0

    def count_scan(x: Tensor, _dt: Tensor, a: Tensor, *_rest: Tensor) -> Tensor:
        seen["readouts"] += x.numel() * a.shape[1]
        return x

    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.upsample_bilinear2d: count_upsampled})
    hooks = _count_modules(network, seen)
    # With gradients and the plain kernel attention is made of products that can be counted.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), scans_replaced(count_scan), counter:
        network.eval()(torch.zeros(shape, device=next(network.parameters()).device))
    for hook in hooks:
        hook.remove()
    counts = {str(operation): count // 2 for operation, count in counter.get_flop_counts()["Global"].items()}
    attention = sum(counts.get(operation, 0) for operation in BATCHED_PRODUCTS) - seen["steps"]
    mac = sum(counts.values())
    thop = seen["products"] + THOP_NORM * seen["norms"]
    if isinstance(network, UNet):
        thop += THOP_UPSAMPLE * seen["upsampled"]
    return Complexity(
        name=name,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        gate_parameters=sum(value.numel() for key, value in network.named_parameters() if "gate" in key),
        mac=mac // shape[0],
        mac_without_attention=(mac - attention) // shape[0],
        mac_thop=thop // shape[0],
        scan_readout=seen["readouts"] // shape[0],
    )


def _count_modules(network: nn.Module, seen: Counter[str]) -> list[RemovableHandle]:
    """Let a pass add what its modules multiply and norm to ``seen``; and, as ``steps``, the step sizes of SS2D.

    Those are a batched product, as attention is, but of activations with parameters.
    """

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            seen["products"] += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            seen["products"] += inputs[0].numel() * module.out_features
        elif isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            seen["norms"] += output.numel()

    def count_steps(scan: SS2D, _projection: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        if scan.rank > 1:  # of rank 1 they are no product of matrices
            seen["steps"] += inputs[0].shape[:-1].numel() * scan.dt_weight.numel()

    hooks = []
    for module in network.modules():
        hooks.append(module.register_forward_hook(count))
        if isinstance(module, SS2D):
            hooks.append(module.in_projection.register_forward_hook(partial(count_steps, module)))
    return hooks
