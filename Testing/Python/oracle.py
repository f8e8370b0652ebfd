"""A network whose answer is known, and checkpoints made around it without weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedSegAttentionLib.checkpoints.catalogue import read_card
from MedSegAttentionLib.checkpoints.loading import Checkpoint
from MedSegAttentionLib.networks.contract import SegmentationOutput
from small_checkpoint import card_values, write_card

MAP_CELLS = {"tau_stage4": 8, "tau_bottleneck": 16}


class ThresholdNetwork(nn.Module):
    """Segments what is brighter than one half; each map shows the mean intensity of its cells.

    Args:
        fits: raises the device's out-of-memory error for a larger batch.
        message: raise a plain RuntimeError with this text instead.
    """

    stride = 16

    def __init__(self, fits: int | None = None, message: str | None = None) -> None:
        super().__init__()
        self.fits, self.message = fits, message

    def forward_with_attention(self, x: Tensor) -> SegmentationOutput:
        if self.fits is not None and len(x) > self.fits:
            raise RuntimeError(self.message) if self.message else torch.OutOfMemoryError("no room")
        grey = x.mean(dim=1, keepdim=True)
        maps = {name: F.avg_pool2d(grey, cell) for name, cell in MAP_CELLS.items()}
        return SegmentationOutput(20 * (grey - 0.5), maps)


def checkpoint_of(network: nn.Module, folder: Path, **changes: Any) -> Checkpoint:
    """``network`` with the card of :func:`small_checkpoint.card_values`, written to ``folder`` and read back."""
    maps = [{"name": name, "title": name, "meaning": "For tests.", "range": [0, 1]} for name in MAP_CELLS]
    write_card(folder, card_values(**{"attention": maps, **changes}))
    return Checkpoint(read_card(folder), network)
