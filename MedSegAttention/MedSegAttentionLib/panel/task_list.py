"""The list of tasks: the built-in ones, and those that the user's own checkpoints bring."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from slicer.i18n import tr as _

from ..data.card import Card
from ..data.task import task_names, task_title
from .section import fill


class TaskList:
    """Fills ``taskComboBox``.

    Slicer's ``SlicerParameterName`` knows lists of fixed entries alone, so the panel binds it itself.
    """

    def __init__(self, ui: Any, onChosen: Callable[[str], None]) -> None:
        """Args: ui: the widgets by name; onChosen: called with the name of a task."""
        self._comboBox, self._onChosen = ui.taskComboBox, onChosen
        self._comboBox.connect("currentIndexChanged(int)", self._onIndexChanged)

    def close(self) -> None:
        """Stop listening to the combo box."""
        self._comboBox.disconnect("currentIndexChanged(int)", self._onIndexChanged)

    def show(self, cards: Iterable[Card], task: str) -> None:
        """List the tasks of the installed checkpoints and select one; a scene may name one that is not installed."""
        cards = list(cards)
        names = dict.fromkeys([*task_names(cards), task])
        fill(self._comboBox, [(_title(name, cards), name) for name in names], task)

    def _onIndexChanged(self, index: int) -> None:
        if task := self._comboBox.itemData(index):
            self._onChosen(task)


def _title(task: str, cards: list[Card]) -> str:
    """Built-in tasks have translated titles."""
    titles = {"prostate": _("Prostate"), "skin": _("Skin"), "polyp": _("Polyp"), "abdomen": _("Abdomen")}
    return titles.get(task) or task_title(task, cards)
