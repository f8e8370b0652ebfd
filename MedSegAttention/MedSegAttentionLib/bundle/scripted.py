"""A network in TorchScript, as ``export --format monai-label`` writes it, in the place of the network itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..data.errors import InputError
from ..networks.contract import SegmentationOutput


class ScriptedNetwork(nn.Module):
    """Keeps the contract of :mod:`~..networks.contract`, without attention maps.

    Args:
        scripted: takes pictures to logits; has the buffer ``stride`` and, of a network that judges presence or tells
            kinds of pictures apart, the methods ``with_presence`` and ``describe``.

    Raises:
        InputError: it is another program's TorchScript.
    """

    def __init__(self, scripted: torch.jit.ScriptModule) -> None:
        super().__init__()
        if not hasattr(scripted, "stride"):
            raise InputError(
                f"the network is a {type(scripted).__name__} without a stride; expected that of the bundle, or "
                "TorchScript written by export --format monai-label."
            )
        self.scripted, self.stride = scripted, int(scripted.stride)
        self.cells: dict[str, int] = {}

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in_channels, H, W] -> [B, K, H, W]`` logits."""
        return self.scripted(x)

    def forward_with_attention(self, x: Tensor) -> SegmentationOutput:
        """The same logits, and whether a class is in the picture where the network judges that; no maps."""
        if hasattr(self.scripted, "with_presence"):
            logits, presence = self.scripted.with_presence(x)
            return SegmentationOutput(logits, {}, presence=presence)
        return SegmentationOutput(self.scripted(x), {})

    def describe(self, x: Tensor) -> Tensor:
        """``[B, F]`` numbers that tell kinds of pictures apart."""
        return self.scripted.describe(x)
