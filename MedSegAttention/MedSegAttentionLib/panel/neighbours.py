"""Click a position, see its neighbours: where the network looks from there, as an overlay."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..data.card import Card, default_checkpoints
from ..data.errors import Cancelled, ContractWarning, MedSegAttentionError
from ..scene.nodes import CHECKPOINT_ATTRIBUTE, provenance_of
from ..scene.overlays import remove_overlay
from ..scene.positions import Position, crosshair_position, jump_to, point_position
from ..scene.segmentation import source_volume
from .section import Section, fill

logger = logging.getLogger(__name__)


class NeighboursSection(Section):
    """Connects the lower widgets of ``Attention.ui`` with ``MedSegAttentionLogic.attentionRow``."""

    def __init__(self, ui: Any, logic: Any, ready: Callable[[Any, str, str | None], bool]) -> None:
        """Connect.

        Args:
            ui: the widgets by name.
            logic: a ``MedSegAttentionLogic``.
            ready: whether a volume, task and checkpoint can run; may ask the user.
        """
        super().__init__(ui)
        self._logic, self._ready = logic, ready
        self._cards: list[Card] = []
        self._row: tuple[Any, str] | None = None
        self._computing = self._closed = False
        self._available = True
        self._connect(ui.neighbourStageComboBox, "currentIndexChanged(int)", self._onStage)
        self._connect(ui.rowAtCrosshairButton, "clicked(bool)", self._onCrosshair)
        self._connect(ui.rowAtPointButton, "clicked(bool)", self._onPoint)

    def setParameterNode(self, parameters: Any) -> None:
        """Follow this parameter node; which stages there are is read from the installed checkpoints."""
        try:
            self._cards = self._logic.checkpoints() if parameters else []
        except MedSegAttentionError as error:  # the list of checkpoints tells the user
            logger.debug("no attention stages: %s", error)
            self._cards = []
        if not parameters:
            self._ui.neighboursStatusLabel.text = ""
        super().setParameterNode(parameters)

    def setAvailable(self, available: bool) -> None:
        """Whether the worker process is free; else the buttons would wait for a whole run."""
        self._available = available
        self._update()

    def close(self) -> None:
        """Let go of everything; the widgets may be gone afterwards."""
        self._row, self._closed = None, True
        super().close()

    def _update(self, _caller: Any = None, _event: Any = None) -> None:
        ui, parameters = self._ui, self._parameters
        stages = self._stages() if parameters else {}
        entries = [(_("{stage} ({map})").format(stage=stage, map=title), stage) for stage, title in stages.items()]
        fill(ui.neighbourStageComboBox, entries, parameters.neighbourStage if parameters else "")
        ui.neighbourStageComboBox.enabled = bool(entries)
        possible = bool(entries) and self._subject()[0] is not None and self._available and not self._computing
        ui.rowAtCrosshairButton.enabled = possible
        ui.rowAtPointButton.enabled = possible and parameters.pointList is not None

    def _subject(self) -> tuple[Any, str, str | None]:
        """(volume, task, checkpoint): those of the chosen result, so that its rows explain it; else those to be run."""
        parameters, result = self._parameters, self._parameters.result
        if result is None:
            return parameters.inputVolume, parameters.task, parameters.checkpoint or None
        task = provenance_of(result).get("task") or parameters.task
        return source_volume(result), task, result.GetAttribute(CHECKPOINT_ATTRIBUTE) or None

    def _axis(self) -> str:
        """The axis that the chosen result's slices were cut along, or those of a run would be."""
        parameters = self._parameters
        settings = provenance_of(parameters.result).get("settings", {}) if parameters.result else {}
        return settings.get("axis", parameters.axis.value)

    def _stages(self) -> dict[str, str]:
        """Attention stage -> title of a map of it, of the checkpoint in question or of the defaults that may be it."""
        _volume, task, checkpoint = self._subject()
        chosen = [card for card in self._cards if card.id == checkpoint]
        cards = chosen if checkpoint else default_checkpoints(self._cards, task)
        stages: dict[str, str] = {}
        for what in (item for card in cards for item in card.attention):
            if what.has_rows:
                stages.setdefault(what.stage, what.title)
        return stages

    def _onStage(self, index: int) -> None:
        if self._parameters:
            self._parameters.neighbourStage = self._ui.neighbourStageComboBox.itemData(index)

    def _onCrosshair(self, _checked: bool = False) -> None:
        self._show(lambda: crosshair_position(slicer.mrmlScene))

    def _onPoint(self, _checked: bool = False) -> None:
        self._show(lambda: point_position(self._parameters.pointList))

    def _show(self, find: Callable[[], Position]) -> None:
        """Compute and show the row of a position; where it cannot be, say why."""
        if self._computing or not self._parameters:
            return
        self._computing, status = True, self._ui.neighboursStatusLabel.text
        self._setStatus(_("Looking for the neighbours..."))
        try:
            position = find()
            row = self._computeOrAsk(position) if self._ready(*self._subject()) else None
            if row is not None:
                self._keepAlone(row)
                jump_to(slicer.mrmlScene, position)  # the row is one slice: elsewhere there is nothing to see
                status = _("Shown: the neighbours of {position}.").format(position=_positionText(position))
        except Cancelled:  # the volume is gone, and the user knows
            logger.debug("no attention row", exc_info=True)
            status = ""
        except MedSegAttentionError as error:
            self._showError(str(error))
        except Exception as error:
            logger.exception("attention row failed")
            text = _("The neighbours could not be computed: {error}").format(error=error)
            self._showError(text, detailedText=traceback.format_exc())
        finally:
            self._computing = False
            self._setStatus(status)

    def _showError(self, text: str, **details: str) -> None:
        if not self._closed:  # else the worker ended with the module
            slicer.util.errorDisplay(text, **details)

    def _setStatus(self, text: str) -> None:
        if self._parameters:  # else the panel was left meanwhile, or closed
            self._ui.neighboursStatusLabel.text = text
            self._update()

    def _computeOrAsk(self, position: Position) -> Any:
        """The row; where the volume is not what the checkpoint was trained on, only if the user wants it, else None."""
        try:
            return self._compute(position)
        except ContractWarning as warning:
            question = _("{warning}\n\nShow the neighbours anyway?").format(warning=warning)
            if not slicer.util.confirmOkCancelDisplay(question, _("Outside of what the checkpoint was trained on")):
                return None
            return self._compute(position, force=True)

    def _compute(self, position: Position, force: bool = False) -> Any:
        if not self._parameters:  # left while the user was asked
            return None
        volume, task, checkpoint = self._subject()
        return self._logic.attentionRow(
            volume,
            position,
            task,
            self._ui.neighbourStageComboBox.itemData(self._ui.neighbourStageComboBox.currentIndex),
            checkpoint,
            device=self._parameters.device.value,
            axis=self._axis(),
            force=force,
            whileWaiting=slicer.app.processEvents,
        )

    def _keepAlone(self, row: Any) -> None:
        """Let the new row take the place of the one before, unless the user gave that a name of its own."""
        scene, (before, name) = slicer.mrmlScene, self._row or (None, "")
        if before is not None and scene.IsNodePresent(before) and before.GetName() == name:
            remove_overlay(scene, before)
        self._row = row, row.GetName()


def _positionText(position: Position) -> str:
    letters = (("L", "R"), ("P", "A"), ("I", "S"))
    parts = (f"{pair[value >= 0]} {abs(value):.1f}" for pair, value in zip(letters, position, strict=True))
    return ", ".join(parts) + " mm"
