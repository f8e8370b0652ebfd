"""The self-check as a section of the panel: text for a bug report."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from .waiting import inBackground


class SelfCheckSection:
    """Serves the widgets of ``SelfCheck.ui``."""

    def __init__(self, ui: Any, logic: Any) -> None:
        """Args: ui: the widgets by name; logic: makes the report."""
        self._ui, self._logic, self._closed = ui, logic, False
        self._connections = (
            (ui.selfCheckButton, "clicked(bool)", self.onCheckButton),
            (ui.copySelfCheckButton, "clicked(bool)", self.onCopyButton),
        )
        for widget, signal, function in self._connections:
            widget.connect(signal, function)
        ui.copySelfCheckButton.enabled = False

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        for widget, signal, function in self._connections:
            widget.disconnect(signal, function)

    def onCheckButton(self, _checked: bool = False) -> None:
        """Check; the window stays alive meanwhile."""
        self._ui.selfCheckButton.enabled = False
        self._ui.selfCheckTextEdit.setPlainText(_("Checking..."))
        host = f"{slicer.app.applicationName} {slicer.app.applicationVersion}"
        text = _("The self-check failed; Slicer's log says why.")
        try:
            text = inBackground(lambda: self._logic.selfCheck(host))
        finally:
            if not self._closed:
                self._ui.selfCheckTextEdit.setPlainText(text)
                self._ui.selfCheckButton.enabled = self._ui.copySelfCheckButton.enabled = True

    def onCopyButton(self, _checked: bool = False) -> None:
        """Put the report into the clipboard."""
        slicer.app.clipboard().setText(self._ui.selfCheckTextEdit.toPlainText())
