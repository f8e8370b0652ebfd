"""The results section: how large each segment is, what was not found, 3-D, files, the warnings of the run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..data.case import file_names
from ..data.errors import MedSegAttentionError
from ..data.volume import AXIS_NAMES
from ..scene.corrections import mark_corrections, redone_slices
from ..scene.measure import SegmentationMeasure, measure
from ..scene.nodes import CHECKPOINT_ATTRIBUTE, finished_slices, provenance_of
from ..scene.positions import jump_to
from ..scene.segmentation import is_surface_shown, show_surface, source_volume
from ..scene.segments import slice_place
from ..scene.surfaces import is_3d_seen, is_alone_in_3d
from .correct_section import slicesText
from .section import Section, silent
from .segments_table import SegmentsTable

logger = logging.getLogger(__name__)

POLL_MILLISECONDS = 50


class ResultsSection(Section):
    """Connects the widgets of ``Results.ui`` with the segmentation that parameter ``result`` names."""

    def __init__(self, ui: Any, logic: Any, setStatus: Callable[[str], None]) -> None:
        """Args: ui: the widgets by name; logic: a ``MedSegAttentionLogic``; setStatus: shows a line."""
        super().__init__(ui)
        self._logic, self._setStatus = logic, setStatus
        self._filledFor: Any = None
        self._surfaces: Any = None  # being made
        ui.resultSelector.addAttribute("vtkMRMLSegmentationNode", CHECKPOINT_ATTRIBUTE)
        self.table = SegmentsTable(ui, self._connect)
        self._connect(ui.show3DButton, "toggled(bool)", self._onShow3D)
        self._connect(ui.exportButton, "clicked(bool)", self._onExport)
        self._connect(ui.copyTableButton, "clicked(bool)", self._onCopy)
        self._connect(ui.lookFirstLabel, "linkActivated(QString)", self._onLookFirst)
        ui.lookFirstLabel.textInteractionFlags = qt.Qt.LinksAccessibleByMouse | qt.Qt.LinksAccessibleByKeyboard

    def setParameterNode(self, parameters: Any) -> None:
        """Follow this parameter node; segments are counted anew, since they may have been edited meanwhile."""
        self._filledFor = None
        super().setParameterNode(parameters)

    def close(self) -> None:
        """Let go of everything; the widgets may be gone afterwards."""
        if self._surfaces:
            self._surfaces.cancel()
            self._surfaces = None
        super().close()

    def showRun(self) -> None:
        """A run has ended, perhaps in the result shown: fill anew; where a 3-D view is seen surfaces are made."""
        self._onEdited()
        if self._node() is not None and self._ui.show3DButton.enabled and is_3d_seen(slicer.mrmlScene):
            self._ui.show3DButton.checked = True

    def _node(self) -> Any:
        return self._parameters.result if self._parameters else None

    def _update(self, _caller: Any = None, _event: Any = None) -> None:
        node = self._node()
        if node is None or node is not self._filledFor:
            self._fill(node)
        else:
            self.table.showVisibility()
        making = self._surfaces is not None
        with silent(self._ui.show3DButton):
            self._ui.show3DButton.checked = making or (node is not None and is_surface_shown(node))
        self._watch(*self._observations(node))

    def _observations(self, node: Any) -> list[tuple[Any, Any, Any]]:
        if node is None:
            return []
        segmentation, changed = node.GetSegmentation(), slicer.vtkSegmentation
        edits = (
            changed.SourceRepresentationModified,
            changed.SegmentModified,
            changed.SegmentAdded,
            changed.SegmentRemoved,
        )
        return [
            *((segmentation, event, self._onEdited) for event in edits),
            (segmentation, changed.ContainedRepresentationNamesModified, self._update),
            (node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._onEdited),
            (node, slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent, self._update),
        ]

    def _onEdited(self, _caller: Any = None, _event: Any = None) -> None:
        self._filledFor = None
        self._update()

    def _fill(self, node: Any) -> None:
        """Count the segments of ``node`` and show them; nothing for None."""
        self._filledFor, ui = node, self._ui
        self.table.clear(seen=node is not None)
        ui.show3DButton.enabled = ui.exportButton.enabled = ui.copyTableButton.enabled = False
        ui.resultNotesLabel.text = ""
        for button in (ui.show3DButton, ui.exportButton, ui.copyTableButton):
            button.visible = node is not None
        self._showLookFirst(node)
        if node is None:
            ui.resultNotesLabel.text = _("Nothing is segmented yet.") if self._parameters else ""
            return
        try:
            measured = measure(node)
        except MedSegAttentionError as error:
            ui.resultNotesLabel.text = str(error)
            return
        self.table.fill(node, measured)
        ui.exportButton.enabled = ui.copyTableButton.enabled = True
        ui.show3DButton.enabled = measured.slice_count > 1 and self._surfaces is None
        ui.resultNotesLabel.text = "\n".join(_notes(node, measured))

    def _showLookFirst(self, node: Any) -> None:
        """Links to the slices where the result is most likely wrong, with the reasons."""
        told = provenance_of(node) if node is not None else {}
        links = [f'<a href="{number}">{number + 1}</a>' for number in told.get("look_first", ())]
        self._ui.lookFirstLabel.visible = bool(links)
        self._ui.lookFirstLabel.text = _("Look here first: slice {numbers}").format(numbers=", ".join(links))
        reasons = zip(told.get("look_first", ()), told.get("look_first_reasons", ()), strict=False)
        texts = [_("Slice {number}: {reason}").format(number=number + 1, reason=reason) for number, reason in reasons]
        self._ui.lookFirstLabel.toolTip = "\n".join([_("Slices where the result is most likely wrong"), *texts])

    def _onLookFirst(self, link: str) -> None:
        node = self._node()
        if node is not None and (volume := source_volume(node)) is not None:
            axis = AXIS_NAMES.index(provenance_of(node)["slice_axis"])
            jump_to(slicer.mrmlScene, slice_place(volume, axis, int(link)))

    def _onShow3D(self, shown: bool) -> None:
        node = self._node()
        if node is None:
            return
        if not shown:
            show_surface(node, False)
            return
        try:
            self._surfaces = self._logic.makeSurfaces(node)
        except OSError as error:  # no other process can be had: then here, which takes its time
            logger.warning("surfaces are made in this process: %s", error)
            with slicer.util.WaitCursor():
                show_surface(node, True)
            return
        self._ui.show3DButton.enabled, self._ui.show3DButton.text = False, _("Making...")
        qt.QTimer.singleShot(POLL_MILLISECONDS, self._pollSurfaces)

    def _pollSurfaces(self) -> None:
        if self._surfaces is None:  # closed meanwhile
            return
        if self._surfaces.poll():
            qt.QTimer.singleShot(POLL_MILLISECONDS, self._pollSurfaces)
            return
        self._surfaces, node = None, self._node()
        self._ui.show3DButton.enabled, self._ui.show3DButton.text = node is not None, _("Show 3D")
        if node is not None and is_alone_in_3d(node) and slicer.app.layoutManager():
            slicer.util.resetThreeDViews()  # they look at the middle of the room, where no organ need be
        self._update()

    def _onCopy(self, _checked: bool = False) -> None:
        if (node := self._node()) is not None:
            slicer.app.clipboard().setText(self._logic.tableText(node))
            self._setStatus(_("The table is in the clipboard."))

    def _onExport(self, _checked: bool = False) -> None:
        """Ask for a file, whose ending says what is written."""
        if (node := self._node()) is None:
            return
        kinds = (
            _("Segmentation (*.seg.nrrd)"),
            _("NIfTI label map (*.nii.gz)"),
            _("DICOM SEG (*.dcm)"),
            _("Report (*.png)"),
            _("Table (*.csv)"),
        )
        name = f"{file_names([node.GetName()])[0]}.seg.nrrd"
        path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), _("Export"), name, ";;".join(kinds))
        if not path:
            return
        try:
            written = self._logic.exportResult(node, path)
            self._setStatus(_("Wrote {path}").format(path=", ".join(map(str, written))))
        except MedSegAttentionError as error:
            self._fail(str(error))
        except Exception as error:
            logger.exception("export failed")
            self._fail(_("The export failed: {error}").format(error=error))

    def _fail(self, text: str) -> None:
        self._setStatus(text)
        slicer.util.errorDisplay(text)


def _notes(node: Any, measured: SegmentationMeasure) -> list[str]:
    """What to know beside the numbers: each a sentence."""
    notes = []
    if stretches := finished_slices(node):
        finished = [number for first, last in stretches for number in range(first, last + 1)]
        notes.append(_("Partial: only {slices} are segmented.").format(slices=slicesText(finished)))
    if corrected := mark_corrections(node):
        notes.append(_("Corrected by hand: {slices}.").format(slices=slicesText(corrected)))
    if redone := redone_slices(node):
        notes.append(_("Made anew later: {slices}.").format(slices=slicesText(redone)))
    if measured.unit in ("pixels", "voxels"):
        notes.append(_("The image has no spacing in millimetres, so sizes are counts."))
    if measured.transform == "linear":
        notes.append(_("Sizes are those after the linear transform."))
    elif measured.transform == "non-linear":
        notes.append(_("Sizes are those before the non-linear transform."))
    found: dict[str, list[str]] = {}
    for segment in measured.segments:
        for text in segment.findings:
            found.setdefault(text, []).append(segment.name)
    for text, names in found.items():
        who = names[0] if len(names) == 1 else _("Each of {names}").format(names=", ".join(names))
        note = f"{who} {text}"
        notes.append(_("Before the correction: {note}").format(note=note) if corrected else note)
    return notes + [str(warning) for warning in provenance_of(node).get("warnings", [])]
