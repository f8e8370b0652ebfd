"""The table of segments: seen or not, name, size, slices, expected quality, a mark where something is doubtful."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..scene.measure import SegmentationMeasure, SegmentMeasure
from ..scene.nodes import provenance_of
from ..scene.positions import jump_to
from ..scene.segments import is_segment_shown, largest_place, rename_segment, show_segment
from .section import LEAST_ROW, fitHeight, fixedItem, silent

EYE, NAME, SIZE, SLICES, QUALITY, MARK = range(6)
MOST_ROWS = 14


class SegmentsTable:
    """Serves ``segmentsTable``: the box hides, a click jumps to where a segment is largest, a double click renames."""

    def __init__(self, ui: Any, connect: Callable[[Any, str, Callable[..., None]], None]) -> None:
        """Args: ui: the widgets by name; connect: of the section, so that it lets go of the widgets."""
        self._table, self._node, self._ids = ui.segmentsTable, None, []
        self._table.verticalHeader().setVisible(False)
        self._table.horizontalHeader().setMinimumSectionSize(LEAST_ROW)
        self._table.horizontalHeader().setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        self._setHeader("mL")
        connect(self._table, "cellChanged(int,int)", self._onChanged)
        connect(self._table, "cellClicked(int,int)", self._onClicked)

    def clear(self, seen: bool) -> None:
        """No rows; ``seen``: the table stays in sight."""
        self._node, self._ids = None, []
        with silent(self._table):
            self._table.rowCount = 0
        self._table.visible = seen

    def fill(self, node: Any, measured: SegmentationMeasure) -> None:
        """Show the segments of ``node``, which were measured."""
        ids = node.GetSegmentation().GetSegmentIDs()
        found = [(i, segment) for i, segment in zip(ids, measured.segments, strict=True) if segment.voxels]
        self._node, self._ids = node, [segment_id for segment_id, _segment in found]
        expected = provenance_of(node).get("expected", {})
        table = self._table
        with silent(table):
            self._setHeader(measured.unit)
            table.rowCount = len(found) + len(measured.not_found)
            for row, (segment_id, segment) in enumerate(found):
                self._fillRow(row, segment_id, segment, measured, expected.get(segment.name, {}))
            for row, name in enumerate(measured.not_found, start=len(found)):
                for column, text in ((EYE, ""), (NAME, name), (SIZE, _("not found")), (SLICES, "0")):
                    table.setItem(row, column, fixedItem(text))
        table.setColumnHidden(QUALITY, not expected)
        table.setColumnHidden(MARK, not any(segment.findings for _id, segment in found))
        self._fit()

    def showVisibility(self) -> None:
        """Bring the boxes in line with what the views show."""
        with silent(self._table):
            for row, segment_id in enumerate(self._ids):
                shown = is_segment_shown(self._node, segment_id)
                self._table.item(row, EYE).setCheckState(qt.Qt.Checked if shown else qt.Qt.Unchecked)

    def selected(self) -> str | None:
        """ID of the segment of the current row, else of the first; None without any."""
        row = self._table.currentRow()
        return self._ids[row if 0 <= row < len(self._ids) else 0] if self._ids else None

    def _fillRow(
        self,
        row: int,
        segment_id: str,
        segment: SegmentMeasure,
        measured: SegmentationMeasure,
        expected: dict[str, Any],
    ) -> None:
        eye, name = fixedItem(""), qt.QTableWidgetItem(segment.name)
        eye.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
        eye.setCheckState(qt.Qt.Checked if is_segment_shown(self._node, segment_id) else qt.Qt.Unchecked)
        eye.setToolTip(_("Show or hide {name}").format(name=segment.name))
        name.setData(qt.Qt.DecorationRole, qt.QColor(*segment.colour))
        bound = "≥ " if segment.is_lower_bound else ""
        quality = fixedItem(f"{expected['dice']:.2f}" if "dice" in expected else "")
        if interval := expected.get("interval"):
            quality.setToolTip(_("Expected Dice, probably between {low} and {high}").format(**_ends(interval)))
        mark = fixedItem("⚠" if segment.findings else "")
        mark.setToolTip("\n".join(segment.findings))
        size = fixedItem(bound + sizeText(segment.size, measured.unit))
        slices = fixedItem(str(segment.slices))  # a panel has no room for what every row repeats
        slices.setToolTip(_("{number} of {count}").format(number=segment.slices, count=measured.slice_count))
        for column, item in enumerate((eye, name, size, slices, quality, mark)):
            self._table.setItem(row, column, item)

    def _setHeader(self, unit: str) -> None:
        size = sizeHeader(unit)
        self._table.setHorizontalHeaderLabels(["", _("Segment"), size, _("Slices"), _("Quality"), "⚠"])
        self._table.setColumnHidden(QUALITY, True)
        self._table.setColumnHidden(MARK, True)

    def _fit(self) -> None:
        for column in (EYE, SIZE, SLICES, QUALITY, MARK):
            self._table.resizeColumnToContents(column)
        fitHeight(self._table, MOST_ROWS)

    def _onChanged(self, row: int, column: int) -> None:
        if row >= len(self._ids):
            return
        item, segment_id = self._table.item(row, column), self._ids[row]
        if column == EYE:
            show_segment(self._node, segment_id, item.checkState() == qt.Qt.Checked)
        elif column == NAME:
            node, name = self._node, item.text()
            # Renaming fills the table anew, which must not happen under the editor that is closing now.
            qt.QTimer.singleShot(0, lambda: self._rename(node, segment_id, name))

    def _rename(self, node: Any, segment_id: str, name: str) -> None:
        if node is self._node and segment_id in self._ids:  # else another result is shown by now
            rename_segment(node, segment_id, name)
            shown = node.GetSegmentation().GetSegment(segment_id).GetName()
            with silent(self._table):
                self._table.item(self._ids.index(segment_id), NAME).setText(shown)

    def _onClicked(self, row: int, column: int) -> None:
        if row < len(self._ids) and column != EYE and (place := largest_place(self._node, self._ids[row])):
            jump_to(slicer.mrmlScene, place)


def _ends(interval: tuple[float, float]) -> dict[str, str]:
    return {"low": f"{interval[0]:.2f}", "high": f"{interval[1]:.2f}"}


def sizeHeader(unit: str) -> str:
    """Heading of the column of sizes."""
    return {"mL": _("mL"), "mm2": _("mm²"), "pixels": _("Pixels"), "voxels": _("Voxels")}[unit]


def sizeText(size: float, unit: str) -> str:
    """A size as it is read: three digits, of large ones all before the point."""
    if unit in ("pixels", "voxels"):
        return f"{size:.0f}"
    decimals = next(decimals for decimals, least in enumerate((100, 10, 1, 0)) if size >= least)
    return f"{size:.{decimals}f}"
