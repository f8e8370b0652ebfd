"""How long a volume takes on this machine: measured on three slices when asked, and by every finished run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..data.card import Card
from ..data.errors import MedSegAttentionError
from .waiting import inBackground

KEY = "MedSegAttention/SecondsPerSlice/{checkpoint}@{version}/{device}"
"""Of the user's settings: times stay known for each checkpoint and device."""


class ExpectedTime:
    """Serves ``estimateTimeButton`` and the line of the model card."""

    def __init__(
        self,
        ui: Any,
        logic: Any,
        parameterNode: Callable[[], Any],
        candidates: Callable[[], list[Card]],
        ready: Callable[[], bool],
        onMeasured: Callable[[], None],
    ) -> None:
        """Take the button.

        Args:
            ui: the widgets by name.
            logic: measures.
            parameterNode: gives the present one, or None.
            candidates: gives the checkpoints to measure.
            ready: whether they can run; may ask the user.
            onMeasured: called when a time became known.
        """
        self._button, self._logic = ui.estimateTimeButton, logic
        self._parameterNode, self._candidates, self._onMeasured = parameterNode, candidates, onMeasured
        self._ready, self._closed = ready, False
        self._button.connect("clicked(bool)", self.onEstimateButton)

    def close(self) -> None:
        """Stop listening to the button."""
        self._closed = True
        self._button.disconnect("clicked(bool)", self.onEstimateButton)

    def text(self, card: Card) -> str:
        """How long the chosen volume takes with this checkpoint on the chosen device; empty when not known."""
        parameters = self._parameterNode()
        if not parameters:
            return ""
        key = KEY.format(checkpoint=card.id, version=card.version, device=parameters.device.value)
        seconds = slicer.util.settingsValue(key, 0.0, converter=float)
        if not seconds:
            return ""
        if parameters.testTimeFlips:
            seconds *= card.passes_with_flips
        count = self._sliceCount(parameters, card)
        if not count:
            return _("about {seconds} a slice").format(seconds=_duration(seconds))
        return _("about {seconds} for this volume of {count} slices").format(
            seconds=_duration(seconds * count), count=count
        )

    def _sliceCount(self, parameters: Any, card: Card) -> int:
        volume = parameters.inputVolume
        try:
            return self._logic.sliceCount(volume, card, parameters.axis.value) if volume else 0
        except MedSegAttentionError:  # Apply says what is wrong with the volume
            return 0

    def remember(self, provenance: dict[str, Any]) -> None:
        """Take over what a finished run needed; one with test-time flips would not do for those without."""
        seconds, (done, _count) = provenance.get("seconds", {}), provenance.get("slices", (0, 0))
        if done and "network" in seconds and not provenance["settings"].get("test_time_flips"):
            each = (seconds["network"] + seconds.get("slices", 0)) / done
            device = provenance["settings"]["device"]
            self._store(provenance["checkpoint"], provenance["checkpoint_version"], device, each)
            self._onMeasured()

    def onEstimateButton(self, _checked: bool = False) -> None:
        """Measure; the window stays alive meanwhile."""
        parameters = self._parameterNode()
        if not parameters:
            return
        try:
            if self._ready():
                self._measure(parameters.device.value)
        except MedSegAttentionError as error:
            slicer.util.errorDisplay(str(error))

    def _measure(self, device: str) -> None:
        self._button.enabled, self._button.text = False, _("Measuring...")
        try:
            for card in self._candidates():
                seconds = inBackground(lambda name=card.id: self._logic.secondsPerSlice(name, device))
                self._store(card.id, card.version, device, seconds)
        finally:
            if not self._closed:
                self._button.enabled, self._button.text = True, _("Estimate time")
                self._onMeasured()

    def _store(self, checkpoint: str, version: str, device: str, seconds: float) -> None:
        qt.QSettings().setValue(KEY.format(checkpoint=checkpoint, version=version, device=device), round(seconds, 4))


def _duration(seconds: float) -> str:
    if seconds < 1:
        return _("{seconds} s").format(seconds=f"{seconds:.2g}")
    if seconds < 90:
        return _("{seconds} s").format(seconds=round(seconds))
    return _("{minutes} min").format(minutes=round(seconds / 60))
