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
        device: where it is going to run, before it has run anywhere else.

    Raises:
        InputError: it is another program's TorchScript.
    """

    def __init__(self, scripted: torch.jit.ScriptModule, device: torch.device) -> None:
        super().__init__()
        if not hasattr(scripted, "stride"):
            raise InputError(
                f"the network is a {type(scripted).__name__} without a stride; expected that of the bundle, or "
                "TorchScript written by export --format monai-label."
            )
        _make_constants_on(scripted, device)
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


def _make_constants_on(scripted: torch.jit.ScriptModule, device: torch.device) -> None:
    """Have the tensors that a trace makes while it runs, such as ranks, made where it runs.

    A trace keeps the device it was made on for them, and loading it on another one changes its weights alone.
    """
    for module in scripted.modules():
        for name in module._c._method_names():
            for node in module._c._get_method(name).graph.findAllNodes("prim::Constant"):
                if node.output().type().kind() == "DeviceObjType" and node.hasAttributes():
                    node.s_("value", str(device))
