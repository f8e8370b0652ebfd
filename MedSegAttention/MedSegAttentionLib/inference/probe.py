"""How long a slice takes on this machine, measured on three slices of noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch

from ..checkpoints.loading import load_checkpoint
from .prediction import Predictor

SLICES = 3


@dataclass(frozen=True)
class SliceTime:
    """Seconds that the network takes for one slice, on ``device`` (``cuda``, ``mps`` or ``cpu``)."""

    seconds: float
    device: str


def seconds_per_slice(folder: str | Path, device: str) -> SliceTime:
    """Time the checkpoint in ``folder`` on ``SLICES`` slices of the size it was trained on.

    Args:
        folder: of the checkpoint.
        device: see :func:`~.devices.choose_device`.

    Raises:
        MedSegAttentionError: the checkpoint is not whole or the device is not there.
    """
    checkpoint = load_checkpoint(folder)
    side = int(checkpoint.card.fit["size"])
    predictor = Predictor(checkpoint.network, device, None, side)
    noise = torch.rand(SLICES, checkpoint.card.network_channels, side, side, generator=torch.Generator().manual_seed(0))
    predictor.predict(noise)  # the first call also sets the device up
    begin = perf_counter()
    predictor.predict(noise)
    return SliceTime((perf_counter() - begin) / SLICES, predictor.device.type)
