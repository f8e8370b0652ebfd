"""What to choose instead where an image would be cut into slices that the network does not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..data.card import Card
from ..data.errors import MedSegAttentionError
from .choices import Axis
from .section import Section


class AdviceSection(Section):
    """Serves ``adviceWidget``, which is seen only where there is something to say."""

    def __init__(self, ui: Any, logic: Any, candidates: Callable[[], list[Card]]) -> None:
        """Args: ui: the widgets by name; logic: advises; candidates: the checkpoints that may run."""
        super().__init__(ui)
        self._logic, self._candidates = logic, candidates
        self._better: Any = None
        self._connect(ui.adviceButton, "clicked(bool)", self._onFollow)
        ui.adviceWidget.visible = False

    def show(self) -> None:
        """The checkpoints that may run have changed."""
        self._update()

    def _update(self, _caller: Any = None, _event: Any = None) -> None:
        text, self._better = self._advice()
        self._ui.adviceLabel.text = text
        self._ui.adviceWidget.visible = bool(text)
        self._ui.adviceButton.visible = self._better is not None
        if self._better == Axis.AUTO.value:
            self._ui.adviceButton.text = _("Cut automatically")
        elif self._better is not None:
            self._ui.adviceButton.text = _("Use {name}").format(name=_short(self._better.GetName()))
            self._ui.adviceButton.toolTip = _("Choose {name} as input").format(name=self._better.GetName())

    def _advice(self) -> tuple[str, Any]:
        card, parameters = next(iter(self._candidates()), None), self._parameters
        if card is None or parameters is None or parameters.inputVolume is None:
            return "", None
        try:
            return self._logic.sliceAdvice(parameters.inputVolume, card, parameters.axis.value)
        except MedSegAttentionError:  # Apply says what is wrong with the image
            return "", None

    def _onFollow(self, _checked: bool = False) -> None:
        if self._parameters and self._better == Axis.AUTO.value:
            self._parameters.axis = Axis.AUTO
        elif self._parameters and self._better is not None and self._better.GetScene() is not None:
            self._parameters.inputVolume = self._better


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}…"
