"""What every network of this package promises."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SegmentationOutput:
    """Logits with the attention maps of the same pass.

    Attributes:
        logits: ``[B, K, H, W]``.
        attention: name of the map -> ``[B, 1, h, w]`` in [0, 1], on the grid of the layer it comes from.
    """

    logits: Tensor
    attention: dict[str, Tensor]
