"""The list of checkpoints for the chosen task, with a line that says what the chosen one does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..data.card import Card
from ..data.errors import MedSegAttentionError

AUTOMATIC = ""
"""Data of the entry that lets task and volume decide."""


class CheckpointList:
    """Fills ``checkpointComboBox`` and ``checkpointDescriptionLabel``.

    The combo box cannot be bound by Slicer's ``SlicerParameterName``, which knows lists of fixed entries alone.
    """

    def __init__(self, ui: Any, onChosen: Callable[[str], None]) -> None:
        """Args: ui: the widgets by name; onChosen: called with a checkpoint ID, or :data:`AUTOMATIC`."""
        self._comboBox, self._label = ui.checkpointComboBox, ui.checkpointDescriptionLabel
        self._cards: dict[str, Card] = {}
        self._shown: list[Card] | None = None
        self._problem = ""
        self._onChosen = onChosen
        self._comboBox.connect("currentIndexChanged(int)", self._onIndexChanged)

    def close(self) -> None:
        """Stop listening to the combo box."""
        self._comboBox.disconnect("currentIndexChanged(int)", self._onIndexChanged)

    def load(self, listCheckpoints: Callable[[], list[Card]]) -> None:
        """Read which checkpoints are installed."""
        try:
            self._cards, self._problem = {card.id: card for card in listCheckpoints()}, ""
        except MedSegAttentionError as error:  # one broken folder must not keep the module from opening
            self._cards, self._problem = {}, str(error)
        self._shown = None

    def hasTask(self, task: str) -> bool:
        """Whether a checkpoint for ``task`` is installed."""
        return any(card.task == task for card in self._cards.values())

    def show(self, task: str, checkpoint: str) -> str:
        """List the checkpoints of ``task`` and select one.

        Returns:
            the ID that is selected: ``checkpoint``, or :data:`AUTOMATIC` where the task has no such checkpoint.
        """
        cards = [card for card in self._cards.values() if card.task == task]
        wasBlocked = self._comboBox.blockSignals(True)
        if self._shown != cards:
            self._comboBox.clear()
            self._comboBox.addItem(_("Automatic"), AUTOMATIC)
            for card in cards:
                self._comboBox.addItem(card.id, card.id)
            self._shown = cards
        self._comboBox.currentIndex = max(0, self._comboBox.findData(checkpoint))
        self._comboBox.blockSignals(wasBlocked)
        self._comboBox.enabled = bool(cards)
        selected = self._comboBox.itemData(self._comboBox.currentIndex) or AUTOMATIC
        self._label.text = self._description(task, cards, selected)
        return selected

    def _description(self, task: str, cards: list[Card], selected: str) -> str:
        if self._problem:
            return self._problem
        if not cards:
            return _("No checkpoint for task '{task}' is installed.").format(task=task)
        return self._cards[selected].description if selected else "\n".join(card.title for card in cards)

    def _onIndexChanged(self, index: int) -> None:
        self._onChosen(self._comboBox.itemData(index) or AUTOMATIC)
