"""Weights in 8 bits: a quarter of float32 on the disk, restored to float32 when they are loaded.

A large weight ``W`` is stored as int8 ``W`` and float16 ``W.scale``, one scale for each output channel:
``W = int8 * scale``. Everything else is float16 (or an integer, as it is).
"""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = ".scale"
STEPS = 127
SMALLEST = 1024
"""Weights of fewer numbers stay float16."""


def quantised(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Large weights of two dimensions and more in 8 bits, the rest in float16; what :func:`restored` takes."""
    stored: dict[str, Tensor] = {}
    for name, weight in sorted(weights.items()):
        if not weight.is_floating_point():
            stored[name] = weight.contiguous()
        elif weight.ndim < 2 or weight.numel() < SMALLEST:
            stored[name] = weight.half().contiguous()
        else:
            scale = (weight.float().flatten(1).abs().amax(1) / STEPS).half()
            scale = torch.where(scale > 0, scale, torch.ones_like(scale))  # a channel of zeros
            steps = (weight.float() / _by_channel(scale, weight.ndim)).round().clamp(-STEPS, STEPS)
            stored[name], stored[name + SCALE] = steps.to(torch.int8).contiguous(), scale
    return stored


def restored(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """float32 weights of :func:`quantised` or of plain float16; integers stay what they are.

    Raises:
        ValueError: an 8-bit weight without its scale, or a scale that does not fit.
    """
    weights: dict[str, Tensor] = {}
    for name, value in stored.items():
        if name.endswith(SCALE) and stored.get(name.removesuffix(SCALE), value).dtype == torch.int8:
            continue
        if value.dtype != torch.int8:
            weights[name] = value.float() if value.is_floating_point() else value
            continue
        scale = stored.get(name + SCALE)
        if scale is None or scale.shape != value.shape[:1]:
            raise ValueError(f"8-bit weight '{name}' has no scale for each of its channels")
        weights[name] = value.float() * _by_channel(scale, value.ndim)
    return weights


def _by_channel(scale: Tensor, dimensions: int) -> Tensor:
    return scale.float().view(-1, *[1] * (dimensions - 1))
