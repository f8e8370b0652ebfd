"""The Python packages that inference needs, and the self-check."""

from __future__ import annotations

from typing import Any

from ..setup import dependencies, installation, self_check


class PackageLogic:
    """Part of ``MedSegAttentionLogic``. Nothing is looked for or installed before one of these is called."""

    def missingPackages(self) -> list[str]:
        """Python packages that inference still needs."""
        return [] if self._runner or self._background else dependencies.missing_packages()

    def installationPlan(self) -> Any:
        """What would be installed (``InstallationPlan``), or None when nothing is missing."""
        return None if self._runner else installation.plan()

    def installPackages(self) -> None:
        """Install them. Ask the user first."""
        installation.install()

    def selfCheck(self, host: str = "") -> str:
        """What this installation has and what is wrong with it, as text for a bug report."""
        return self_check.as_text(self_check.report(host))
