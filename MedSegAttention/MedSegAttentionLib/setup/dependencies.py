"""What inference needs beyond Slicer itself: whether it is there, and how it gets there.

PyTorch comes through the PyTorch extension, which picks the build that fits the graphics card; all else is listed in
``Resources/requirements.txt``. Nothing here runs before a user asks for a segmentation.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ..data.errors import DependencyError

PACKAGES = ("torch", "monai", "safetensors", "psutil")
REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
TORCH_REQUIREMENT = ">=2.8"
PROTECTED = ("torch", "numpy", "SimpleITK")
"""Packages that Slicer or the PyTorch extension brought, and that installing ours must not replace."""

logger = logging.getLogger(__name__)


def missing_packages() -> list[str]:
    """Names of the packages that are absent or only half installed."""
    return [name for name in PACKAGES if not _is_usable(name)]


def require() -> None:
    """Do nothing when all packages are there.

    Raises:
        DependencyError: some are missing; says which, and how to install them.
    """
    if missing := missing_packages():
        raise DependencyError(
            f"Python packages missing or half installed: {', '.join(missing)}; inference needs {', '.join(PACKAGES)}. "
            "Install the PyTorch extension (Extensions Manager), restart, let its PyTorch Utils module install "
            f"PyTorch, then run in the Python console: slicer.util.pip_install('-r \"{REQUIREMENTS.as_posix()}\"')."
        )


def install() -> None:
    """Install what is missing; the caller has asked the user. Works inside Slicer only and may take minutes.

    Raises:
        DependencyError: the PyTorch extension is not there, or packages are still missing afterwards.
    """
    if not _is_usable("torch"):
        _install_torch()
    if missing_packages():
        _install_requirements()
    importlib.invalidate_caches()
    require()


def _is_usable(name: str) -> bool:
    """Whether a package is there as a whole: an interrupted installation leaves an empty namespace package behind."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return False
    if name != "torch":
        return True
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError):  # OSError: a library of it cannot be loaded
        logger.exception("torch is installed but cannot be imported")
        return False
    return hasattr(torch, "Tensor") and hasattr(torch, "__version__")


def _install_torch() -> None:
    try:
        extension = importlib.import_module("PyTorchUtils")
    except ImportError as error:
        raise DependencyError(
            "The PyTorch extension is not installed; it provides PyTorch in the build that fits this computer. Install "
            "'PyTorch' in the Extensions Manager, restart, and try again."
        ) from error
    install_torch = extension.PyTorchUtilsLogic().installTorch
    wanted = {"askConfirmation": False, "torchVersionRequirement": TORCH_REQUIREMENT}
    known = inspect.signature(install_torch).parameters  # its keywords changed between versions
    install_torch(**{name: value for name, value in wanted.items() if name in known})


def _install_requirements() -> None:
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text(_constraints(), encoding="utf-8")
        try:
            packaging = importlib.import_module("slicer.packaging")
        except ImportError:  # Slicer 5.10 and older
            util = importlib.import_module("slicer.util")
            util.pip_install(f'-r "{REQUIREMENTS.as_posix()}" -c "{constraints.as_posix()}"')
            return
        packaging.pip_ensure(
            packaging.load_requirements(REQUIREMENTS),
            constraints=constraints,
            prompt_install=False,
            requester="MedSegAttention",
        )


def _constraints() -> str:
    """One line ``name==version`` for each protected package that is installed."""
    lines = []
    for name in PROTECTED:
        try:
            lines.append(f"{name}=={metadata.version(name)}\n")
        except metadata.PackageNotFoundError:  # SimpleITK is part of older Slicer, not a package in it
            continue
    return "".join(lines)
