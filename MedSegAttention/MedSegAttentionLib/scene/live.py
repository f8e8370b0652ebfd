"""A run in the background and the scene it belongs to: preview while it goes, the result at its end, or no trace."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import numpy as np
import slicer

from ..data.errors import Cancelled, UsageError
from ..data.result import RunProgress, RunStart, VolumeResult
from .nodes import unchanged_on_error
from .preview import Preview
from .writing import WrittenNodes, write_result

logger = logging.getLogger(__name__)

PREVIEW_SECONDS = 0.5
"""At least this long between two updates of the preview."""


class Run(Protocol):
    """What is needed of a run, see :class:`~..runner.background.BackgroundRun`."""

    started: RunStart | None
    done: list[int]
    labels: np.ndarray | None
    progress: RunProgress

    def poll(self) -> bool:
        """Take in news; whether the run still goes on."""

    def cancel(self, keep: bool = False) -> None:
        """Stop it."""

    def want(self, slices: list[int] | None) -> None:
        """Ask for slices, where it is live."""

    def result(self) -> VolumeResult:
        """What it gave, or the error it raised."""


class LiveRun:
    """Shows a run in the scene and writes its result there; a run that fails or is discarded leaves no trace.

    The run is discarded when the scene closes and when the volume leaves it. Call :meth:`poll` now and then.

    Args:
        scene: of the volume.
        volume_node: the image that is segmented.
        run: on ``volume_image(volume_node)``.
        show: show the result in the slice views.
        preview: show slices as they come.
        while_writing: makes a context for the one step that takes time, for instance a wait cursor.
        preview_seconds: at least so long between two updates of the preview.
        write: writes the result, in place of :func:`~.writing.write_result`.
    """

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        volume_node: slicer.vtkMRMLVolumeNode,
        run: Run,
        show: bool = True,
        preview: bool = True,
        while_writing: Callable[[], AbstractContextManager] = nullcontext,
        preview_seconds: float | None = None,
        write: Callable[[VolumeResult], WrittenNodes] | None = None,
    ) -> None:
        self._scene, self._volume_node, self._run = scene, volume_node, run
        self._show, self._wants_preview, self._while_writing = show, preview, while_writing
        self._write = write or self._write_result
        self._preview: Preview | None = None
        self._preview_seconds = preview_seconds
        self._updated = -PREVIEW_SECONDS
        self._busy = False
        self._outcome: tuple[WrittenNodes, VolumeResult] | Exception | None = None
        self._tags = [scene.AddObserver(scene.StartCloseEvent, self._on_scene_close)]

    @property
    def is_running(self) -> bool:
        """Whether there is no outcome yet."""
        return self._outcome is None

    @property
    def progress(self) -> RunProgress:
        """How far the run is."""
        return self._run.progress

    def poll(self) -> bool:
        """Bring the scene up to date; whether the run still goes on."""
        if self.is_running and not self._busy:
            if self._volume_node.GetScene() is not self._scene:
                self.discard("the volume left the scene during the run")
            elif self._run.poll():
                self._update_preview()
            else:
                self._finish()
        return self.is_running

    def want(self, slices: list[int] | None) -> None:
        """Ask a live run for slices, the last of them first; None for all that are left."""
        self._run.want(slices)

    def cancel(self, keep: bool = False) -> None:
        """Stop the run.

        Args:
            keep: write the finished slices as a partial result, at one of the next polls; else it is over at once.
        """
        if keep:
            self._run.cancel(keep=True)
        else:
            self.discard("the run was stopped")

    def discard(self, why: str) -> None:
        """Stop the run at once and leave no trace of it."""
        if self.is_running:
            self._run.cancel(keep=False)
            self._end(Cancelled(f"{why}; nothing was kept."))

    def result(self) -> tuple[WrittenNodes, VolumeResult]:
        """What was written, and what the run gave, once :meth:`poll` said that it has ended.

        Raises:
            UsageError: it still goes on.
            MedSegAttentionError: the run failed or was cancelled; the scene is as it was.
        """
        if self._outcome is None:
            raise UsageError("the run is not finished; poll until it is, then ask for its result.")
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def _update_preview(self) -> None:
        run, now = self._run, time.monotonic()
        least = PREVIEW_SECONDS if self._preview_seconds is None else self._preview_seconds
        if not self._wants_preview or run.labels is None or now - self._updated < least:
            return
        self._updated = now
        try:
            if self._preview is None:
                with unchanged_on_error(self._scene):
                    self._preview = Preview(self._scene, self._volume_node, run.started.classes, run.started.axis)
            self._preview.update(run.labels, run.done)
        except Exception:  # the image was replaced, for one: the end of the run says so, once
            logger.exception("no further preview of this run")
            self._wants_preview = False
            self._remove_preview()

    def _finish(self) -> None:
        self._busy = True  # a wait cursor lets events in, and with them another poll
        try:
            result = self._run.result()
            with self._while_writing():
                if self.is_running:  # still, after those events
                    self._remove_preview()
                    self._end((self._write(result), result))
        except Exception as error:
            self._end(error)
        finally:
            self._busy = False

    def _write_result(self, result: VolumeResult) -> WrittenNodes:
        return write_result(self._scene, result, self._volume_node, self._show)

    def _end(self, outcome: tuple[WrittenNodes, VolumeResult] | Exception) -> None:
        self._remove_preview()
        while self._tags:
            self._scene.RemoveObserver(self._tags.pop())
        self._outcome = outcome

    def _remove_preview(self) -> None:
        if self._preview:
            self._preview.remove()
            self._preview = None

    def _on_scene_close(self, _caller: object, _event: str) -> None:
        self.discard("the scene was closed during the run")
