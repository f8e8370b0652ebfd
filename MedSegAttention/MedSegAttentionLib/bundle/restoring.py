"""Network and card of a bundle, for the parts that its configuration names."""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn

from ..checkpoints.card_file import card_of, read_card
from ..checkpoints.loading import load_checkpoint
from ..data.card import Card


def network_of(bundle_root: str | Path) -> nn.Module:
    """The network of the checkpoint in ``bundle_root`` with its weights, float32 on the CPU, in evaluation mode.

    Card and hash are checked first; 8-bit weights are restored.

    Raises:
        CheckpointError: see :func:`~..checkpoints.loading.load_checkpoint`.
    """
    return load_checkpoint(bundle_root).network


def card_of_bundle(bundle_root: str | Path | None, card: str | None) -> Card:
    """The card in a checkpoint's folder, or of a JSON text where there is no folder (TorchScript in MONAI Deploy).

    Raises:
        CheckpointError: see :func:`~..checkpoints.card_file.read_card`.
    """
    return card_of(json.loads(card), "the bundle") if card else read_card(bundle_root or ".")
