"""The panel: shows the parameters, starts and stops a run, tells the user what happened."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..data.errors import Cancelled, ContractWarning, InputError, MedSegAttentionError
from ..data.result import SliceResult
from .attention_section import AttentionSection
from .batch_section import BatchSection
from .checkpoint_list import CheckpointList
from .checkpoints_section import CheckpointsSection
from .expected_time import ExpectedTime
from .installation import Installation
from .licence import licenceAccepted
from .neighbours import NeighboursSection
from .results_section import ResultsSection
from .self_check_section import SelfCheckSection

logger = logging.getLogger(__name__)


class Panel(VTKObservationMixin):
    """Connects the widgets of ``MedSegAttention.ui`` with the logic and the parameter node.

    A run happens in this process. Between slices the panel lets Slicer handle its events, so that the window stays
    alive and Cancel can be clicked.
    """

    def __init__(self, ui: Any, logic: Any) -> None:
        """Args: ui: the widgets by name; logic: a ``MedSegAttentionLogic``."""
        VTKObservationMixin.__init__(self)
        self.ui, self.logic = ui, logic
        self._parameterNode: Any = None
        self._guiTag: int | None = None
        self._running = self._cancelRequested = self._handlingEvents = self._closed = False
        self._time = ExpectedTime(ui, logic, lambda: self._parameterNode, self._candidates, self._update)
        self._checkpoints = CheckpointList(ui, self._onCheckpointChosen, self._time.text)
        self._ownCheckpoints = CheckpointsSection(ui, logic, self._selectedCheckpoint, self._onCheckpointsChanged)
        self._selfCheck = SelfCheckSection(ui, logic)
        self._installation = Installation(logic, self._setStatus)
        self._sections = (ResultsSection(ui), AttentionSection(ui), NeighboursSection(ui, logic))
        self._batch = BatchSection(
            ui, logic, lambda: self._parameterNode, self._installation.ready, self._onBatchRunning
        )
        ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        ui.progressBar.visible = False

    def enter(self, parameterNode: Any) -> None:
        """The module is shown: list the checkpoints, show the parameters, choose the active volume if none is."""
        self._checkpoints.load(self.logic.checkpoints)
        self.setParameterNode(parameterNode)
        self._installation.enter()
        if not parameterNode.inputVolume:
            try:
                parameterNode.inputVolume = self.logic.activeVolume()
            except InputError as error:  # none or several: the user chooses
                logger.debug("no volume chosen: %s", error)

    def setParameterNode(self, parameterNode: Any) -> None:
        """Show and edit this parameter node; None to let go of the present one."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        self._parameterNode = parameterNode
        if parameterNode:
            self._guiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        for section in self._sections:
            section.setParameterNode(parameterNode)
        self._update()

    def cancel(self) -> None:
        """Ask the run, if there is one, to stop after the slice it is at."""
        self._cancelRequested = True
        self._batch.cancel()
        if self._running:
            self._setStatus(_("Stopping after this slice..."))
            self._update()

    def close(self) -> None:
        """Let go of everything; the widgets may be gone afterwards."""
        self.cancel()
        self.setParameterNode(None)
        self._closed = True
        self.removeObservers()
        parts = (self._checkpoints, self._time, self._ownCheckpoints, self._selfCheck, self._batch, *self._sections)
        for part in parts:
            part.close()
        self.ui.applyButton.disconnect("clicked(bool)", self.onApplyButton)

    def onApplyButton(self, _checked: bool = False) -> None:
        """Apply, or Cancel while a run is under way."""
        if self._running:
            self.cancel()
            return
        try:
            if self._installation.ready() and self._licenceAccepted():
                self._segmentOrAsk()
        except Cancelled:
            self._setStatus(_("Cancelled; the scene is as it was."))
        except MedSegAttentionError as error:
            self._showError(str(error))
        except Exception as error:
            logger.exception("segmentation failed")
            self._showError(_("Segmentation failed: {error}").format(error=error), traceback.format_exc())

    def _segmentOrAsk(self) -> None:
        """Run; where the volume is not what the checkpoint was trained on, run again if the user wants it."""
        try:
            result = self._segment()
        except ContractWarning as warning:
            question = _("{warning}\n\nRun anyway?").format(warning=warning)
            if not slicer.util.confirmOkCancelDisplay(question, _("Outside of what the checkpoint was trained on")):
                self._setStatus(_("Not run: the volume is outside of what the checkpoint was trained on."))
                return
            result = self._segment(force=True)
        self._time.remember(result.provenance)
        self.logic.getParameterNode().result = result.segmentationNode
        finished = _("Finished: {name}, {count} attention maps.").format(
            name=result.segmentationNode.GetName(), count=len(result.attentionNodes)
        )
        self._setStatus("\n".join([finished, *result.provenance.get("warnings", [])]))

    def _segment(self, force: bool = False) -> Any:
        parameters = self._parameterNode
        self._setRunning(True)
        try:
            return self.logic.segment(
                parameters.inputVolume,
                task=parameters.task.value,
                checkpoint=parameters.checkpoint or None,
                device=parameters.device.value,
                attention=parameters.showAttention,
                force=force,
                progressCallback=self._onSlice,
                isCancelled=lambda: self._cancelRequested,
            )
        finally:
            self._setRunning(False)

    def _licenceAccepted(self) -> bool:
        """Whether the user accepts the licence of the checkpoint that would run."""
        parameters = self._parameterNode
        checkpoint = parameters.checkpoint or None
        card = self.logic.checkpointFor(parameters.inputVolume, parameters.task.value, checkpoint)
        if licenceAccepted(card, self.logic.licence(card.id)):
            return True
        self._setStatus(_("Not run: the licence of {id} was not accepted.").format(id=card.id))
        return False

    def _onSlice(self, finished: SliceResult) -> None:
        if self._closed:
            return
        self.ui.progressBar.maximum = finished.count
        self.ui.progressBar.value = finished.index + 1
        if not self._cancelRequested:
            self._setStatus(_("Slice {number} of {count}").format(number=finished.index + 1, count=finished.count))
        self._handleEvents()

    def _handleEvents(self) -> None:
        if self._handlingEvents:  # an event handler itself came back here
            return
        self._handlingEvents = True
        try:
            slicer.app.processEvents()
        finally:
            self._handlingEvents = False

    def _setRunning(self, running: bool) -> None:
        self._running, self._cancelRequested = running, False
        if self._closed:
            return
        for section in (*self._parameterSections(), self.ui.batchCollapsibleButton):
            section.enabled = not running
        self.ui.progressBar.value = 0
        self.ui.progressBar.visible = running
        self._setStatus(_("Loading the network...") if running else "")
        self._update()
        if running:
            self._handleEvents()

    def _onBatchRunning(self, running: bool) -> None:
        for section in self._parameterSections():
            section.enabled = not running
        self._update()

    def _parameterSections(self) -> tuple[Any, ...]:
        return self.ui.inputsCollapsibleButton, self.ui.optionsCollapsibleButton

    def _update(self, _caller: Any = None, _event: Any = None) -> None:
        """Bring the checkpoint list and the button in line with the parameters."""
        if self._closed:
            return
        parameters = self._parameterNode
        if parameters:
            selected = self._checkpoints.show(parameters.task.value, parameters.checkpoint)
            if selected != parameters.checkpoint:
                parameters.checkpoint = selected  # calls this method again
                return
        self._ownCheckpoints.update()
        button = self.ui.applyButton
        button.text = _("Cancel") if self._running else _("Apply")
        button.toolTip = self._whyNot() or (_("Stop after this slice") if self._running else _("Segment the volume"))
        button.enabled = not self._whyNot()

    def _whyNot(self) -> str:
        """Why the button cannot be clicked now, or an empty text."""
        parameters = self._parameterNode
        if self._running:
            return _("The run stops after this slice") if self._cancelRequested else ""
        if self._batch.running:
            return _("A batch is running")
        if not parameters or not parameters.inputVolume:
            return _("Choose an input volume")
        if not self._checkpoints.hasTask(parameters.task.value):
            return _("No checkpoint for this task is installed")
        return ""

    def _onCheckpointChosen(self, checkpoint: str) -> None:
        if self._parameterNode:
            self._parameterNode.checkpoint = checkpoint

    def _candidates(self) -> list[Any]:
        return self._checkpoints.candidates()

    def _selectedCheckpoint(self) -> str:
        return self._parameterNode.checkpoint if self._parameterNode else ""

    def _onCheckpointsChanged(self) -> None:
        self._checkpoints.load(self.logic.checkpoints)
        self._update()

    def _setStatus(self, text: str) -> None:
        if not self._closed:
            self.ui.statusLabel.text = text

    def _showError(self, text: str, details: str = "") -> None:
        self._setStatus(_("Failed; the scene is as it was."))
        slicer.util.errorDisplay(text, **({"detailedText": details} if details else {}))
