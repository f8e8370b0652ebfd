"""How long a slice takes on this machine, measured in a process of its own."""

from __future__ import annotations

import re
import subprocess

from ..data.errors import MedSegAttentionError
from .python_process import run_module

TIMEOUT = 300


def seconds_per_slice(checkpoint: str, device: str) -> float:
    """What ``checkpoints time`` measures; takes seconds and may be called from any thread.

    Args:
        checkpoint: ID.
        device: ``auto``, ``cuda``, ``mps`` or ``cpu``.

    Raises:
        MedSegAttentionError: it could not be measured, and why.
    """
    try:
        answer = run_module(
            "MedSegAttentionLib", "checkpoints", "time", checkpoint, "--device", device, timeout=TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MedSegAttentionError(f"the time of '{checkpoint}' could not be measured: {error}.") from error
    found = re.search(r"([\d.]+) s per slice", answer.stdout)
    if not found:
        last = (answer.stderr.strip().splitlines() or [f"exit status {answer.returncode}"])[-1]
        raise MedSegAttentionError(f"the time of '{checkpoint}' could not be measured: {last}")
    return float(found.group(1))
