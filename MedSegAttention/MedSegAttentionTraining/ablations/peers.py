"""MONAI's U-Nets behind the contract of our networks, so that the same loop trains and measures them."""

from __future__ import annotations

from typing import Any

from monai.networks.nets import BasicUNet, DynUNet
from torch import Tensor, nn

from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.networks.contract import SegmentationOutput

LEVELS = 5


class Peer(nn.Module):
    """A network without attention maps: ``[B, C, H, W] -> [B, K, H, W]``, H and W multiples of 16."""

    stride = 16

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.network(x)

    def forward_with_attention(self, x: Tensor) -> SegmentationOutput:
        """Logits, and no map."""
        return SegmentationOutput(self.network(x), {})


def build(name: str, *, in_channels: int, out_channels: int, **config: Any) -> nn.Module:
    """:func:`~MedSegAttentionLib.networks.build_network`, with ``monai-basic-unet`` and ``monai-dyn-unet`` besides.

    Both in two dimensions at MONAI's defaults: BasicUNet with widths 32, 32, 64, 128, 256; DynUNet as nnU-Net would lay
    it out on five levels, 32 to 512.
    """
    if name == "monai-basic-unet":
        return Peer(BasicUNet(2, in_channels, out_channels, **config))
    if name == "monai-dyn-unet":
        kernels, strides = [3] * LEVELS, [1] + [2] * (LEVELS - 1)
        return Peer(DynUNet(2, in_channels, out_channels, kernels, strides, strides[1:], **config))
    return build_network(name, in_channels=in_channels, out_channels=out_channels, **config)
