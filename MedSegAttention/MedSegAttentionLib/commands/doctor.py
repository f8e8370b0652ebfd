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
from ..data.errors import MedSegAttentionError

logger = logging.getLogger(__name__)
PACKAGES = ("torch", "monai", "safetensors", "SimpleITK", "numpy", "slicer-core")


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add ``doctor`` to the command line."""
    commands.add_parser("doctor", help="check this installation").set_defaults(run=_run)


def _run(_arguments: argparse.Namespace) -> int:
    healthy = True
    logger.info("MedSegAttention %s, Python %s, %s", __version__, platform.python_version(), platform.platform())
    for name in PACKAGES:
        try:
            logger.info("%s %s", name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            logger.info("%s is not installed", name)
    healthy &= _report_torch()
    for folder in checkpoint_folders():
        healthy &= _report_checkpoint(folder)
    logger.info("free disk: %.1f GB", shutil.disk_usage(Path(__file__).parent).free / 1e9)
    return 0 if healthy else 1


def _report_torch() -> bool:
    try:
        import torch

        logger.info("torch works, %d threads", torch.get_num_threads())
    except (ImportError, OSError, AttributeError) as error:
        logger.error("torch does not work (%s); install it with the PyTorch extension of Slicer", error)
        return False
    if torch.cuda.is_available():
        device = torch.cuda.get_device_properties(0)
        logger.info(
            "CUDA: %s, %.1f GB, compute capability %d.%d, wheel for %s",
            device.name,
            device.total_memory / 1e9,
            device.major,
            device.minor,
            " ".join(torch.cuda.get_arch_list()),
        )
    else:
        logger.info(
            "CUDA: not available; MPS: %s", "available" if torch.backends.mps.is_available() else "not available"
        )
    return True


def _report_checkpoint(folder: Path) -> bool:
    from ..checkpoints.loading import load_checkpoint

    try:
        load_checkpoint(folder)
        logger.info("checkpoint %s: whole", folder.name)
    except MedSegAttentionError as error:
        logger.error("checkpoint %s: %s", folder.name, error)
        return False
    return True
