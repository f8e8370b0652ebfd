"""The list of checkpoints for the chosen task, with the model card of the chosen one."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from slicer.i18n import tr as _

from ..data.card import Card, default_checkpoints
from ..data.errors import MedSegAttentionError
from .model_card import cardsHtml, summaryText

AUTOMATIC = ""
"""Data of the entry that lets task and volume decide."""


class CheckpointList:
    """Fills ``checkpointComboBox``, the line below it and the card, and offers ``testTimeFlipsCheckBox`` where it fits.

    The combo box cannot be bound by Slicer's ``SlicerParameterName``, which knows lists of fixed entries alone.
    """

    def __init__(self, ui: Any, onChosen: Callable[[str], None], expectedTime: Callable[[Card], str]) -> None:
        """Take the widgets.

        Args:
            ui: the widgets by name.
            onChosen: called with a checkpoint ID, or :data:`AUTOMATIC`.
            expectedTime: says how long the volume would take with a checkpoint.
        """
        self._comboBox, self._browser = ui.checkpointComboBox, ui.modelCardBrowser
        self._summary, self._flipsCheckBox = ui.modelSummaryLabel, ui.testTimeFlipsCheckBox
        self._cardButton, self._cardWidget = ui.modelCardButton, ui.modelCardWidget
        self._cards: dict[str, Card] = {}
        self._listed: list[Card] | None = None
        self._task = ""
        self._html = ""
        self._problem = ""
        self._onChosen, self._expectedTime = onChosen, expectedTime
        self._comboBox.connect("currentIndexChanged(int)", self._onIndexChanged)
        self._cardButton.connect("toggled(bool)", self._onCardButton)
        self._cardWidget.visible = False

    def close(self) -> None:
        """Stop listening to the widgets."""
        self._comboBox.disconnect("currentIndexChanged(int)", self._onIndexChanged)
        self._cardButton.disconnect("toggled(bool)", self._onCardButton)

    def load(self, listCheckpoints: Callable[[], list[Card]]) -> None:
        """Read which checkpoints are installed."""
        try:
            self._cards, self._problem = {card.id: card for card in listCheckpoints()}, ""
        except MedSegAttentionError as error:  # one broken folder must not keep the module from opening
            self._cards, self._problem = {}, str(error)
        self._listed = None

    def cards(self) -> list[Card]:
        """The installed checkpoints."""
        return list(self._cards.values())

    def hasTask(self, task: str) -> bool:
        """Whether a checkpoint for ``task`` is installed."""
        return any(card.task == task for card in self._cards.values())

    def candidates(self) -> list[Card]:
        """The selected checkpoint, or all that the volume may decide between."""
        selected = self._cards.get(self._comboBox.itemData(self._comboBox.currentIndex))
        return [selected] if selected else default_checkpoints(self._listed or [], self._task)

    def show(self, task: str, checkpoint: str) -> str:
        """List the checkpoints of ``task``, select one and show its card.

        Returns:
            the ID that is selected: ``checkpoint``, or :data:`AUTOMATIC` where the task has no such checkpoint.
        """
        cards, self._task = [card for card in self._cards.values() if card.task == task], task
        wasBlocked = self._comboBox.blockSignals(True)
        if self._listed != cards:
            self._comboBox.clear()
            self._comboBox.addItem(_("Automatic"), AUTOMATIC)
            for card in cards:
                self._comboBox.addItem(card.id, card.id)
            self._listed = cards
        self._comboBox.currentIndex = max(0, self._comboBox.findData(checkpoint))
        self._comboBox.blockSignals(wasBlocked)
        self._comboBox.enabled = bool(cards)
        self._showCard(task)
        self._offerFlips()
        return self._comboBox.itemData(self._comboBox.currentIndex) or AUTOMATIC

    def _showCard(self, task: str) -> None:
        if self._problem:
            html = escape(self._problem)
        elif candidates := self.candidates():
            html = cardsHtml([(card, self._expectedTime(card)) for card in candidates])
        else:
            html = escape(_("No checkpoint for task '{task}' is installed.").format(task=task))
        if html != self._html:  # so that it does not jump to its top while it is read
            self._browser.setHtml(html)
            self._html = html
        self._summary.text = self._problem or summaryText(self.candidates())

    def _offerFlips(self) -> None:
        candidates = self.candidates()
        allowed = bool(candidates) and all(card.flips for card in candidates)
        self._flipsCheckBox.enabled = allowed
        if not allowed:
            self._flipsCheckBox.checked = False  # and the parameter with it: a run would be refused
        self._flipsCheckBox.toolTip = (
            _("Segment the mirror images of each slice too, and average: takes {times} times as long.").format(
                times=max(card.passes_with_flips for card in candidates)
            )
            if allowed
            else _("Not with this checkpoint: it was not trained on mirror images.")
        )

    def _onCardButton(self, shown: bool) -> None:
        self._cardWidget.visible = shown

    def _onIndexChanged(self, index: int) -> None:
        self._onChosen(self._comboBox.itemData(index) or AUTOMATIC)
