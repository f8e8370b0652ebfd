"""Segmenting a volume, waiting or in the background, and the attention of one position."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import slicer

from ..checkpoints.catalogue import find_checkpoint
from ..data.errors import Cancelled, UsageError
from ..data.result import RunProgress, SliceResult
from ..inference.settings import RunSettings
from ..scene.live import LiveRun
from ..scene.nodes import unchanged_on_error
from ..scene.overlays import show_overlay, write_attention
from ..scene.positions import position_in_image
from ..scene.regions import box_of
from ..scene.volumes import active_volume, input_image
from ..scene.writing import write_result
from ..setup import dependencies
from .segment_handle import SegmentHandle, SegmentResult

IDLE_SETTING, IDLE_SECONDS = "MedSegAttention/WorkerIdleSeconds", 60.0
"""Of the user's settings: after so long without a run the worker process gives its memory back."""
LIVE_SECONDS, LIVE_MILLISECONDS = 0.04, 15
"""Between two updates of the preview of a live run, which somebody waits for; between two looks at it."""


class RunLogic:
    """Part of ``MedSegAttentionLogic``."""

    def __init__(self, runner: Any = None, background: Any = None) -> None:
        """Both are loaded when needed.

        Args:
            runner: what runs inference while the caller waits; None for ``MedSegAttentionLib.runner.in_process``.
            background: what runs it otherwise; None for a ``MedSegAttentionLib.runner.background.BackgroundRunner``.
        """
        self._runner, self._background = runner, background

    def close(self) -> None:
        """End the worker process, if there is one; the next run in the background starts another."""
        if self._background:
            self._background.close()
            self._background = None

    def activeVolume(self) -> Any:
        """Background volume of the Red slice view, else the only volume; ``InputError`` when that leaves a choice."""
        return active_volume(slicer.mrmlScene)

    def segment(
        self,
        volumeNode: Any = None,
        task: str = "prostate",
        checkpoint: str | Path | None = None,
        device: str = "auto",
        attention: bool | tuple[str, ...] = True,
        wait: bool = True,
        *,
        attentionGrid: str = "native",
        axis: str = "auto",
        batchSize: int | None = None,
        force: bool = False,
        testTimeFlips: bool = False,
        slices: tuple[int, int] | None = None,
        region: Any = None,
        leftOut: tuple[str, ...] = (),
        live: bool = False,
        progressCallback: Callable[[SliceResult], None] | Callable[[RunProgress], None] | None = None,
        finishedCallback: Callable[[SegmentHandle], None] | None = None,
        isCancelled: Callable[[], bool] | None = None,
        onCancel: str = "discard",
        show: bool = True,
    ) -> SegmentResult | SegmentHandle:
        """Segment a volume and put segmentation and attention maps into the scene.

        Args:
            volumeNode: scalar or colour volume; None for the active volume.
            task: ``prostate``, ``skin``, ``polyp``, ``abdomen``, or the task of a checkpoint that was added.
            checkpoint: ID or folder; None lets task and volume decide.
            device: ``auto``, ``cuda``, ``mps`` or ``cpu``.
            attention: all maps of the checkpoint, none, or the names of some.
            wait: return when all is done; False returns a handle at once: the run goes on in a worker process, shown
                in the scene as it goes, and the scene is written from Slicer's event loop (or the handle's ``poll``).
            attentionGrid: ``native`` keeps each map's own grid, ``input`` resamples it to that of the volume.
            axis: ``auto``, ``i``, ``j`` or ``k``: index axis that slices are cut along.
            batchSize: slices at once; None lets the device decide.
            force: run although the volume lies outside of what the checkpoint was trained on.
            testTimeFlips: average over each slice and the mirror images that the checkpoint's card allows.
            slices: (first, last) slice to segment, from 0; None for all.
            region: ``vtkMRMLMarkupsROINode``: only what lies in it is segmented; None for all.
            leftOut: names of classes that are not made.
            live: do the slices alone that the handle's ``want`` asks for, until it asks for the rest; only without
                waiting.
            progressCallback: called with each finished slice; without waiting with the ``RunProgress`` at each change.
            finishedCallback: called with the handle, once, when it has an outcome; only without waiting.
            isCancelled: asked after each slice.
            onCancel: ``discard`` raises ``Cancelled``, ``keep`` keeps the finished slices.
            show: show the result in the slice views.

        Raises:
            MedSegAttentionError: see ``MedSegAttentionLib.data.errors``; the scene is then as it was. Without waiting
                most of them are raised by the handle's ``result``.
        """
        scene = slicer.mrmlScene
        volumeNode = self.activeVolume() if volumeNode is None else volumeNode
        check_on_cancel(onCancel)
        settings = replace(
            run_settings(device, attention, attentionGrid, axis, batchSize, force, testTimeFlips),
            slices=slices,
            box=box_of(region, volumeNode) if region else None,
            left_out=tuple(leftOut),
        )
        what = {"task": task, "checkpoint": checkpoint, "settings": settings}
        if not wait:
            run = self._backgroundRunner().start(input_image(volumeNode), **what, live=live)
            often = {"preview_seconds": LIVE_SECONDS} if live else {}
            shown = LiveRun(scene, volumeNode, run, show, preview=show, while_writing=slicer.util.WaitCursor, **often)
            often = {"pollMilliseconds": LIVE_MILLISECONDS} if live else {}
            return SegmentHandle(shown, progressCallback, finishedCallback, isCancelled, onCancel, **often)
        result = self._inference().run(
            input_image(volumeNode),
            **what,
            on_slice=progressCallback,
            is_cancelled=isCancelled,
            on_cancel=onCancel,
        )
        if volumeNode.GetScene() is not scene:
            raise Cancelled(f"volume '{result.name}' left the scene during the run; nothing was written.")
        written = write_result(scene, result, volumeNode, show=show)
        return SegmentResult(written.segmentation, written.attention, result.provenance)

    def warmUp(self, checkpoint: str | None = None) -> None:
        """Start the worker process before anybody waits for it, and let it load a checkpoint; returns at once.

        Where packages are missing nothing happens, and nothing is said: a run will.
        """
        if self._background is None and dependencies.missing_packages():
            return
        self._backgroundRunner().warm_up(find_checkpoint(checkpoint) if checkpoint else None)

    def attentionRow(
        self,
        volumeNode: Any,
        ras: tuple[float, float, float],
        task: str | None = None,
        map: str = "stage4",  # noqa: A002 - the name users' scripts rely on
        checkpoint: str | Path | None = None,
        device: str = "auto",
        force: bool = False,
        show: bool = True,
        axis: str = "auto",
        whileWaiting: Callable[[], None] | None = None,
    ) -> Any:
        """Where the network looks from one position of a volume: one attention map as a volume of one slice.

        Args:
            volumeNode: as in :meth:`segment`.
            ras: the position in the world, mm.
            task: as in :meth:`segment`; may be None when ``checkpoint`` is given.
            map: attention stage (``stage4``, ``bottleneck``) or the name of one of its maps.
            checkpoint: as in :meth:`segment`.
            device: as in :meth:`segment`.
            force: as in :meth:`segment`.
            show: show it over the volume.
            axis: as in :meth:`segment`.
            whileWaiting: called all the time while a worker process computes it; None computes it in this one.

        Returns:
            ``vtkMRMLScalarVolumeNode`` with raw values.
        """
        scene = slicer.mrmlScene
        volumeNode = self.activeVolume() if volumeNode is None else volumeNode
        settings = RunSettings(device=device, axis=axis, force=force)
        image = input_image(volumeNode)
        position = position_in_image(volumeNode, ras)
        if whileWaiting is None:
            compute = self._inference().attention_row
        else:
            waiting = {"while_waiting": whileWaiting, "is_cancelled": lambda: volumeNode.GetScene() is not scene}
            compute = partial(self._backgroundRunner().attention_row, **waiting)
        row, provenance = compute(image, position, task=task, checkpoint=checkpoint, map=map, settings=settings)
        if volumeNode.GetScene() is not scene:
            raise Cancelled(f"volume '{image.name}' left the scene meanwhile; nothing was written.")
        with unchanged_on_error(scene):
            node = write_attention(scene, row, volumeNode, provenance, image.ijk_to_ras)
            if show:
                show_overlay(scene, node, volumeNode)
        return node

    def _inference(self) -> Any:
        """The module that runs inference; ``DependencyError`` says how to install what it needs."""
        if self._runner is None:
            dependencies.require()
            from MedSegAttentionLib.runner import in_process

            self._runner = in_process
        return self._runner

    def _backgroundRunner(self) -> Any:
        """What runs inference in the background; ``DependencyError`` as above. Nothing is imported into Slicer."""
        if self._background is None:
            dependencies.require()
            from MedSegAttentionLib.runner.background import BackgroundRunner

            idle = slicer.util.settingsValue(IDLE_SETTING, IDLE_SECONDS, converter=float)
            self._background = BackgroundRunner(shutil.which("PythonSlicer"), idle_seconds=idle)
        return self._background


def check_on_cancel(onCancel: str) -> None:
    """Raise ``UsageError`` unless ``onCancel`` is ``discard`` or ``keep``."""
    if onCancel not in ("discard", "keep"):
        raise UsageError(f"onCancel '{onCancel}' is not known; expected discard or keep.")


def run_settings(
    device: str,
    attention: bool | str | tuple[str, ...],
    attentionGrid: str = "native",
    axis: str = "auto",
    batchSize: int | None = None,
    force: bool = False,
    testTimeFlips: bool = False,
) -> RunSettings:
    """The choices of ``MedSegAttentionLogic.segment`` as inference takes them; one map by itself is a list of one."""
    if not isinstance(attention, bool):
        attention = (attention,) if isinstance(attention, str) else tuple(attention)
    return RunSettings(device, batchSize, attention, attentionGrid, axis, force, testTimeFlips)
