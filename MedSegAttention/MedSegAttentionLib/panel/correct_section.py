"""Correcting a result: handing it to Segment Editor, and making some slices anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..data.volume import AXIS_NAMES
from ..scene.nodes import provenance_of
from ..scene.positions import slice_in_view
from ..scene.segmentation import source_volume
from .choices import sliceRange
from .run_section import RunSection
from .section import Section


class CorrectSection(Section):
    """Serves ``editButton``, ``redoSliceButton`` and ``redoRangeButton``."""

    def __init__(
        self,
        ui: Any,
        logic: Any,
        run: RunSection,
        ready: Callable[[Any, str, str | None], bool],
        selected: Callable[[], str | None],
    ) -> None:
        """Connect.

        Args:
            ui: the widgets by name.
            logic: a ``MedSegAttentionLogic``.
            run: starts what is made anew.
            ready: whether (volume, task, checkpoint) can run; may ask the user.
            selected: gives the ID of the segment that is selected in the table.
        """
        super().__init__(ui)
        self._logic, self._run, self._ready, self._selected = logic, run, ready, selected
        self._available = True
        self._connect(ui.editButton, "clicked(bool)", self._onEdit)
        self._connect(ui.redoSliceButton, "clicked(bool)", self._onRedoSlice)
        self._connect(ui.redoRangeButton, "clicked(bool)", self._onRedoRange)

    def setAvailable(self, available: bool) -> None:
        """Whether nothing runs."""
        self._available = available
        self._update()

    def mayRunAgain(self, volumeNode: Any) -> bool:
        """Whether an image may be segmented anew: where results of it were corrected by hand the user is asked."""
        corrected = self._logic.correctedResults(volumeNode)
        if not corrected:
            return True
        question = _(
            "{names} was corrected by hand. It stays in the scene, hidden, and the new result is made beside it.\n\n"
            "Segment again?"
        ).format(names=", ".join(node.GetName() for node in corrected))
        return slicer.util.confirmOkCancelDisplay(question, _("Corrected by hand"))

    def _result(self) -> Any:
        return self._parameters.result if self._parameters else None

    def _update(self, _caller: Any = None, _event: Any = None) -> None:
        self._watch()
        node = self._result()
        possible = node is not None and source_volume(node) is not None
        redo = possible and self._available and "slice_axis" in provenance_of(node)
        for button in (self._ui.editButton, self._ui.redoSliceButton, self._ui.redoRangeButton):
            button.visible = node is not None
        self._ui.editButton.enabled = possible and self._available
        self._ui.redoSliceButton.enabled = redo
        self._ui.redoRangeButton.enabled = redo and sliceRange(self._parameters) is not None

    def _onEdit(self, _checked: bool = False) -> None:
        """Show Segment Editor with result, image and segment; what is painted takes the place of other segments."""
        node = self._result()
        if node is None:
            return
        volume, segment = source_volume(node), self._selected()
        slicer.util.selectModule("SegmentEditor")  # lets go of the parameter node: nothing of it below
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(node)
        editor.setSourceVolumeNode(volume)
        if segment:
            editor.setCurrentSegmentID(segment)
        settings = editor.mrmlSegmentEditorNode()
        settings.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
        settings.SetOverwriteMode(settings.OverwriteAllSegments)  # a voxel belongs to one organ

    def _onRedoSlice(self, _checked: bool = False) -> None:
        node = self._result()
        if node is None:
            return
        axis = AXIS_NAMES.index(provenance_of(node)["slice_axis"])
        number = slice_in_view(slicer.mrmlScene, source_volume(node), axis)
        if number is None:
            self._run.setStatus(_("No slice view shows a slice of this result: scroll to the one to make anew."))
        else:
            self._redo(node, (number, number))

    def _onRedoRange(self, _checked: bool = False) -> None:
        node = self._result()
        if node is not None and (slices := sliceRange(self._parameters)):
            self._redo(node, slices)

    def _redo(self, node: Any, slices: tuple[int, int]) -> None:
        told = provenance_of(node)
        with self._run.errorsShown():
            concerned = [n for n in self._logic.correctedSlices(node) if slices[0] <= n <= slices[1]]
            if concerned and not slicer.util.confirmOkCancelDisplay(
                _("What was corrected by hand in {slices} will be replaced. Make it anew?").format(
                    slices=slicesText(concerned)
                ),
                _("Corrected by hand"),
            ):
                return
            if not self._ready(source_volume(node), told.get("task"), told.get("checkpoint")):
                return
            choices = {"segmentationNode": node, "slices": slices, "device": self._parameters.device.value}
            anew = slicesText(list(range(slices[0], slices[1] + 1)))
            done = _("Made anew: {slices}; all else is as it was.").format(slices=anew)
            self._run.start(choices, begin=self._logic.redo, finished=done)


def slicesText(numbers: list[int]) -> str:
    """Numbers of slices from 0, in order, as the user reads them, from 1: ``slices 3, 5 to 7``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    texts = [
        str(part[0] + 1) if len(part) == 1 else _("{first} to {last}").format(first=part[0] + 1, last=part[-1] + 1)
        for part in parts
    ]
    return (_("slice {numbers}") if len(numbers) == 1 else _("slices {numbers}")).format(numbers=", ".join(texts))
