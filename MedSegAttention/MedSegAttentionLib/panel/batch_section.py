"""The section for many images at once, and for handing on a result."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..data.case import file_names
from ..data.errors import Cancelled, InputError, MedSegAttentionError
from .choices import choicesOf

logger = logging.getLogger(__name__)

SCENE, FOLDER, SEQUENCE = "scene", "folder", "sequence"
STEPS = 100
"""Of the progress bar, for each image."""


class BatchSection:
    """Connects the widgets of ``Batch.ui`` with ``segmentBatch``, ``exportSegmentation`` and ``writeReport``."""

    def __init__(
        self,
        ui: Any,
        logic: Any,
        parameters: Callable[[], Any],
        packagesReady: Callable[[], bool],
        onRunning: Callable[[bool], None],
    ) -> None:
        """Connect.

        Args:
            ui: the widgets by name.
            logic: a ``MedSegAttentionLogic``.
            parameters: gives the parameter node: task, checkpoint, device, attention.
            packagesReady: whether inference can start; may ask the user.
            onRunning: called with True before a batch and with False after it.
        """
        self.ui, self.logic, self.running = ui, logic, False
        self._parameters, self._packagesReady, self._onRunning = parameters, packagesReady, onRunning
        self._cancelRequested = self._closed = self._handlingEvents = False
        ui.batchSourceComboBox.addItem(_("All volumes of the scene"), SCENE)
        ui.batchSourceComboBox.addItem(_("Folder of images or DICOM series"), FOLDER)
        ui.batchSourceComboBox.addItem(_("All frames of the input volume's sequence"), SEQUENCE)
        self._connections = [
            (ui.batchSourceComboBox, "currentIndexChanged(int)", self._update),
            (ui.batchButton, "clicked(bool)", self.onBatchButton),
            (ui.exportDicomButton, "clicked(bool)", self.onExportDicomButton),
            (ui.exportNrrdButton, "clicked(bool)", self.onExportNrrdButton),
            (ui.exportNiftiButton, "clicked(bool)", self.onExportNiftiButton),
            (ui.exportReportButton, "clicked(bool)", self.onExportReportButton),
        ]
        for widget, signal, function in self._connections:
            widget.connect(signal, function)
        ui.batchProgressBar.visible = False
        self._update()

    def cancel(self) -> None:
        """Ask the batch, if there is one, to stop after the slice it is at."""
        self._cancelRequested = True
        if self.running:
            self._setStatus(_("Stopping after this slice..."))
            self._update()

    def close(self) -> None:
        """Let go of the widgets, which may be gone afterwards."""
        self.cancel()
        self._closed = True
        for widget, signal, function in self._connections:
            widget.disconnect(signal, function)

    def onBatchButton(self, _checked: bool = False) -> None:
        """Run, or Cancel while a batch is under way."""
        if self.running:
            self.cancel()
            return
        try:
            if missing := self._missingFolder():
                self._setStatus(missing)
            elif self._parameters() and self._packagesReady():
                self._setStatus(self._run())
        except MedSegAttentionError as error:
            self._fail(str(error))
        except Exception as error:
            logger.exception("batch failed")
            self._fail(_("The batch failed: {error}").format(error=error))

    def onExportDicomButton(self, _checked: bool = False) -> None:
        """Export the result as DICOM SEG."""
        self._export(".dcm", self.logic.exportSegmentation)

    def onExportNrrdButton(self, _checked: bool = False) -> None:
        """Export the result as a segmentation file."""
        self._export(".seg.nrrd", self.logic.exportSegmentation)

    def onExportNiftiButton(self, _checked: bool = False) -> None:
        """Export the result as a label map."""
        self._export(".nii.gz", self.logic.exportSegmentation)

    def onExportReportButton(self, _checked: bool = False) -> None:
        """Write a page about the result."""
        self._export(".report.png", self.logic.writeReport)

    def _missingFolder(self) -> str:
        """What the user must choose first, or an empty text."""
        ui, source = self.ui, self._source()
        if source == FOLDER and not ui.batchFolderPathLineEdit.currentPath:
            return _("Choose a folder of images first.")
        files = source == SCENE and (ui.batchNiftiCheckBox.checked or ui.batchReportCheckBox.checked)
        if (source == FOLDER or files) and not ui.batchOutputPathLineEdit.currentPath:
            return _("Choose an output folder first.")
        return ""

    def _run(self) -> str:
        """Run, and say how it went."""
        ui, parameters = self.ui, self._parameters()
        choices = {
            **choicesOf(parameters),
            "force": ui.batchForceCheckBox.checked,
            "progressCallback": self._onProgress,
            "isCancelled": lambda: self._cancelRequested,
            "whileWaiting": self._handleEvents,
        }
        self._setRunning(True)
        try:
            if self._source() == SEQUENCE:
                result = self.logic.segmentSequence(parameters.inputVolume, onCancel="keep", **choices)
                parameters.result = result.browserNode.GetProxyNode(result.segmentationSequenceNode)
                if self._cancelRequested:
                    return _("Cancelled; the first {count} frames stay.").format(count=len(result.provenance))
                return _("{count} frames segmented; the results play with them.").format(count=len(result.provenance))
            outcomes = self.logic.segmentBatch(
                ui.batchFolderPathLineEdit.currentPath if self._source() == FOLDER else None,
                ui.batchOutputPathLineEdit.currentPath or None,
                nifti=ui.batchNiftiCheckBox.checked,
                report=ui.batchReportCheckBox.checked,
                overwrite=ui.batchOverwriteCheckBox.checked,
                **choices,
            )
            if not ui.batchOutputPathLineEdit.currentPath and any(item.status == "segmented" for item in outcomes):
                with suppress(InputError):  # the scene was closed meanwhile
                    parameters.result = self.logic.latestSegmentation()
            return self._report(outcomes)
        except Cancelled:
            return _("Cancelled; the scene is as it was.")
        finally:
            self._setRunning(False)

    def _onProgress(self, progress: Any) -> None:
        if self._closed:
            return
        done = progress.index * STEPS
        if progress.slices:
            done += STEPS * progress.slices.finished // progress.slices.count
        self.ui.batchProgressBar.maximum = progress.count * STEPS
        self.ui.batchProgressBar.value = done + (STEPS if progress.outcome else 0)
        if not self._cancelRequested:
            text = _("Image {number} of {count}: {name}")
            self._setStatus(text.format(number=progress.index + 1, count=progress.count, name=progress.case))
        self._handleEvents()

    def _report(self, outcomes: list[Any]) -> str:
        counts = {
            status: sum(item.status == status for item in outcomes)
            for status in ("segmented", "skipped", "failed", "cancelled")
        }
        lines = [_("{segmented} segmented, {skipped} there already, {failed} failed.").format(**counts)]
        if counts["cancelled"]:
            lines.append(_("Cancelled; what was finished stays."))
        lines += [f"{item.case}: {item.error}" for item in outcomes if item.error]
        return "\n".join(lines)

    def _export(self, ending: str, write: Callable[[Any, Path], Any]) -> None:
        """Write the result chosen under Results, or else the latest, into the output folder, named after its node."""
        folder = self.ui.batchOutputPathLineEdit.currentPath
        if not folder:
            self._setStatus(_("Choose an output folder first."))
            return
        try:
            parameters = self._parameters()
            node = parameters.result if parameters and parameters.result else self.logic.latestSegmentation()
            path = Path(folder) / f"{file_names([node.GetName()])[0]}{ending}"
            beside = [path.with_name(path.name.removesuffix(ending) + ".json")] if ending == ".nii.gz" else []
            if there := [str(file) for file in (path, *beside) if file.exists()]:
                question = _("{path} is there already, perhaps of another image. Replace it?")
                if not slicer.util.confirmOkCancelDisplay(question.format(path=", ".join(there)), _("Export")):
                    self._setStatus(_("Not written: {path} is there already.").format(path=", ".join(there)))
                    return
            write(node, path)
            self._setStatus(_("Wrote {path}").format(path=path))
        except MedSegAttentionError as error:
            self._fail(str(error))
        except Exception as error:
            logger.exception("export failed")
            self._fail(_("The export failed: {error}").format(error=error))

    def _setRunning(self, running: bool) -> None:
        self.running, self._cancelRequested = running, False
        if self._closed:
            return
        self.ui.batchProgressBar.value = 0
        self.ui.batchProgressBar.visible = running
        self._setStatus(_("Loading the network...") if running else "")
        self._onRunning(running)
        self._update()

    def _update(self, _index: int = 0) -> None:
        """Bring what can be used in line with source and state."""
        ui, idle = self.ui, not self.running
        for widget in (
            ui.batchSourceComboBox,
            ui.batchOutputPathLineEdit,
            ui.batchForceCheckBox,
            ui.exportDicomButton,
            ui.exportNrrdButton,
            ui.exportNiftiButton,
            ui.exportReportButton,
        ):
            widget.enabled = idle
        ui.batchFolderPathLineEdit.enabled = idle and self._source() == FOLDER
        for checkBox in (ui.batchNiftiCheckBox, ui.batchReportCheckBox, ui.batchOverwriteCheckBox):
            checkBox.enabled = idle and self._source() != SEQUENCE  # whose results stay in the scene
        ui.batchButton.text = _("Run batch") if idle else _("Cancel batch")
        ui.batchButton.enabled = idle or not self._cancelRequested

    def _source(self) -> str:
        return self.ui.batchSourceComboBox.itemData(self.ui.batchSourceComboBox.currentIndex)

    def _handleEvents(self) -> None:
        if self._handlingEvents:  # an event handler itself came back here
            return
        self._handlingEvents = True
        try:
            slicer.app.processEvents()
        finally:
            self._handlingEvents = False

    def _setStatus(self, text: str) -> None:
        if not self._closed:
            self.ui.batchStatusLabel.text = text

    def _fail(self, text: str) -> None:
        self._setStatus(text)
        if not self._closed:
            slicer.util.errorDisplay(text)
