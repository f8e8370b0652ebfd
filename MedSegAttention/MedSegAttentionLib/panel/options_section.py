"""What of an image is segmented: some slices, a box, some organs; and of which one the probability is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from ..data.card import Card
from ..data.errors import MedSegAttentionError
from ..scene.regions import lay_around
from .choices import leftOut, sliceRange
from .section import Section, fill, silent

COLUMNS = 2


class OptionsSection(Section):
    """Connects slices, region, ``organsTable`` and ``probabilityComboBox``; the rest of the file binds itself."""

    def __init__(self, ui: Any, logic: Any, candidates: Callable[[], list[Card]]) -> None:
        """Args: ui: the widgets by name; logic: counts slices; candidates: the checkpoints that may run."""
        super().__init__(ui)
        self._logic, self._candidates = logic, candidates
        self._image: Any = None
        self._shown: tuple[tuple[str, bool], ...] | None = None
        for header in (ui.organsTable.horizontalHeader(), ui.organsTable.verticalHeader()):
            header.setVisible(False)
        ui.organsTable.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        self._connect(ui.sliceRangeSlider, "valuesChanged(double,double)", self._onSlices)
        self._connect(ui.organsTable, "cellChanged(int,int)", self._onOrgan)
        self._connect(ui.probabilityComboBox, "currentIndexChanged(int)", self._onProbability)

    def setParameterNode(self, parameters: Any) -> None:
        """Follow this parameter node, whose choices are those of its own image."""
        self._image = parameters.inputVolume if parameters else None
        super().setParameterNode(parameters)

    def show(self) -> None:
        """The checkpoints that may run have changed."""
        self._update()

    def _update(self, _caller: Any = None, _event: Any = None) -> None:
        parameters = self._parameters
        if not parameters:
            return
        image, self._image = self._image, parameters.inputVolume
        if image is not self._image and image is not None and parameters.slices:
            parameters.slices = ""  # of another image, and calls this method again
            return
        self._showSlices()
        self._showOrgans()
        region = parameters.region
        if region is not None and self._image is not None and not region.GetNumberOfControlPoints():
            lay_around(region, self._image)

    def _showSlices(self) -> None:
        slider, count = self._ui.sliceRangeSlider, self._count()
        first, last = sliceRange(self._parameters) or (0, count - 1)
        with silent(slider):
            slider.maximum = max(1, count)
            slider.setValues(first + 1, max(1, last + 1))
        slider.enabled = count > 1

    def _count(self) -> int:
        """Slices of the image as the first checkpoint that may run would cut it; 0 where that cannot be said."""
        try:
            card = next(iter(self._candidates()), None)
            image = self._parameters.inputVolume
            return self._logic.sliceCount(image, card, self._parameters.axis.value) if image and card else 0
        except MedSegAttentionError:  # Apply says what is wrong with the image
            return 0

    def _showOrgans(self) -> None:
        names = list(dict.fromkeys(label.name for card in self._candidates() for label in card.labels))
        of = self._parameters.probabilityOf
        fill(self._ui.probabilityComboBox, [(_("None"), ""), *((name, name) for name in names)], of)
        left = leftOut(self._parameters)
        shown = tuple((name, name not in left) for name in names)
        if shown == self._shown:
            return
        self._shown, table = shown, self._ui.organsTable
        with silent(table):
            table.rowCount = -(-len(names) // COLUMNS)
            for n, (name, wanted) in enumerate(shown):
                item = qt.QTableWidgetItem(name)
                item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
                item.setCheckState(qt.Qt.Checked if wanted else qt.Qt.Unchecked)
                table.setItem(n // COLUMNS, n % COLUMNS, item)
            if len(names) % COLUMNS:
                nothing = qt.QTableWidgetItem("")
                nothing.setFlags(qt.Qt.NoItemFlags)
                table.setItem(table.rowCount - 1, COLUMNS - 1, nothing)
        table.visible = len(names) > 1
        height = sum(table.rowHeight(row) for row in range(table.rowCount)) + 2 * table.frameWidth
        table.minimumHeight = height
        table.maximumHeight = height

    def _onSlices(self, first: float, last: float) -> None:
        if self._parameters:
            whole = (round(first), round(last)) == (1, self._count())
            self._parameters.slices = "" if whole else f"{round(first)}-{round(last)}"

    def _onOrgan(self, _row: int, _column: int) -> None:
        """Classes of other checkpoints stay left out as well, for when one of those is chosen again."""
        if not self._parameters:
            return
        table, left = self._ui.organsTable, dict.fromkeys(leftOut(self._parameters))
        for n, (name, _wanted) in enumerate(self._shown or ()):
            if table.item(n // COLUMNS, n % COLUMNS).checkState() == qt.Qt.Checked:
                left.pop(name, None)
            else:
                left[name] = None
        self._parameters.leftOut = ",".join(left)

    def _onProbability(self, index: int) -> None:
        if self._parameters:
            self._parameters.probabilityOf = self._ui.probabilityComboBox.itemData(index) or ""
