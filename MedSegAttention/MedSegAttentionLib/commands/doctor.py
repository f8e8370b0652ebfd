"""``doctor``: what this installation has, as text for a bug report."""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import platform
import shutil
from pathlib import Path

from .. import __version__
from ..checkpoints.catalogue import checkpoint_folders
from ..data.errors import DependencyError, MedSegAttentionError
from ..setup.dependencies import require

logger = logging.getLogger(__name__)
PACKAGES = ("torch", "monai", "safetensors", "SimpleITK", "numpy", "slicer-core")


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add ``doctor`` to the command line."""
    commands.add_parser("doctor", help="check this installation").set_defaults(run=_run)


def _run(_arguments: argparse.Namespace) -> int:
    logger.info("MedSegAttention %s, Python %s, %s", __version__, platform.python_version(), platform.platform())
    for name in PACKAGES:
        try:
            logger.info("%s %s", name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            logger.info("%s is not installed", name)
    logger.info("free disk: %.1f GB", shutil.disk_usage(Path(__file__).parent).free / 1e9)
    try:
        require()
    except DependencyError as error:
        logger.error("%s", error)
        return 1
    _report_devices()
    damaged = sum(not _report_checkpoint(folder) for folder in checkpoint_folders())
    return 1 if damaged else 0


def _report_devices() -> None:
    import torch

    logger.info("torch works, %d CPU threads", torch.get_num_threads())
    if torch.cuda.is_available():
        device, wheel = torch.cuda.get_device_properties(0), " ".join(torch.cuda.get_arch_list())
        logger.info("CUDA: %s, %.1f GB", device.name, device.total_memory / 1e9)
        logger.info("compute capability %d.%d, this torch was built for %s", device.major, device.minor, wheel)
    else:
        logger.info("CUDA: not available; MPS: %savailable", "" if torch.backends.mps.is_available() else "not ")


def _report_checkpoint(folder: Path) -> bool:
    from ..checkpoints.loading import load_checkpoint

    try:
        load_checkpoint(folder)
        logger.info("checkpoint %s: whole", folder.name)
    except MedSegAttentionError as error:
        logger.error("checkpoint %s: %s", folder.name, error)
        return False
    return True
