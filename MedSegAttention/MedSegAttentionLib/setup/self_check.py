"""The self-check: what this installation has and what is wrong with it, as text for a bug report."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__
from ..checkpoints.card_file import read_card
from ..checkpoints.catalogue import SHIPPED, WEIGHTS_FILE, checkpoint_folders, user_folder
from ..checkpoints.weights import check_is_safetensors, verified_weights
from ..data.errors import CheckpointError
from .dependencies import PACKAGES, is_whole, torch_problem
from .python_process import run_module

ALSO_OF_INTEREST = ("numpy", "SimpleITK", "slicer-core")
LEAST_FREE = 2_000_000_000
"""Bytes of free disk space below which results or downloads may fail."""
TORCH_TIMEOUT = 120
NVIDIA = ("nvidia-smi", "--query-gpu=name,driver_version,compute_cap,memory.free,memory.total", "--format=csv,noheader")


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``problem`` says that something must be done about it."""

    text: str
    problem: bool = False


def report(host: str = "") -> list[Finding]:
    """Check this installation; torch is looked at in another process, so that it cannot take this one down.

    Args:
        host: name and version of the application around Python, if there is one.
    """
    return [*_versions(host), *_devices(), *_checkpoints(), *_folders()]


def as_text(findings: list[Finding]) -> str:
    """The report as lines of text; problems are marked by a word."""
    problems = sum(finding.problem for finding in findings)
    lines = [f"PROBLEM: {finding.text}" if finding.problem else finding.text for finding in findings]
    return "\n".join([*lines, f"{problems} problem(s) found." if problems else "No problem found."])


def _versions(host: str) -> Iterator[Finding]:
    yield Finding(f"MedSegAttention {__version__}, Python {platform.python_version()}, {platform.platform()}")
    if host:
        yield Finding(host)
    needed = [package.name for package in PACKAGES]
    for name in (*needed, *ALSO_OF_INTEREST):
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = None
        if name == "torch" and (problem := torch_problem()):
            yield Finding(problem, problem=True)
        elif name not in needed or (version and is_whole(name)):
            yield Finding(f"{name} {version or 'is not a package here'}")
        else:
            yield Finding(f"{name} is not installed; click Apply in the panel to install it", problem=True)


def _devices() -> Iterator[Finding]:
    cards = _nvidia_cards()
    for card in cards:
        yield Finding(f"graphics card: {card}")
    if not cards:
        yield Finding("graphics card: no NVIDIA driver answers (nvidia-smi)")
    if is_whole("torch"):
        yield from torch_findings(bool(cards), *_torch_facts())


def _nvidia_cards() -> list[str]:
    try:
        answer = subprocess.run(
            NVIDIA,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    if answer.returncode:
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.stdout.splitlines() if line.count(",") == 4]
    return [
        f"{name}, driver {driver}, compute capability {capability}, memory {free} free of {total}"
        for name, driver, capability, free, total in rows
    ]


def _torch_facts() -> tuple[dict[str, Any], str]:
    """What torch says, or nothing and why not."""
    try:
        answer = run_module("MedSegAttentionLib.setup.torch_probe", timeout=TORCH_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {}, str(error)
    try:
        return json.loads(answer.stdout.splitlines()[-1]), ""
    except (IndexError, ValueError):
        last = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        return {}, f"exit status {answer.returncode}: {last}"


def torch_findings(driver: bool, facts: dict[str, Any], failure: str = "") -> Iterator[Finding]:
    """What the facts of :mod:`.torch_probe` mean.

    Args:
        driver: whether an NVIDIA driver answered.
        facts: empty when torch could not be asked.
        failure: then why not.
    """
    if not facts:
        text = (
            f"torch does not work ({failure}). Uninstall it in the PyTorch Utils module, restart, and install it anew."
        )
        yield Finding(text, problem=True)
        return
    cuda = facts["built_for_cuda"]
    yield Finding(f"torch {facts['version']} works: {facts['threads']} CPU threads, built for CUDA {cuda or '(none)'}")
    yield Finding(f"MPS (Apple): {'available' if facts['mps'] else 'not available'}")
    yield Finding(f"CUDA: {'available' if facts['cuda'] else 'not available'}")
    if driver and not cuda:
        text = "there is an NVIDIA card, but this torch was built for the CPU alone, so the card is not used. "
        yield Finding(
            f"{text}In the PyTorch Utils module uninstall PyTorch, restart, and install it anew.", problem=True
        )
    elif driver and not facts["cuda"]:
        text = f"there is an NVIDIA card, but torch cannot use it: its driver may be too old for CUDA {cuda}. "
        yield Finding(f"{text}Update the driver; until then the CPU is used.", problem=True)
    for card in facts["cards"]:
        yield from _card_findings(card, facts["architectures"])


def _card_findings(card: dict[str, Any], architectures: list[str]) -> Iterator[Finding]:
    major, minor = card["capability"]
    yield Finding(
        f"{card['name']}: memory {card['free'] / 1e9:.1f} GB free of {card['total'] / 1e9:.1f} GB, compute capability "
        f"{major}.{minor}; this torch was built for {' '.join(architectures)}"
    )
    if not supports((major, minor), architectures):
        yield Finding(
            f"this build of torch does not support {card['name']} (compute capability {major}.{minor}): choose CPU as "
            "device, or uninstall PyTorch in the PyTorch Utils module, restart, and install a newer one.",
            problem=True,
        )


def supports(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Whether a build for these architectures runs on a card of this compute capability.

    ``sm_86`` runs on cards of the same major number from 8.6 on; ``sm_90a`` on 9.0 alone; ``compute_90`` is compiled
    for any later card when it is first used.
    """
    for name in architectures:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name)
        if not match:
            continue
        kind, suffix, built = match[1], match[4], (int(match[2]), int(match[3]))
        if suffix == "a":
            fits = capability == built
        elif kind == "sm" or suffix == "f":
            fits = capability[0] == built[0] and capability >= built
        else:
            fits = capability >= built
        if fits:
            return True
    return False


def _checkpoints() -> Iterator[Finding]:
    for folder in checkpoint_folders():
        try:
            card = read_card(folder)
            check_is_safetensors(verified_weights(folder, card), folder / WEIGHTS_FILE)
        except CheckpointError as error:
            yield Finding(f"checkpoint {folder.name}: {error}", problem=True)
        else:
            yield Finding(f"checkpoint {folder.name}: whole, version {card.version}, SHA-256 {card.weights_sha256}")


def _folders() -> Iterator[Finding]:
    folders = {
        "checkpoints that ship": SHIPPED,
        "your checkpoints": user_folder(),
        "Python packages": Path(sysconfig.get_path("purelib")),
        "temporary files": Path(tempfile.gettempdir()),
    }
    for name, folder in folders.items():
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(existing).free
        text = f"{name}: {folder}, {free / 1e9:.1f} GB free"
        yield Finding(f"{text}; free some disk space" if free < LEAST_FREE else text, problem=free < LEAST_FREE)
