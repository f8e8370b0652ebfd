"""Which device runs the network, in which precision, and how running out of memory is recognised."""

from __future__ import annotations

import torch

from ..data.errors import InputError
from .lanes import MOST

BATCH_SIZES = {"cuda": 16, "mps": 4}
"""Slices at once. On a CPU it depends on the threads, see :mod:`.lanes`."""


def batch_size_on(device: torch.device) -> int:
    """How many slices at once suit a device."""
    return BATCH_SIZES.get(device.type) or min(torch.get_num_threads(), MOST)


def choose_device(name: str) -> torch.device:
    """``auto``, ``cuda``, ``mps`` or ``cpu`` to a device that is there.

    Raises:
        InputError: the device asked for is not available.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available[name]:
        there = ", ".join(device for device, is_there in available.items() if is_there)
        raise InputError(f"device '{name}' is not available to PyTorch {torch.__version__}; available: {there}.")
    return torch.device(name)


def precision(device: torch.device) -> torch.dtype:
    """float16 (under autocast) on CUDA, where it is safe and twice as fast; float32 elsewhere."""
    return torch.float16 if device.type == "cuda" else torch.float32


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether ``error`` says that the device has no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        text in str(error).lower() for text in ("out of memory", "can't allocate memory", "not enough memory")
    )


def free_memory(device: torch.device) -> None:
    """Give cached blocks of the device back."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def free_all_memory() -> None:
    """Give cached blocks of every device that was used back."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
