"""The results section: how large each segment is, what was not found, the surface in 3D, the warnings of the run."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..data.errors import MedSegAttentionError
from ..scene.measure import SegmentationMeasure, measure
from ..scene.nodes import CHECKPOINT_ATTRIBUTE, PARTIAL_ATTRIBUTE, provenance_of
from ..scene.segmentation import is_surface_shown, show_surface
from .section import Section, silent

MOST_ROWS, LEAST_ROW = 14, 24


class ResultsSection(Section):
    """Connects the widgets of ``Results.ui`` with the segmentation that parameter ``result`` names."""

    def __init__(self, ui: Any) -> None:
        """Args: ui: the widgets by name."""
        super().__init__(ui)
        self._filledFor: Any = None
        ui.resultSelector.addAttribute("vtkMRMLSegmentationNode", CHECKPOINT_ATTRIBUTE)
        ui.segmentsTable.verticalHeader().setVisible(False)
        ui.segmentsTable.horizontalHeader().setStretchLastSection(True)
        self._setHeader("mL")
        self._connect(ui.show3DButton, "toggled(bool)", self._onShow3D)

    def setParameterNode(self, parameters: Any) -> None:
        """Follow this parameter node; segments are counted anew, since they may have been edited meanwhile."""
        self._filledFor = None
        super().setParameterNode(parameters)

    def _update(self, _caller: Any = None, _event: Any = None) -> None:
        node = self._parameters.result if self._parameters else None
        if node is None or node is not self._filledFor:
            self._fill(node)
        with silent(self._ui.show3DButton):
            self._ui.show3DButton.checked = node is not None and is_surface_shown(node)
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
        self._filledFor = node
        self._ui.segmentsTable.rowCount = 0
        self._ui.segmentsTable.visible = node is not None
        self._ui.show3DButton.enabled = False
        self._ui.resultNotesLabel.text = ""
        if node is None:
            self._ui.resultNotesLabel.text = _("Nothing is segmented yet.") if self._parameters else ""
            return
        try:
            measured = measure(node)
        except MedSegAttentionError as error:
            self._ui.resultNotesLabel.text = str(error)
            return
        self._fillTable(measured)
        self._ui.show3DButton.enabled = measured.slice_count > 1
        self._ui.resultNotesLabel.text = "\n".join(_notes(node, measured))

    def _setHeader(self, unit: str) -> None:
        self._ui.segmentsTable.setHorizontalHeaderLabels([_("Segment"), _sizeHeader(unit), _("Slices")])

    def _fillTable(self, measured: SegmentationMeasure) -> None:
        table = self._ui.segmentsTable
        self._setHeader(measured.unit)
        rows = [
            (
                segment.name,
                segment.colour,
                ("≥ " if segment.findings else "") + _sizeText(segment.size, measured.unit),
                _("{number} of {count}").format(number=segment.slices, count=measured.slice_count),
            )
            for segment in measured.segments
            if segment.voxels
        ]
        rows += [(name, None, _("not found"), "0") for name in measured.not_found]
        table.rowCount = len(rows)
        for row, (name, colour, *texts) in enumerate(rows):
            item = qt.QTableWidgetItem(name)
            if colour:
                item.setData(qt.Qt.DecorationRole, qt.QColor(*colour))
            table.setItem(row, 0, item)
            for column, text in enumerate(texts, start=1):
                table.setItem(row, column, qt.QTableWidgetItem(text))
        table.resizeColumnsToContents()
        # All rows in sight, and no height of its own: what grows with its content makes the panel grow without end.
        rows = [table.rowHeight(row) for row in range(min(table.rowCount, MOST_ROWS))]
        height = sum(rows) + max(rows, default=LEAST_ROW) + 2 * table.frameWidth  # the header is no higher than a row
        table.minimumHeight = height
        table.maximumHeight = height

    def _onShow3D(self, shown: bool) -> None:
        node = self._parameters.result if self._parameters else None
        if node is not None:
            with slicer.util.WaitCursor():
                show_surface(node, shown)


def _sizeHeader(unit: str) -> str:
    return {
        "mL": _("Volume (mL)"),
        "mm2": _("Area (mm²)"),
        "pixels": _("Area (pixels)"),
        "voxels": _("Volume (voxels)"),
    }[unit]


def _sizeText(size: float, unit: str) -> str:
    if unit in ("pixels", "voxels"):
        return f"{size:.0f}"
    return f"{size:.2f}" if size >= 1 else f"{size:.3f}"


def _notes(node: Any, measured: SegmentationMeasure) -> list[str]:
    """What to know beside the numbers: each a sentence."""
    notes = []
    if node.GetAttribute(PARTIAL_ATTRIBUTE):
        text = _("The run was cancelled: slices {first} to {last} alone are segmented.")
        first, last = (int(number) + 1 for number in node.GetAttribute(PARTIAL_ATTRIBUTE).split("-"))
        notes.append(text.format(first=first, last=last))
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
    notes += [f"{', '.join(names)} {text}" for text, names in found.items()]
    return notes + [str(warning) for warning in provenance_of(node).get("warnings", [])]
