"""The installed checkpoints, and one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

from ..checkpoints.adding import add_checkpoint, remove_checkpoint
from ..checkpoints.card_file import read_card
from ..checkpoints.catalogue import (
    choose_checkpoint,
    find_checkpoint,
    licence_text,
    list_checkpoints,
    user_checkpoints,
    user_folder,
)
from ..data.card import Card
from ..inference.slicing import plan_slices
from ..scene.volumes import input_volumes, lie_together, volume_image
from ..setup import timing


class CheckpointLogic:
    """Part of ``MedSegAttentionLogic``."""

    def checkpoints(self) -> list[Card]:
        """Cards of all installed checkpoints."""
        return list_checkpoints()

    def userCheckpoints(self) -> list[str]:
        """IDs of the checkpoints that the user added."""
        return user_checkpoints()

    def checkpointsFolder(self) -> Path:
        """Where the user's checkpoints are; made when missing."""
        user_folder().mkdir(parents=True, exist_ok=True)
        return user_folder()

    def addCheckpoint(self, source: str | Path, onBytes: Callable[[int, int | None], None] | None = None) -> Card:
        """Check a checkpoint (folder, zip file, https or file URL) and add it to the user's."""
        return add_checkpoint(source, on_bytes=onBytes)

    def removeCheckpoint(self, checkpointId: str) -> None:
        """Delete one of the user's checkpoints."""
        remove_checkpoint(checkpointId)

    def checkpointFor(self, volumeNode: Any, task: str, checkpoint: str | None = None) -> Card:
        """The checkpoint that :meth:`segment` would run."""
        return read_card(choose_checkpoint(task, volume_image(volumeNode), checkpoint))

    def licence(self, checkpointId: str) -> str:
        """Full text of the licence of a checkpoint."""
        return licence_text(find_checkpoint(checkpointId))

    def sliceCount(self, volumeNode: Any, card: Card, axis: str = "auto") -> int:
        """How many slices of a volume a checkpoint would segment, cut along ``axis`` (see :meth:`segment`)."""
        return plan_slices(volume_image(volumeNode), card.orientation, axis).shape[0]

    def sliceAxis(self, volumeNode: Any, card: Card, axis: str = "auto") -> int:
        """0, 1 or 2 for i, j or k: the axis of a volume that a checkpoint's slices would be cut along."""
        return plan_slices(volume_image(volumeNode), card.orientation, axis).axes[0]

    def sliceAdvice(self, volumeNode: Any, card: Card, axis: str = "auto") -> tuple[str, Any]:
        """What speaks against cutting a volume so, and what to choose instead.

        Returns:
            A sentence, empty where all is well; and ``"auto"`` for the axis, or a volume of the scene of the same place
            that was acquired in the slices that the checkpoint knows, or None.
        """
        warning = plan_slices(volume_image(volumeNode), card.orientation, axis).warning
        if warning is None:
            return "", None
        if axis != "auto":
            return warning, "auto"
        for other in input_volumes(slicer.mrmlScene):
            if other is not volumeNode and lie_together(other, volumeNode):
                image = volume_image(other)
                fits = image.channels == card.in_channels
                if fits and 1 not in image.size and plan_slices(image, card.orientation).warning is None:
                    return warning, other
        return warning, None

    def secondsPerSlice(self, checkpointId: str, device: str = "auto") -> float:
        """Measured on three slices of noise, in another process; takes seconds."""
        return timing.seconds_per_slice(checkpointId, device)
