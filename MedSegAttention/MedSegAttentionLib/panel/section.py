"""What the sections of the panel have in common: they follow a parameter node and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import qt
import vtk

Observation = tuple[Any, Any, Callable[..., None]]
"""(MRML or VTK object, event, method)."""
LEAST_ROW = 24
"""Height of a row of a table without any, pixels."""


class Section:
    """A part of the panel that shows the parameter node it is given, and nothing when it has none.

    It observes without Slicer's ``VTKObservationMixin``, which keeps hold of all it ever observed: volumes that left
    the scene would stay in memory until the module closes.
    """

    def __init__(self, ui: Any) -> None:
        """Args: ui: the widgets by name."""
        self._ui = ui
        self._parameters: Any = None
        self._watched: dict[Observation, int] = {}
        self._connections: list[tuple[Any, str, Callable[..., None]]] = []

    def setParameterNode(self, parameters: Any) -> None:
        """Follow this parameter node; None to let go of the present one and of all else."""
        self._parameters = parameters
        self._watch()
        self._update()

    def close(self) -> None:
        """Let go of everything; the widgets may be gone afterwards."""
        self.setParameterNode(None)
        for widget, signal, function in self._connections:
            widget.disconnect(signal, function)
        self._connections.clear()

    def _connect(self, widget: Any, signal: str, function: Callable[..., None]) -> None:
        widget.connect(signal, function)
        self._connections.append((widget, signal, function))

    def _watch(self, *observations: Observation) -> None:
        """Observe these beside the parameter node, and no longer those of the last call."""
        own = [(self._parameters, vtk.vtkCommand.ModifiedEvent, self._update)] if self._parameters else []
        wanted = dict.fromkeys([*own, *observations])
        for observation in [known for known in self._watched if known not in wanted]:
            observation[0].RemoveObserver(self._watched.pop(observation))
        for observation in wanted:
            if observation not in self._watched:
                watched, event, method = observation
                self._watched[observation] = watched.AddObserver(event, method)

    def _update(self, _caller: Any = None, _event: Any = None) -> None:
        """Bring the widgets in line with the parameters and the scene."""
        raise NotImplementedError


@contextmanager
def silent(*widgets: Any) -> Iterator[None]:
    """Let the block set widgets without their signals, which stand for what the user does."""
    before = [widget.blockSignals(True) for widget in widgets]
    try:
        yield
    finally:
        for widget, blocked in zip(widgets, before, strict=True):
            widget.blockSignals(blocked)


def fill(comboBox: Any, entries: list[tuple[str, str]], selected: str) -> None:
    """Offer (text, data) entries and select the one with this data, or else the first; no signal is sent.

    The list is left alone while it stays the same, so that it does not close under the user's hand.
    """
    with silent(comboBox):
        if entries != [(comboBox.itemText(n), comboBox.itemData(n)) for n in range(comboBox.count)]:
            comboBox.clear()
            for text, data in entries:
                comboBox.addItem(text, data)
        comboBox.currentIndex = max(0, comboBox.findData(selected)) if entries else -1


def fixedItem(text: str) -> Any:
    """A cell of a table that cannot be typed into."""
    item = qt.QTableWidgetItem(text)
    item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
    return item


def fitHeight(table: Any, most: int) -> None:
    """As high as its header and rows, of which ``most`` are in sight.

    No height of its own: what grows with its content makes the panel grow without end.
    """
    rows = [table.rowHeight(row) for row in range(min(table.rowCount, most))]
    height = sum(rows) + max(rows, default=LEAST_ROW) + 2 * table.frameWidth  # the header is no higher than a row
    table.minimumHeight = height
    table.maximumHeight = height
