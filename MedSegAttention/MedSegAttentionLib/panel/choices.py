"""What the user chooses in the panel: its fixed lists, and the choices as the logic takes them.

A value is what the logic takes, a label what the user reads.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from slicer.i18n import tr as _

from ..data.card import UNCERTAINTY, Card, probability_map


class Device(Enum):
    """Where the network runs."""

    AUTO = "auto"
    CUDA = "cuda"
    MPS = "mps"
    CPU = "cpu"

    def label(self) -> str:
        """Translated name; Slicer's parameter node fills the list with it."""
        return {"auto": _("Automatic"), "cuda": _("CUDA"), "mps": _("MPS"), "cpu": _("CPU")}[self.value]


class Axis(Enum):
    """Which index axis of the volume slices are cut along."""

    AUTO = "auto"
    I = "i"  # noqa: E741 - the axis' name
    J = "j"
    K = "k"

    def label(self) -> str:
        """Translated name; Slicer's parameter node fills the list with it."""
        return _("Automatic") if self is Axis.AUTO else _("Axis {name}").format(name=self.value)


def choicesOf(parameters: Any) -> dict[str, Any]:
    """The parameter node's choices as keywords of ``segment``, ``segmentBatch`` and ``segmentSequence``."""
    return {
        "task": parameters.task,
        "checkpoint": parameters.checkpoint or None,
        "device": parameters.device.value,
        "axis": parameters.axis.value,
        "attention": parameters.showAttention,
        "testTimeFlips": parameters.testTimeFlips,
    }


def sliceRange(parameters: Any) -> tuple[int, int] | None:
    """(first, last) slice to segment, from 0; None for all."""
    first, _to, last = parameters.slices.partition("-")
    return (int(first) - 1, int(last) - 1) if first.isdecimal() and last.isdecimal() else None


def leftOut(parameters: Any) -> list[str]:
    """Names of the classes that are not made."""
    return [name for name in parameters.leftOut.split(",") if name]


def limitsOf(parameters: Any, card: Card) -> dict[str, Any]:
    """What of the image is segmented, as keywords of ``segment``; classes that the checkpoint lacks are not named."""
    known = [label.name for label in card.labels]
    return {
        "slices": sliceRange(parameters),
        "region": parameters.region,
        "leftOut": tuple(name for name in leftOut(parameters) if name in known),
    }


def mapsOf(parameters: Any, card: Card) -> dict[str, Any]:
    """Which maps a run gives, as a keyword of ``segment``: the usual ones, and the probability that was asked for."""
    asked = [probability_map(label).name for label in card.labels if label.name == parameters.probabilityOf]
    if not asked:
        return {"attention": parameters.showAttention}
    usual = (UNCERTAINTY, *card.attention) if parameters.showAttention else ()
    return {"attention": (*(item.name for item in usual), *asked)}
