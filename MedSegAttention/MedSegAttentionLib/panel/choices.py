"""What the user chooses in the panel: its fixed lists, and the choices as the logic takes them.

A value is what the logic takes, a label what the user reads.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from slicer.i18n import tr as _


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
