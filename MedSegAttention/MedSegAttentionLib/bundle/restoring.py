"""The network of a bundle, as ``network_def`` of its configuration."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ..checkpoints.loading import load_checkpoint


def network_of(bundle_root: str | Path) -> nn.Module:
    """The network of the checkpoint in ``bundle_root`` with its weights, float32 on the CPU, in evaluation mode.

    Card and hash are checked first; 8-bit weights are restored.

    Raises:
        CheckpointError: see :func:`~..checkpoints.loading.load_checkpoint`.
    """
    return load_checkpoint(bundle_root).network
