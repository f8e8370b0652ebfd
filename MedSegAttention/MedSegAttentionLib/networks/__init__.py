"""The published networks, one file each, behind one contract (:mod:`.contract`)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

NETWORKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "unet": ("unet", "UNet", {}),
    "csp-unet": ("klo_net", "KLONet", {"attention": False}),
    "knn-unet": ("klo_net", "KLONet", {"csp": False}),
    "klo-net": ("klo_net", "KLONet", {}),
    "klo-lite": ("klo_lite", "KLOLite", {}),
    "km-unet": ("km_unet", "KMUNet", {}),
    "vm-unet": ("vm_unet", "VMUNet", {}),
    "vmkla-unet": ("vmkla_unet", "VMKLAUNet", {}),
    "setr": ("setr", "SETR", {}),
    "setr-conv": ("setr_conv", "SETRConv", {}),
    "setr-cvt": ("setr_cvt", "SETRCvT", {}),
}
"""Name -> (file, class, options that make it this variant)."""


def build_network(name: str, *, in_channels: int, out_channels: int, **config: Any) -> nn.Module:
    """Build a network by name.

    Args:
        name: a key of :data:`NETWORKS`.
        in_channels: channels of the picture.
        out_channels: ``K``, number of logit maps.
        **config: options of the network's class; the defaults are the paper's configuration.

    Raises:
        ValueError: unknown name or option.
    """
    if name not in NETWORKS:
        raise ValueError(f"network '{name}' is not known; expected one of {', '.join(NETWORKS)}")
    file, cls, options = NETWORKS[name]
    network_class = getattr(import_module(f".{file}", __name__), cls)
    try:
        return network_class(in_channels, out_channels, **{**options, **config})
    except TypeError as error:
        raise ValueError(f"network '{name}' does not take these options: {error}") from error
