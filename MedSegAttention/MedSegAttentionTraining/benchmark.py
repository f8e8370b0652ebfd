"""Speed and memory of the networks: ratios of one run on one machine, never single times."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter

import torch
from torch import nn

from MedSegAttentionLib.inference.prediction import folded
from MedSegAttentionLib.networks import build_network

from .complexity import vanilla_unet

MEASURED = ("unet", "unet-vanilla", "csp-unet", "knn-unet", "klo-net")


def build(name: str) -> nn.Module:
    """A network with one channel in and out, ready for inference as the extension runs it."""
    network = vanilla_unet() if name == "unet-vanilla" else build_network(name, in_channels=1, out_channels=1)
    return folded(network).to(memory_format=torch.channels_last)


@torch.inference_mode()
def seconds_in_turn(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time every call once a round, in turn, so that a drift of the machine meets all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _round in range(rounds + 1):
        for name, call in calls.items():
            begin = perf_counter()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(perf_counter() - begin)
    return {name: values[1:] for name, values in times.items()}


def peak_memory_mb(name: str, size: int, device: str) -> float:
    """Peak memory of one forward pass, MB: of the GPU, or on a CPU what a fresh process adds to itself."""
    if device == "cuda":
        network, picture = build(name).to(device), torch.zeros(1, 1, size, size, device=device)
        torch.cuda.reset_peak_memory_stats()
        with torch.inference_mode():
            network(picture)
        return torch.cuda.max_memory_allocated() / 1e6
    code = (
        "import resource, torch; from MedSegAttentionTraining.benchmark import build; "
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = peak(); "
        f"network = build({name!r}); torch.inference_mode().__enter__(); network(torch.zeros(1, 1, {size}, {size})); "
        "print((peak() - before) / 1024)"
    )
    path = f"import sys; sys.path[:0] = {sys.path!r}; "
    done = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def benchmark_table(size: int = 256, rounds: int = 15, device: str = "cpu", memory: bool = True) -> str:
    """A Markdown table: median ms for a slice at batch 1, ratio to the U-Net and to the vanilla U-Net, peak memory."""
    picture = torch.randn(1, 1, size, size, device=device).to(memory_format=torch.channels_last)
    networks = {name: build(name).to(device) for name in MEASURED}
    times = seconds_in_turn({name: partial(network, picture) for name, network in networks.items()}, rounds)

    def ratio(name: str, other: str) -> float:
        return median(mine / theirs for mine, theirs in zip(times[name], times[other], strict=True))

    lines = [
        f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, batch 1, {size} x {size}, "
        f"median of {rounds} rounds in turn.",
        "",
        "| network | ms | time to unet | time to unet-vanilla | peak memory, MB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in MEASURED:
        peak = f"{peak_memory_mb(name, size, device):.0f}" if memory else "-"
        lines.append(
            f"| {name} | {1000 * median(times[name]):.0f} | {ratio(name, 'unet'):.2f} | "
            f"{ratio(name, 'unet-vanilla'):.2f} | {peak} |"
        )
    return "\n".join(lines)
