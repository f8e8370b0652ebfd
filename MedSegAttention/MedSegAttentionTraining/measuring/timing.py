"""Time and memory on a machine that may be busy: everything in turn, so that a drift meets all alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import torch


def seconds_in_turn(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time every call once a round, after a round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _round in range(rounds + 1):
        for name, call in calls.items():
            begin = perf_counter()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(perf_counter() - begin)
    return {name: values[1:] for name, values in times.items()}


def ratio(mine: list[float], theirs: list[float]) -> float:
    """Median over the rounds of one time over the other."""
    return median(one / other for one, other in zip(mine, theirs, strict=True))


def peak_since(device: str) -> Callable[[], float]:
    """A function that says by how many MB the memory of this process (or of the GPU) rose at most since this call.

    On a CPU it asks Linux; elsewhere it gives NaN.
    """
    if device == "cuda":
        return lambda: torch.cuda.max_memory_allocated() / 1e6
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not status.is_file():
        return lambda: float("nan")

    def kilobytes(entry: str) -> int:
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(entry))

    reset.write_text("5")  # sets the process's peak to what it holds now
    before = kilobytes("VmRSS")
    return lambda: (kilobytes("VmHWM") - before) * 1024 / 1e6
