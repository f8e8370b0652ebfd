"""Comparing the result with another segmentation: figures, slices that differ, an overlay of where."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..data.case import file_names
from ..data.comparison import Comparison
from ..data.errors import MedSegAttentionError
from ..scene.disagreement import disagreement_of, remove_disagreement
from ..scene.positions import jump_to
from ..scene.segmentation import source_volume
from ..scene.segments import slice_place
from .section import Section, fitHeight, fixedItem, silent
from .waiting import inBackground

logger = logging.getLogger(__name__)

MOST_SLICES = 8
"""Rows of the list of slices that are in sight."""


class CompareSection(Section):
    """Serves the widgets of ``Compare.ui``, and ``compareOpenButton``."""

    def __init__(self, ui: Any, logic: Any, ready: Callable[[], bool]) -> None:
        """Args: ui: the widgets by name; logic: compares; ready: whether packages are there; may ask the user."""
        super().__init__(ui)
        self._logic, self._ready = logic, ready
        self._comparison: Comparison | None = None
        self._of: tuple[Any, Any] = (None, None)
        self._busy = self._closed = False
        for table in (ui.compareTable, ui.compareSlicesTable):
            table.verticalHeader().setVisible(False)
            table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        self._connect(ui.compareOpenButton, "clicked(bool)", self._onOpen)
        self._connect(ui.compareSelector, "currentNodeChanged(vtkMRMLNode*)", self._update)
        self._connect(ui.compareButton, "clicked(bool)", self._onCompare)
        self._connect(ui.compareSlicesTable, "cellClicked(int,int)", self._onSlice)
        self._connect(ui.disagreementCheckBox, "toggled(bool)", self._onDisagreement)
        self._connect(ui.saveComparisonButton, "clicked(bool)", self._onSave)
        self._show(None)

    def close(self) -> None:
        """Let go of everything; the widgets may be gone afterwards."""
        self._closed = True
        super().close()

    def _pair(self) -> tuple[Any, Any]:
        return (self._parameters.result if self._parameters else None), self._ui.compareSelector.currentNode()

    def _update(self, _caller: Any = None, _event: Any = None) -> None:
        first, second = self._pair()
        self._watch()
        self._ui.compareOpenButton.visible = self._ui.compareOpenButton.enabled = first is not None
        self._ui.compareButton.enabled = None not in (first, second) and first is not second and not self._busy
        if self._comparison is not None and (first, second) != self._of:
            self._show(None)
            remove_disagreement(slicer.mrmlScene)
            self._ui.compareStatusLabel.text = ""

    def _onOpen(self, _checked: bool = False) -> None:
        self._ui.compareCollapsibleButton.collapsed = False
        self._ui.compareSelector.setFocus()

    def _onCompare(self, _checked: bool = False) -> None:
        """Compare; the window stays alive meanwhile."""
        first, second = self._pair()
        try:
            if not self._ready():
                return
            self._setBusy(True)
            comparison = self._logic.compare(first, second, wait=inBackground)
            if self._closed or (first, second) != self._pair():
                return
            self._of = first, second
            self._show(comparison)
            self._onDisagreement(self._ui.disagreementCheckBox.checked)
        except MedSegAttentionError as error:
            self._fail(str(error))
        except Exception as error:
            logger.exception("comparison failed")
            self._fail(_("The comparison failed: {error}").format(error=error))
        finally:
            self._setBusy(False)

    def _setBusy(self, busy: bool) -> None:
        self._busy = busy
        if not self._closed:
            self._ui.compareButton.text = _("Comparing...") if busy else _("Compare")
            self._update()

    def _show(self, comparison: Comparison | None) -> None:
        """Fill both tables, or hide them."""
        self._comparison, ui = comparison, self._ui
        for widget in (ui.compareTable, ui.compareSlicesTable, ui.disagreementCheckBox):
            widget.visible = comparison is not None
        ui.saveComparisonButton.enabled = comparison is not None
        if comparison is None:
            return
        headings = [_("Segment"), _("Dice"), f"HD95 {comparison.distance_unit}", _("Result"), _("Other")]
        _fill(ui.compareTable, headings, [_texts(item) for item in comparison.classes], len(comparison.classes))
        rows = [(str(item.number + 1), str(item.differing), f"{item.dice:.2f}") for item in comparison.slices]
        _fill(ui.compareSlicesTable, [_("Slice"), _("Voxels that differ"), _("Dice")], rows, MOST_SLICES)
        text = _("Mean Dice {dice}; {count} of {all} slices differ; sizes in {unit}.")
        told = {"dice": f"{comparison.mean_dice:.3f}", "count": len(comparison.slices), "unit": comparison.size_unit}
        lines = [text.format(all=comparison.slice_count, **told)]
        for names, which in ((comparison.only_a, comparison.names[0]), (comparison.only_b, comparison.names[1])):
            if names:
                missing = _("Only in {which}, not compared: {names}.")
                lines.append(missing.format(which=which, names=", ".join(names)))
        ui.compareStatusLabel.text = "\n".join(lines)

    def _onSlice(self, row: int, _column: int) -> None:
        volume = source_volume(self._of[0]) if self._of[0] is not None and self._of[0].GetScene() else None
        if self._comparison and volume is not None:
            number = self._comparison.slices[row].number
            jump_to(slicer.mrmlScene, slice_place(volume, self._comparison.axis, number))

    def _onDisagreement(self, shown: bool) -> None:
        node = disagreement_of(slicer.mrmlScene)
        if node is None and shown and self._comparison and self._of[0].GetScene() is slicer.mrmlScene:
            self._logic.showDisagreement(self._comparison, self._of[0])
        elif node is not None and not shown:
            remove_disagreement(slicer.mrmlScene)

    def _onSave(self, _checked: bool = False) -> None:
        if self._comparison is None:
            return
        name = f"{file_names([self._comparison.names[0]])[0]} comparison.csv"
        path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), _("Save"), name, _("Table (*.csv)"))
        if not path:
            return
        try:
            written = self._logic.writeComparison(self._comparison, path)
            self._ui.compareStatusLabel.text = _("Wrote {path}").format(path=written)
        except MedSegAttentionError as error:
            self._fail(str(error))

    def _fail(self, text: str) -> None:
        if not self._closed:
            self._ui.compareStatusLabel.text = text
            slicer.util.errorDisplay(text)


def _texts(item: Any) -> tuple[str, ...]:
    sizes = (f"{size:.1f}" if size % 1 else f"{size:.0f}" for size in (item.size_a, item.size_b))
    return item.name, f"{item.dice:.3f}", "-" if item.hd95 is None else f"{item.hd95:.1f}", *sizes


def _fill(table: Any, headings: list[str], rows: list[tuple[str, ...]], most: int) -> None:
    with silent(table):
        table.setHorizontalHeaderLabels(headings)
        table.rowCount = len(rows)
        for row, texts in enumerate(rows):
            for column, text in enumerate(texts):
                table.setItem(row, column, fixedItem(text))
    for column in range(1, len(headings)):
        table.resizeColumnToContents(column)
    fitHeight(table, most)
