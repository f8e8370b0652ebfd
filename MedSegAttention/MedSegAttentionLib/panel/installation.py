"""Asking once whether missing Python packages may be installed, and going on after a restart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..data.errors import RestartNeeded

RESUME = "MedSegAttention/ResumeInstallation"
"""Of the user's settings: an installation waits for the restart of Slicer."""


class Installation:
    """Makes inference ready. Nothing is looked for or installed before :meth:`ready` is called."""

    def __init__(self, logic: Any, setStatus: Callable[[str], None]) -> None:
        """Args: logic: a ``MedSegAttentionLogic``; setStatus: shows a line."""
        self._logic, self._setStatus = logic, setStatus

    def enter(self) -> None:
        """The module is shown: when an installation waited for a restart, say how it goes on. No dialog."""
        if slicer.util.settingsValue(RESUME, False, converter=slicer.util.toBool):
            qt.QSettings().remove(RESUME)
            if self._logic.missingPackages():
                self._setStatus(_("Slicer was restarted: click Apply to go on with the installation."))

    def ready(self) -> bool:
        """Whether inference can start; installs what is missing when the user agrees.

        Raises:
            DependencyError: the installation failed; says what, why and what to do.
        """
        plan = self._logic.installationPlan()
        if plan is None:
            return True
        names = ", ".join(package.name for package in plan.packages)
        if not slicer.util.confirmOkCancelDisplay(planText(plan), _("Install Python packages")):
            self._setStatus(_("Not run: missing Python packages: {packages}.").format(packages=names))
            return False
        self._setStatus(_("Installing Python packages: {packages}...").format(packages=names))
        slicer.app.processEvents()  # pip blocks: show the line first
        try:
            self._logic.installPackages()
        except RestartNeeded as reason:
            self._restart(str(reason))
            return False
        return True

    def _restart(self, reason: str) -> None:
        qt.QSettings().setValue(RESUME, True)
        self._setStatus(reason)
        question = _("{reason}\n\nRestart Slicer now? What is not saved is lost.").format(reason=reason)
        if slicer.util.confirmOkCancelDisplay(question, _("Restart Slicer")):
            slicer.util.restart()


def planText(plan: Any) -> str:
    """The one question before an installation.

    Args:
        plan: a ``setup.installation.InstallationPlan``.
    """
    lines = [_("Segmentation needs Python packages that are not installed:"), ""]
    purposes = {
        "torch": _("runs the networks; comes through the PyTorch extension"),
        "monai": _("prediction in overlapping tiles"),
        "nibabel": _("reads NIfTI files of a batch"),
        "safetensors": _("reads the weights"),
        "psutil": _("stops a run as a whole"),
    }
    lines += [f"  {item.name}: {purposes[item.name]} ({_megabytes(item.megabytes)})" for item in plan.packages]
    lines.append("")
    if plan.needs_extension:
        lines.append(_("Slicer's PyTorch extension is installed first; then Slicer must be restarted."))
    lines.append(
        _(
            "Download: {size} (large with an NVIDIA card). Disk space: up to {disk}; {free} are free in {folder}."
        ).format(
            size=_megabytes(plan.download_megabytes),
            disk=_size(plan.disk_megabytes),
            free=_size(plan.free_megabytes),
            folder=plan.folder,
        )
    )
    if plan.free_megabytes < plan.disk_megabytes:
        lines.append(_("WARNING: this may not be enough disk space."))
    lines += ["", _("numpy, SimpleITK and other packages of Slicer are left as they are. Install now?")]
    return "\n".join(lines)


def _megabytes(bounds: tuple[int, int]) -> str:
    least, most = bounds
    if least == most:
        return _size(most)
    return _("{least} to {most}").format(least=_size(least), most=_size(most))


def _size(megabytes: int) -> str:
    if megabytes < 1000:
        return _("{number} MB").format(number=megabytes)
    return _("{number} GB").format(number=f"{megabytes / 1000:.1f}")
