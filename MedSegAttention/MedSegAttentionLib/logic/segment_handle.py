"""What ``MedSegAttentionLogic.segment`` returns: a result, or the handle of a run in the background."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..data.result import RunProgress


@dataclass(frozen=True)
class SegmentResult:
    """What a run left in the scene.

    Attributes:
        segmentationNode: ``vtkMRMLSegmentationNode`` with a segment for each class found.
        attentionNodes: map name -> ``vtkMRMLScalarVolumeNode``, raw values.
        provenance: checkpoint, SHA-256, versions, device, seconds by stage, settings, warnings.
    """

    segmentationNode: Any
    attentionNodes: dict[str, Any]
    provenance: dict[str, Any]


class SegmentHandle:
    """A segmentation in the background: what ``segment(wait=False)`` returns.

    In Slicer the event loop calls :meth:`poll`; without Qt the caller does.
    """

    POLL_MILLISECONDS = 50

    def __init__(
        self,
        live: Any,
        progressCallback: Callable[[RunProgress], None] | None,
        finishedCallback: Callable[[SegmentHandle], None] | None,
        isCancelled: Callable[[], bool] | None,
        onCancel: str,
        pollMilliseconds: int = POLL_MILLISECONDS,
    ) -> None:
        """Args: live: a ``scene.live.LiveRun``; all but the last are those of ``MedSegAttentionLogic.segment``."""
        self._pollMilliseconds = pollMilliseconds
        self._live = live
        self._progressCallback, self._finishedCallback = progressCallback, finishedCallback
        self._isCancelled, self._onCancel = isCancelled, onCancel
        self._shown = RunProgress(0, 0)
        self._finished = False
        self._schedule()

    @property
    def isRunning(self) -> bool:
        """Whether there is no outcome yet."""
        return self._live.is_running

    @property
    def progress(self) -> RunProgress:
        """Finished slices, their number, seconds left."""
        return self._live.progress

    def poll(self) -> bool:
        """Bring the scene up to date and call the callbacks; whether the run still goes on."""
        if self._live.is_running:
            if self._isCancelled and self._isCancelled():
                self.cancel(keep=self._onCancel == "keep")
            self._live.poll()
            self._tell()
        if not self._live.is_running:
            self._finish()
        return self._live.is_running

    def cancel(self, keep: bool = False) -> None:
        """Stop; ``keep`` writes the finished slices at one of the next polls, else it is over at once, no trace."""
        self._live.cancel(keep)
        if not self._live.is_running:
            self._finish()

    def want(self, slices: list[int] | None) -> None:
        """Ask a live run for slices, numbers from 0, the last of them first; None for all that are left."""
        self._live.want(slices)

    def result(self) -> SegmentResult:
        """What was written; waits for it where the run still goes on.

        Raises:
            MedSegAttentionError: the run failed or was cancelled; the scene is as it was.
        """
        while self.poll():
            time.sleep(0.02)
        written, result = self._live.result()
        return SegmentResult(written.segmentation, written.attention, result.provenance)

    def _tell(self) -> None:
        progress = self._live.progress
        if self._progressCallback and (progress.finished, progress.count) != (self._shown.finished, self._shown.count):
            self._shown = progress
            self._progressCallback(progress)

    def _finish(self) -> None:
        """Say so, once."""
        if not self._finished:
            self._finished = True
            if self._finishedCallback:
                self._finishedCallback(self)

    def _schedule(self) -> None:
        """Let Qt, where it is, come back soon; single shots leave no timer that would hold this object."""
        try:
            import qt
        except ImportError:
            return
        qt.QTimer.singleShot(self._pollMilliseconds, self._onTime)

    def _onTime(self) -> None:
        try:
            self.poll()
        finally:
            if not self._finished:
                self._schedule()
