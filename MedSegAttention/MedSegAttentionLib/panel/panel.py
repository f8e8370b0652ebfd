"""The panel: shows the parameters, starts and stops a run, tells the user what happened."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from ..data.errors import Cancelled, ContractWarning, InputError, MedSegAttentionError
from ..data.result import RunProgress
from ..logic.segment_handle import SegmentHandle, SegmentResult
from ..scene.nodes import is_overlay
from ..scene.segmentation import source_volume
from .attention_section import AttentionSection
from .batch_section import BatchSection
from .checkpoint_list import CheckpointList
from .checkpoints_section import CheckpointsSection
from .choices import choicesOf
from .expected_time import ExpectedTime
from .installation import Installation
from .licence import licenceAccepted
from .neighbours import NeighboursSection
from .results_section import ResultsSection
from .self_check_section import SelfCheckSection
from .task_list import TaskList

logger = logging.getLogger(__name__)


class Panel:
    """Connects the widgets of ``MedSegAttention.ui`` with the logic and the parameter node.

    A run happens in a worker process; the logic's handle tells of its progress from Slicer's event loop.
    """

    def __init__(self, ui: Any, logic: Any) -> None:
        """Args: ui: the widgets by name; logic: a ``MedSegAttentionLogic``."""
        self.ui, self.logic = ui, logic
        self._parameterNode: Any = None
        self._guiTag: int | None = None
        self._parameterTag = 0
        self._inputVolume: Any = None
        self._run: SegmentHandle | None = None
        self._choices: dict[str, Any] = {}
        self._closed = self._stopping = False
        self._ofResult = ""  # what the status says of a finished run
        self._time = ExpectedTime(
            ui, logic, lambda: self._parameterNode, self._candidates, self._candidatesReady, self._update
        )
        self._tasks = TaskList(ui, self._onTaskChosen)
        self._checkpoints = CheckpointList(ui, self._onCheckpointChosen, self._time.text)
        self._ownCheckpoints = CheckpointsSection(ui, logic, self._selectedCheckpoint, self._onCheckpointsChanged)
        self._selfCheck = SelfCheckSection(ui, logic)
        self._installation = Installation(logic, self._setStatus)
        self._neighbours = NeighboursSection(ui, logic, self._ready)
        self._sections = (ResultsSection(ui), AttentionSection(ui), self._neighbours)
        self._batch = BatchSection(ui, logic, lambda: self._parameterNode, self._candidatesReady, self._onBatchRunning)
        ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        ui.inputVolumeSelector.connect("nodeAdded(vtkMRMLNode*)", self._onVolumeAdded)
        ui.progressBar.visible = False

    def enter(self, parameterNode: Any) -> None:
        """The module is shown: list the checkpoints, show the parameters, choose the active volume if none is."""
        self._checkpoints.load(self.logic.checkpoints)
        self.setParameterNode(parameterNode)
        self._installation.enter()
        self._chooseVolume()

    def _onVolumeAdded(self, _node: Any = None) -> None:
        """An image arrives, and Slicer shows it after this."""
        qt.QTimer.singleShot(0, self._chooseVolume)

    def _chooseVolume(self) -> None:
        """Take the active volume where none is chosen."""
        if not self._parameterNode or self._parameterNode.inputVolume:
            return
        try:
            self._parameterNode.inputVolume = self.logic.activeVolume()
        except InputError as error:  # none or several: the user chooses
            logger.debug("no volume chosen: %s", error)

    def setParameterNode(self, parameterNode: Any) -> None:
        """Show and edit this parameter node; None to let go of the present one."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._guiTag)
            self._parameterNode.RemoveObserver(self._parameterTag)
        self._parameterNode = parameterNode
        self._inputVolume = parameterNode.inputVolume if parameterNode else None
        if parameterNode:
            parameterNode.task = parameterNode.task.lower()  # scenes saved when tasks were a fixed list have PROSTATE
            # connectGui(ui) does the same, but Slicer's gives no tag back by which to disconnect.
            self._guiTag = parameterNode.connectParametersToGui(
                {name: widget for widget in vars(self.ui).values() if (name := widget.property("SlicerParameterName"))}
            )
            self._parameterTag = parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._update)
        for section in self._sections:
            section.setParameterNode(parameterNode)
        self._update()

    def cancel(self, keep: bool = False) -> None:
        """Stop the run or the batch, if there is one; ``keep`` keeps the finished slices of a run."""
        self._batch.cancel()
        if self._run:
            self._stopping = keep
            self._run.cancel(keep)
            if self._run:  # a kept result takes a moment
                self._setStatus(_("Stopping after this slice..."))
                self._update()

    def close(self) -> None:
        """Let go of everything; the widgets may be gone afterwards."""
        self.setParameterNode(None)
        self._closed = True
        self.cancel()
        lists = (self._tasks, self._checkpoints, self._time)
        for part in (*lists, self._ownCheckpoints, self._selfCheck, self._batch, *self._sections):
            part.close()
        self.ui.applyButton.disconnect("clicked(bool)", self.onApplyButton)
        self.ui.inputVolumeSelector.disconnect("nodeAdded(vtkMRMLNode*)", self._onVolumeAdded)

    def onApplyButton(self, _checked: bool = False) -> None:
        """Apply, or Cancel while a run is under way."""
        if self._run:
            self._askAndCancel()
            return
        with self._errorsShown():
            parameters = self._parameterNode
            if self._ready(parameters.inputVolume, parameters.task, parameters.checkpoint or None):
                self._start()

    def _askAndCancel(self) -> None:
        """Cancel; where slices are finished the user says what becomes of them, while the run goes on.

        A dialog that is closed without an answer means No, so No is what loses nothing.
        """
        run, finished = self._run, self._run.progress.finished
        question = _("Remove the slices that are finished ({count})? No keeps them.").format(count=finished)
        remove = finished == 0 or slicer.util.confirmYesNoDisplay(question, _("Cancel the segmentation"))
        if self._run is run:  # it may have finished meanwhile
            self.cancel(keep=not remove)

    def _start(self) -> None:
        """Run with the parameters as they are now."""
        parameters = self._parameterNode
        self._choices = {"volumeNode": parameters.inputVolume, **choicesOf(parameters)}
        self._segment()

    def _segment(self, force: bool = False) -> None:
        self._run = self.logic.segment(
            **self._choices,
            force=force,
            wait=False,
            progressCallback=self._onProgress,
            finishedCallback=self._onFinished,
        )
        self._showRunning(True)
        self._setStatus(_("Loading the network..."))
        self._run.poll()

    def _onFinished(self, run: SegmentHandle) -> None:
        self._run, self._stopping = None, False
        self._showRunning(False)
        with self._errorsShown():
            try:
                self._onResult(run.result())
            except ContractWarning as warning:
                self._runAnyway(warning)
        if not self._run:
            self._choices = {}  # would keep the volume in memory

    def _onResult(self, result: SegmentResult) -> None:
        """A run has written its result."""
        self._time.remember(result.provenance)
        self.logic.getParameterNode().result = result.segmentationNode
        finished = _("Finished: {name}, {count} attention maps.").format(
            name=result.segmentationNode.GetName(), count=len(result.attentionNodes)
        )
        done, count = result.provenance.get("slices", (0, 0))
        if done < count:
            finished = _("Stopped after {done} of {count} slices: {name} is partial.").format(
                done=done, count=count, name=result.segmentationNode.GetName()
            )
        self._ofResult = "\n".join([finished, *result.provenance.get("warnings", [])])
        self._setStatus(self._ofResult)

    def _runAnyway(self, warning: ContractWarning) -> None:
        """The volume is not what the checkpoint was trained on: run all the same if the user wants it."""
        question = _("{warning}\n\nRun anyway?").format(warning=warning)
        if not self._closed and slicer.util.confirmOkCancelDisplay(
            question, _("Outside of what the checkpoint was trained on")
        ):
            self._segment(force=True)
        else:
            self._setStatus(_("Not run: the volume is outside of what the checkpoint was trained on."))

    @contextmanager
    def _errorsShown(self) -> Iterator[None]:
        """Tell the user what the block raises."""
        try:
            yield
        except Cancelled:
            self._setStatus(_("Cancelled; the scene is as it was."))
        except MedSegAttentionError as error:
            self._showError(str(error), getattr(error, "details", ""))
        except Exception as error:
            logger.exception("segmentation failed")
            self._showError(_("Segmentation failed: {error}").format(error=error), traceback.format_exc())

    def _ready(self, volumeNode: Any, task: str, checkpoint: str | None) -> bool:
        """Whether this can run: packages are there, and the user accepts the licence of the checkpoint it needs."""
        return self._installation.ready() and self._licencesAccepted(
            [self.logic.checkpointFor(volumeNode, task, checkpoint)]
        )

    def _candidatesReady(self) -> bool:
        """Whether any checkpoint of the task can run: where the images decide, all their licences are asked."""
        return self._installation.ready() and self._licencesAccepted(self._candidates())

    def _licencesAccepted(self, cards: list[Any]) -> bool:
        for card in cards:
            if not licenceAccepted(card, self.logic.licence(card.id)):
                self._setStatus(_("Not run: the licence of {id} was not accepted.").format(id=card.id))
                return False
        return True

    def _onProgress(self, progress: RunProgress) -> None:
        if self._closed:
            return
        self.ui.progressBar.maximum = max(1, progress.count)
        self.ui.progressBar.value = progress.finished
        if not self._stopping:
            self._setStatus(progressText(progress))

    def _showRunning(self, running: bool) -> None:
        if self._closed:
            return
        for section in (*self._parameterSections(), self.ui.batchCollapsibleButton):
            section.enabled = not running
        self._neighbours.setAvailable(not running)
        self.ui.progressBar.value = 0
        self.ui.progressBar.visible = running
        self._setStatus("")
        self._update()

    def _onBatchRunning(self, running: bool) -> None:
        for section in self._parameterSections():
            section.enabled = not running
        self._neighbours.setAvailable(not running)
        self._update()

    def _parameterSections(self) -> tuple[Any, ...]:
        return self.ui.inputsCollapsibleButton, self.ui.optionsCollapsibleButton

    def _update(self, _caller: Any = None, _event: Any = None) -> None:
        """Bring the checkpoint list and the button in line with the parameters."""
        if self._closed:
            return
        parameters = self._parameterNode
        if parameters and self._lettingGoOfResult():
            return  # that called this method again
        if parameters:
            self._tasks.show(self._checkpoints.cards(), parameters.task)
            selected = self._checkpoints.show(parameters.task, parameters.checkpoint)
            if selected != parameters.checkpoint:
                parameters.checkpoint = selected  # calls this method again
                return
        self._ownCheckpoints.update()
        button = self.ui.applyButton
        button.text = _("Cancel") if self._run else _("Apply")
        button.toolTip = self._whyNot() or (_("Stop the segmentation") if self._run else _("Segment the volume"))
        button.enabled = not self._whyNot()

    def _lettingGoOfResult(self) -> bool:
        """Whether another image was just chosen and the result shown was of the one before: it is shown no longer."""
        parameters, before = self._parameterNode, self._inputVolume
        self._inputVolume = parameters.inputVolume
        if self._inputVolume in (before, None) or not parameters.result:
            return False
        if source_volume(parameters.result) is self._inputVolume:
            return False
        parameters.result = None
        return True

    def _whyNot(self) -> str:
        """Why the button cannot be clicked now, or an empty text."""
        parameters = self._parameterNode
        if self._run:
            return _("The run stops after this slice") if self._stopping else ""
        if self._batch.running:
            return _("A batch is running")
        if not parameters or not parameters.inputVolume:
            return _("Choose an input volume")
        if is_overlay(parameters.inputVolume):
            return _("This is an attention map: choose the image it was made from")
        if not self._checkpoints.hasTask(parameters.task):
            return _("No checkpoint for this task is installed")
        return ""

    def _onTaskChosen(self, task: str) -> None:
        if self._parameterNode:
            self._parameterNode.task = task

    def _onCheckpointChosen(self, checkpoint: str) -> None:
        if self._parameterNode:
            self._parameterNode.checkpoint = checkpoint

    def _candidates(self) -> list[Any]:
        return self._checkpoints.candidates()

    def _selectedCheckpoint(self) -> str:
        return self._parameterNode.checkpoint if self._parameterNode else ""

    def _onCheckpointsChanged(self) -> None:
        self._checkpoints.load(self.logic.checkpoints)
        self._neighbours.setParameterNode(self._parameterNode)
        self._update()

    def forget(self) -> None:
        """Say nothing any more of a result whose scene was closed."""
        if not self._closed and self.ui.statusLabel.text == self._ofResult:
            self._setStatus("")

    def _setStatus(self, text: str) -> None:
        if not self._closed:
            self.ui.statusLabel.text = text

    def _showError(self, text: str, details: str = "") -> None:
        self._setStatus(_("Failed; the scene is as it was."))
        if self._closed:
            return
        slicer.util.errorDisplay(text, **({"detailedText": details} if details else {}))


def progressText(progress: RunProgress) -> str:
    """What the user reads while a run goes on."""
    text = _("Slice {number} of {count}").format(number=progress.finished, count=progress.count)
    left = progress.seconds_left
    if left is None or progress.finished == progress.count:
        return text
    if left < 60:
        return _("{slices}, about {seconds} s left").format(slices=text, seconds=max(1, round(left)))
    return _("{slices}, about {minutes} min left").format(slices=text, minutes=round(left / 60))
