"""Adding checkpoints of one's own from a zip file, a folder or an address, and removing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..data.errors import Cancelled, MedSegAttentionError
from .waiting import inBackground


class CheckpointsSection:
    """Serves the widgets of ``Checkpoints.ui``."""

    def __init__(self, ui: Any, logic: Any, selected: Callable[[], str], onChanged: Callable[[], None]) -> None:
        """Take the widgets.

        Args:
            ui: the widgets by name.
            logic: adds and removes.
            selected: gives the ID that is chosen in the list of checkpoints, or an empty text.
            onChanged: called when a checkpoint was added or removed.
        """
        self._ui, self._logic, self._selected, self._onChanged = ui, logic, selected, onChanged
        self._adding = self._stop = self._closed = False
        self._progress: tuple[int, int | None] = (0, None)
        self._connections = (
            (ui.checkpointSourceLineEdit, "textChanged(QString)", self.update),
            (ui.chooseZipButton, "clicked(bool)", self.onChooseZipButton),
            (ui.chooseFolderButton, "clicked(bool)", self.onChooseFolderButton),
            (ui.addCheckpointButton, "clicked(bool)", self.onAddButton),
            (ui.removeCheckpointButton, "clicked(bool)", self.onRemoveButton),
            (ui.openCheckpointsFolderButton, "clicked(bool)", self.onOpenFolderButton),
        )
        for widget, signal, function in self._connections:
            widget.connect(signal, function)

    def close(self) -> None:
        """Stop listening, and stop a download."""
        self._closed = self._stop = True
        for widget, signal, function in self._connections:
            widget.disconnect(signal, function)

    def update(self, _text: str = "") -> None:
        """Bring the buttons in line with what is chosen and going on."""
        if self._closed:
            return
        ui, idle = self._ui, not self._adding
        for widget in (ui.checkpointSourceLineEdit, ui.chooseZipButton, ui.chooseFolderButton):
            widget.enabled = idle
        ui.addCheckpointButton.text = _("Add checkpoint") if idle else _("Stop")
        ui.addCheckpointButton.enabled = bool(ui.checkpointSourceLineEdit.text.strip()) and not self._stop
        ui.removeCheckpointButton.enabled = idle and self._selected() in self._logic.userCheckpoints()

    def onChooseZipButton(self, _checked: bool = False) -> None:
        """Let the user choose a zip file."""
        title, kinds = _("Checkpoint as a zip file"), _("Zip files (*.zip)")
        self._choose(qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, "", kinds))

    def onChooseFolderButton(self, _checked: bool = False) -> None:
        """Let the user choose a folder."""
        self._choose(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Checkpoint folder")))

    def onAddButton(self, _checked: bool = False) -> None:
        """Add what the line names, or stop that."""
        if self._adding:
            self._stop = True
            self.update()
            return
        source = self._ui.checkpointSourceLineEdit.text.strip()
        self._adding, self._progress = True, (0, None)
        self.update()
        self._setStatus(_("Checking {source}...").format(source=source))
        try:
            card = inBackground(lambda: self._logic.addCheckpoint(source, self._onBytes), self._showProgress)
            self._setStatus(_("Added {id}, version {version}.").format(id=card.id, version=card.version))
        except Cancelled:
            self._setStatus(_("Stopped; nothing was added."))
        except MedSegAttentionError as error:
            self._setStatus(_("Not added."))
            if not self._closed:
                slicer.util.errorDisplay(str(error))
        finally:
            self._adding, self._stop = False, self._closed
            if not self._closed:
                self._onChanged()
                self.update()

    def onRemoveButton(self, _checked: bool = False) -> None:
        """Delete the chosen checkpoint once the user confirmed it."""
        name = self._selected()
        question = _("Delete checkpoint {id} from this computer?").format(id=name)
        if not slicer.util.confirmOkCancelDisplay(question, _("Remove checkpoint")):
            return
        try:
            self._logic.removeCheckpoint(name)
            self._setStatus(_("Removed {id}.").format(id=name))
        except MedSegAttentionError as error:
            slicer.util.errorDisplay(str(error))
        self._onChanged()
        self.update()

    def onOpenFolderButton(self, _checked: bool = False) -> None:
        """Show the user's checkpoints in the file manager."""
        folder = self._logic.checkpointsFolder()
        qt.QDesktopServices.openUrl(qt.QUrl(folder.as_uri()))

    def _choose(self, path: str) -> None:
        if path:
            self._ui.checkpointSourceLineEdit.text = path

    def _onBytes(self, done: int, total: int | None) -> None:
        """Called in the thread of the download: touches no widget."""
        self._progress = (done, total)
        if self._stop:
            raise Cancelled("stopped by the user.")

    def _showProgress(self) -> None:
        done, total = self._progress
        if done:
            text = _("Downloading: {done} MB") if total is None else _("Downloading: {done} of {total} MB")
            self._setStatus(text.format(done=f"{done / 1e6:.1f}", total=f"{(total or 0) / 1e6:.1f}"))

    def _setStatus(self, text: str) -> None:
        if not self._closed:
            self._ui.checkpointsStatusLabel.text = text
