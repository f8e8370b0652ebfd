"""Installing what is missing, the way each Slicer version offers. Runs only after the user agreed.

PyTorch comes through the PyTorch extension, which picks the build that fits the graphics card; all else is listed in
``Resources/requirements.txt``.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import shutil
import sys
import sysconfig
import tempfile
import urllib.request
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ..data.errors import DependencyError, MedSegAttentionError, RestartNeeded
from .dependencies import PACKAGES, REQUIREMENTS, UNPACKED, Package, missing_packages, require, torch_problem

TORCH_REQUIREMENT = ">=2.8"
TORCH_EXTENSION = "PyTorch"
PROTECTED = ("torch", "numpy", "SimpleITK")
"""Packages that Slicer or the PyTorch extension brought, and that installing ours must not replace."""
PACKAGE_INDEX = "https://pypi.org/simple/"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class InstallationPlan:
    """What would be installed.

    Attributes:
        packages: those that are missing.
        needs_extension: Slicer's PyTorch extension comes first, and with it a restart.
        folder: where packages go.
        free_megabytes: free disk space there.
    """

    packages: tuple[Package, ...]
    needs_extension: bool
    folder: str
    free_megabytes: int

    @property
    def download_megabytes(self) -> tuple[int, int]:
        """Rough size of all downloads: with a build for the CPU alone, and with one for NVIDIA cards."""
        least, most = (sum(package.megabytes[n] for package in self.packages) for n in (0, 1))
        return least, most

    @property
    def disk_megabytes(self) -> int:
        """Disk space that is needed at most, downloads and what is unpacked of them."""
        return round(self.download_megabytes[1] * (1 + UNPACKED))


def plan() -> InstallationPlan | None:
    """What is missing; None when nothing is.

    Raises:
        DependencyError: torch is half installed; the message says how to repair it.
    """
    if problem := torch_problem():
        raise DependencyError(problem)
    missing = missing_packages()
    if not missing:
        return None
    folder = sysconfig.get_path("purelib")
    return InstallationPlan(
        packages=tuple(package for package in PACKAGES if package.name in missing),
        needs_extension="torch" in missing and find_spec("PyTorchUtils") is None,
        folder=folder,
        free_megabytes=shutil.disk_usage(folder).free // 1_000_000,
    )


def install() -> None:
    """Install what is missing; the caller has asked the user. Works inside Slicer only and may take minutes.

    Raises:
        RestartNeeded: Slicer must be restarted; calling this again afterwards goes on.
        DependencyError: it failed; says what, why, and what to do.
    """
    missing = missing_packages()
    in_use = [name for name in missing if name in sys.modules]
    try:
        if "torch" in missing:
            _install_torch()
        if missing_packages():
            _install_requirements()
    except MedSegAttentionError:
        raise
    except Exception as error:  # pip, the extension and the network fail in many ways
        logger.exception("installation failed")
        raise DependencyError(
            f"Installing {', '.join(missing)} failed: {error}. {_likely_reason()} The log with all that pip said is in "
            "Slicer's Python console; click Apply to try again."
        ) from error
    importlib.invalidate_caches()
    require()
    if in_use:
        raise RestartNeeded(f"{', '.join(in_use)} was replaced while in use; restart Slicer to use the new one.")


def _install_torch() -> None:
    try:
        extension = importlib.import_module("PyTorchUtils")
    except ImportError:
        _install_extension()
        return
    install_torch = extension.PyTorchUtilsLogic().installTorch
    wanted = {"askConfirmation": False, "torchVersionRequirement": TORCH_REQUIREMENT}
    known = inspect.signature(install_torch).parameters  # its keywords changed between versions
    install_torch(**{name: value for name, value in wanted.items() if name in known})
    importlib.invalidate_caches()
    if "torch" in missing_packages():  # else pip would fetch any build of it for monai
        raise DependencyError(
            f"the {TORCH_EXTENSION} extension did not install PyTorch. Open its PyTorch Utils module, install PyTorch "
            "there, and click Apply again."
        )


def _install_extension() -> None:
    """Let Slicer install the PyTorch extension, which is there after a restart."""
    model = importlib.import_module("slicer").app.extensionsManagerModel()
    interactive, model.interactive = model.interactive, False  # no questions of its own
    try:
        installed = model.installExtensionFromServer(TORCH_EXTENSION, False)
    finally:
        model.interactive = interactive
    if not installed:
        raise DependencyError(
            f"Slicer could not install its {TORCH_EXTENSION} extension, which provides PyTorch in the build that fits "
            f"this computer. {_likely_reason()} Install '{TORCH_EXTENSION}' in the Extensions Manager (from a file if "
            "need be), restart, and click Apply again."
        )
    raise RestartNeeded(f"The {TORCH_EXTENSION} extension is installed; the rest follows after a restart of Slicer.")


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
            prompt_install=False,  # the user was asked once, for all of it
            prompt_restart=False,
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


def _likely_reason() -> str:
    """Why an installation fails, as far as a look at the network tells."""
    try:
        with urllib.request.urlopen(PACKAGE_INDEX, timeout=5):
            return "The package index can be reached, so it is not the network; often the disk is full."
    except (OSError, ValueError) as error:
        proxies = {name: value for name, value in os.environ.items() if name.lower() in ("http_proxy", "https_proxy")}
        return (
            f"{PACKAGE_INDEX} cannot be reached ({getattr(error, 'reason', error)}; proxy: "
            f"{', '.join(sorted(proxies)) or 'none set'}). Behind a proxy set the environment variable HTTPS_PROXY "
            "before Slicer starts. Without internet fetch the packages on another computer (pip download -r "
            "requirements.txt) and run slicer.util.pip_install('--no-index --find-links FOLDER torch monai nibabel "
            "safetensors psutil') in the Python console."
        )
