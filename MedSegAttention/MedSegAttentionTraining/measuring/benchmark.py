"""Speed and memory of the networks and of a whole run: ratios of one run on one machine, never single times."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import nn

from MedSegAttentionLib.commands.segment import segment_file
from MedSegAttentionLib.data.errors import UsageError
from MedSegAttentionLib.inference.prediction import folded
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.networks import build_network

from .complexity import vanilla_unet
from .timing import ratio, seconds_in_turn

MEASURED = ("unet", "unet-vanilla", "csp-unet", "knn-unet", "klo-net", "klo-net-16")
AROUND = ("read", "prepare", "slices", "assemble", "nodes")
"""Stages of a run around the network; starting, loading weights and writing files are shown but not among them."""


def build(name: str) -> nn.Module:
    """A network with one channel in and out, ready for inference as the extension runs it.

    Beside the networks' own names: ``unet-vanilla``, and ``klo-net-16``, the width of the checkpoints that ship.
    """
    if name == "unet-vanilla":
        network = vanilla_unet()
    elif name == "klo-net-16":
        network = build_network("klo-net", in_channels=1, out_channels=1, width=16)
    else:
        network = build_network(name, in_channels=1, out_channels=1)
    return folded(network).to(memory_format=torch.channels_last)


def peak_memory_mb(name: str, size: int, device: str) -> float:
    """Peak memory of weights and one pass in a fresh process, MB: of the GPU, or what the process grows by."""
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}; import torch; "
        "from MedSegAttentionTraining.measuring.benchmark import build; "
        "from MedSegAttentionTraining.measuring.timing import peak_since; "
        f"peak = peak_since({device!r}); network = build({name!r}).to({device!r}); "
        "torch.inference_mode().__enter__(); "
        f"network(torch.zeros(1, 1, {size}, {size}, device={device!r})); print(peak())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def benchmark_table(size: int = 256, rounds: int = 15, device: str = "cpu", memory: bool = True) -> str:
    """A Markdown table: median ms and slices a second at batch 1, ratios to the U-Nets, peak memory.

    Raises:
        UsageError: CUDA asked for and not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device 'cuda' is not available to this PyTorch; expected cpu.")
    picture = torch.randn(1, 1, size, size, device=device).to(memory_format=torch.channels_last)
    networks = {name: build(name).to(device) for name in MEASURED}
    with torch.inference_mode():
        times = seconds_in_turn({name: partial(network, picture) for name, network in networks.items()}, rounds)
    lines = [
        f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, batch 1, {size} x {size}, "
        f"median of {rounds} rounds in turn.",
        "",
        "| network | ms | slices / s | time to unet | time to unet-vanilla | peak memory, MB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in MEASURED:
        peak = f"{peak_memory_mb(name, size, device):.0f}" if memory else "-"
        lines.append(
            f"| {name} | {1000 * median(times[name]):.0f} | {1 / median(times[name]):.1f} | "
            f"{ratio(times[name], times['unet']):.2f} | {ratio(times[name], times['unet-vanilla']):.2f} | {peak} |"
        )
    return "\n".join(lines)


def run_table(image: Path, checkpoint: str, device: str = "auto") -> str:
    """Where the time of a whole run goes: seconds by stage, and the share of what is around the network."""
    with tempfile.TemporaryDirectory() as folder:
        settings = RunSettings(device=device)
        segment_file(image, folder, checkpoint=checkpoint, settings=settings)  # the first one also starts everything
        seconds = segment_file(image, folder, checkpoint=checkpoint, settings=settings).seconds
    around = sum(seconds[stage] for stage in AROUND)
    return "\n".join(
        [
            f"{image.name} with {checkpoint}, second run: read, resample and write nodes take "
            f"{100 * around / (around + seconds['network']):.1f} % of the time with the network's.",
            "",
            f"| {' | '.join(seconds)} |",
            f"| {' | '.join('---' for _ in seconds)} |",
            f"| {' | '.join(f'{value:.2f} s' for value in seconds.values())} |",
        ]
    )
