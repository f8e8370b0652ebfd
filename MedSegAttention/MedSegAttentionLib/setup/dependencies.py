"""What inference needs beyond Slicer itself, and whether it is there. Imports and installs none of it."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ..data.errors import DependencyError


@dataclass(frozen=True)
class Package:
    """A Python package that inference needs.

    Attributes:
        name: to import and to install.
        megabytes: rough size of what is downloaded, or its smallest and largest.
    """

    name: str
    megabytes: tuple[int, int]


PACKAGES = (
    Package("torch", (200, 3000)),
    Package("monai", (3, 3)),
    Package("nibabel", (3, 4)),
    Package("safetensors", (1, 1)),
    Package("psutil", (1, 1)),
)
"""torch is small without, and large with support of NVIDIA cards."""
UNPACKED = 2.5
"""Disk space that packages take, as a multiple of their download."""
OLDEST_TORCH = (2, 5)
"""What MONAI's and our own code were written for at the least."""
REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"


def missing_packages() -> list[str]:
    """Names of the packages that are absent or only half installed."""
    return [package.name for package in PACKAGES if not is_whole(package.name)]


def is_whole(name: str) -> bool:
    """Whether a package is there as a whole: an interrupted installation leaves an empty namespace package behind."""
    try:
        spec = find_spec(name)
    except ValueError:  # in sys.modules without a spec
        return False
    if spec is None or spec.origin is None:
        return False
    # torch writes its version to a file of its own; an import would tell more, but could take Slicer down.
    return name != "torch" or Path(spec.origin).with_name("version.py").is_file()


def torch_problem() -> str:
    """What is wrong with a torch that is too old or there in part, and what to do; empty when it is good or absent."""
    if is_whole("torch"):
        return _too_old_torch()
    for place in (Path(entry) for entry in sys.path if entry):
        folder = place / "torch"
        listed = any(place.glob("torch-*.dist-info"))
        if (folder.is_dir() or listed) and not (folder / "version.py").is_file():
            return (
                f"PyTorch is half installed: '{place}' holds what an interrupted installation left, and installing "
                "again does not repair it. Close Slicer, delete the folders 'torch' and 'torch-*.dist-info' there, "
                "start Slicer and click Apply again."
            )
    return ""


def _too_old_torch() -> str:
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return ""
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) >= OLDEST_TORCH:
        return ""
    return (
        f"PyTorch {version} is installed; expected {'.'.join(map(str, OLDEST_TORCH))} or newer. Uninstall it in the "
        "PyTorch Utils module of the PyTorch extension, restart Slicer and click Apply again."
    )


def require() -> None:
    """Do nothing when all packages are there.

    Raises:
        DependencyError: some are missing; says which, and how to install them.
    """
    if problem := torch_problem():
        raise DependencyError(problem)
    if missing := missing_packages():
        raise DependencyError(
            f"Python packages missing: {', '.join(missing)}; inference needs "
            f"{', '.join(package.name for package in PACKAGES)}. Click Apply in the module's panel to install them, or "
            "install the PyTorch extension (Extensions Manager), restart, let its PyTorch Utils module install "
            f"PyTorch, then run in the Python console: slicer.util.pip_install('-r \"{REQUIREMENTS.as_posix()}\"')."
        )
