"""The panel: its sections, the parameters they show, and what may be done now."""

from __future__ import annotations

import logging
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from ..data.errors import InputError, MedSegAttentionError
from ..logic.segment_handle import SegmentResult
from ..scene.nodes import CHECKPOINT_ATTRIBUTE, is_overlay, nodes_of_class, provenance_of
from ..scene.segmentation import source_volume
from .advice_section import AdviceSection
from .attention_section import AttentionSection
from .batch_section import BatchSection
from .checkpoint_list import CheckpointList
from .checkpoints_section import CheckpointsSection
from .choices import choicesOf, limitsOf, mapsOf
from .compare_section import CompareSection
from .correct_section import CorrectSection
from .expected_time import ExpectedTime
from .installation import Installation
from .licence import licenceAccepted
from .live_section import LiveSection
from .neighbours import NeighboursSection
from .options_section import OptionsSection
from .results_section import ResultsSection
from .run_section import RunSection
from .self_check_section import SelfCheckSection
from .task_list import TaskList

logger = logging.getLogger(__name__)


class Panel:
    """The sections from top to bottom, the parameter node they show, and the button that starts a run."""

    def __init__(self, ui: Any, logic: Any) -> None:
        """Args: ui: the widgets by name; logic: a ``MedSegAttentionLogic``."""
        self.ui, self.logic = ui, logic
        self._parameterNode: Any = None
        self._guiTag: int | None = None
        self._parameterTag = 0
        self._inputVolume: Any = None
        self._closed = False
        self._time = ExpectedTime(
            ui, logic, lambda: self._parameterNode, self._candidates, self._candidatesReady, self._update
        )
        self._tasks = TaskList(ui, self._onTaskChosen)
        self._checkpoints = CheckpointList(ui, self._onCheckpointChosen, self._time.text)
        self.run = RunSection(ui, logic, self._onRunning, self._onResult)
        self._installation = Installation(logic, self.run.setStatus)
        self._results = ResultsSection(ui, logic, self.run.setStatus)
        self._attention = AttentionSection(ui)
        self._neighbours = NeighboursSection(ui, logic, self._ready)
        self._correct = CorrectSection(ui, logic, self.run, self._ready, self._results.table.selected)
        self._compare = CompareSection(ui, logic, self._installation.ready)
        self._options = OptionsSection(ui, logic, self._candidates)
        self._advice = AdviceSection(ui, logic, self._candidates)
        self._live = LiveSection(ui, self.run, lambda: self._start(live=True))
        ofResult = (self._results, self._correct, self._compare, self._attention, self._neighbours)
        self._sections = (self._live, *ofResult, self._options, self._advice)
        self._batch = BatchSection(ui, logic, lambda: self._parameterNode, self._candidatesReady, self._onBatchRunning)
        self._ownCheckpoints = CheckpointsSection(ui, logic, self._selectedCheckpoint, self._onCheckpointsChanged)
        self._selfCheck = SelfCheckSection(ui, logic)
        ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        ui.inputVolumeSelector.connect("nodeAdded(vtkMRMLNode*)", self._onVolumeAdded)

    def enter(self, parameterNode: Any) -> None:
        """The module is shown: list the checkpoints, show the parameters, choose the active volume if none is."""
        self._checkpoints.load(self.logic.checkpoints)
        self.setParameterNode(parameterNode)
        self._installation.enter()
        self._chooseVolume()
        qt.QTimer.singleShot(0, self._warmUp)

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

    def showScene(self) -> None:
        """A scene was opened: where it says nothing of the panel, as one from the command line, show its result."""
        parameters = self._parameterNode
        if not parameters or not parameters.inputVolume or parameters.result:
            return
        results = [
            node
            for node in nodes_of_class(slicer.mrmlScene, "vtkMRMLSegmentationNode")
            if node.GetAttribute(CHECKPOINT_ATTRIBUTE) and source_volume(node) is parameters.inputVolume
        ]
        if results:
            parameters.task = provenance_of(results[-1]).get("task", parameters.task)
            parameters.result = results[-1]

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
        self.run.cancel(keep)

    def close(self) -> None:
        """Let go of everything; the widgets may be gone afterwards."""
        self.setParameterNode(None)
        self._closed = True
        self.run.close()
        lists = (self._tasks, self._checkpoints, self._time)
        for part in (*lists, self._ownCheckpoints, self._selfCheck, self._batch, *self._sections):
            part.close()
        self.ui.applyButton.disconnect("clicked(bool)", self.onApplyButton)
        self.ui.inputVolumeSelector.disconnect("nodeAdded(vtkMRMLNode*)", self._onVolumeAdded)

    def onApplyButton(self, _checked: bool = False) -> None:
        """Apply, or Cancel while a run is under way; a live run does all that is left."""
        if self.run.live:
            self.run.doTheRest()
        elif self.run.handle:
            self.run.askAndCancel()
        else:
            self._start()

    def _start(self, live: bool = False) -> tuple[Any, int] | None:
        """Run; gives the image and its slice axis, or None where nothing was started."""
        with self.run.errorsShown():
            parameters = self._parameterNode
            what = (parameters.inputVolume, parameters.task, parameters.checkpoint or None)
            if self._correct.mayRunAgain(what[0]) and self._ready(*what):
                card = self.logic.checkpointFor(*what)
                choices = {"volumeNode": what[0], **choicesOf(parameters), **limitsOf(parameters, card)}
                choices |= {**mapsOf(parameters, card), "live": live}
                axis = self.logic.sliceAxis(what[0], card, parameters.axis.value)
                self.run.start(choices)
                return what[0], axis
        return None

    def _warmUp(self) -> None:
        """Start the worker process, so that the first slice is there sooner."""
        parameters = self._parameterNode
        if self._closed or parameters is None or self.run.handle:
            return
        cards = self._candidates()
        try:
            self.logic.warmUp(cards[0].id if len(cards) == 1 else None)
        except MedSegAttentionError as error:  # the run to come says it
            logger.debug("no worker yet: %s", error)

    def _onResult(self, result: SegmentResult) -> None:
        """A run has written its result: show it."""
        self._time.remember(result.provenance)
        self.logic.getParameterNode().result = result.segmentationNode
        self._results.showRun()

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
                self.run.setStatus(_("Not run: the licence of {id} was not accepted.").format(id=card.id))
                return False
        return True

    def _onRunning(self, running: bool) -> None:
        """A run has started, is stopping, or is over: what it was started with cannot be changed meanwhile."""
        if not self._closed:
            self.ui.batchCollapsibleButton.enabled = not running
            self._setInputsEnabled(not running)
            self._live.onRunning()

    def _onBatchRunning(self, running: bool) -> None:
        self._setInputsEnabled(not running)

    def _setInputsEnabled(self, enabled: bool) -> None:
        self.ui.inputsWidget.enabled = self.ui.optionsCollapsibleButton.enabled = enabled
        for section in (self._neighbours, self._correct):
            section.setAvailable(enabled)
        self._update()

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
            self._options.show()
            self._advice.show()
        self._ownCheckpoints.update()
        button = self.ui.applyButton
        running, reason = self.run.handle and not self.run.live, self._whyNot()
        button.text = _("Cancel") if running else _("Apply")
        button.toolTip = reason or (_("Stop the segmentation") if running else _("Segment the volume"))
        button.enabled = not reason
        self.ui.liveButton.enabled = not reason and not running
        self.run.setHint("" if self.run.handle or self._batch.running or not parameters else reason)

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
        if self.run.handle:
            return _("The run stops after this slice") if self.run.stopping else ""
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
            qt.QTimer.singleShot(0, self._warmUp)

    def _onCheckpointChosen(self, checkpoint: str) -> None:
        if self._parameterNode:
            self._parameterNode.checkpoint = checkpoint
            qt.QTimer.singleShot(0, self._warmUp)

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
        self.run.forget()
