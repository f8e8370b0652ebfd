"""Inference in a worker process: never blocks, never takes this process down with it."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..data.errors import RunError
from ..data.result import AttentionVolume, RunProgress, RunStart, VolumeResult
from ..data.volume import VolumeImage
from ..inference.settings import RunSettings
from . import exchange
from .background_run import BackgroundRun, Patience
from .process import END_SECONDS, WorkerKeeper

__all__ = ["BackgroundRun", "BackgroundRunner", "Patience", "RunSettings"]

logger = logging.getLogger(__name__)

WAIT_SECONDS = 0.01


class BackgroundRunner:
    """Runs volumes in a worker process that stays warm between them.

    Args:
        python: executable for the worker; None for the one this runs in.
        idle_seconds: after this time without a run the worker gives the network's memory back.
        patience: when a silent worker counts as hung.
        folder: where the temporary folder of each run is made; None for the system's.
    """

    def __init__(
        self,
        python: str | Path | None = None,
        idle_seconds: float = 60.0,
        patience: Patience = Patience(),  # noqa: B008 - frozen
        folder: Path | None = None,
    ) -> None:
        self.keeper = WorkerKeeper(python, idle_seconds)
        self.patience, self.folder = patience, folder
        self._latest: Callable[[], BackgroundRun | None] = lambda: None
        self._finalizer = weakref.finalize(self, self.keeper.close)

    def start(
        self,
        volume: VolumeImage,
        *,
        task: str | None = None,
        checkpoint: str | Path | None = None,
        settings: RunSettings = RunSettings(),  # noqa: B008 - frozen
        live: bool = False,
    ) -> BackgroundRun:
        """Segment ``volume`` in the background; a run that is under way is waited for. Returns at once.

        Args:
            volume: see :func:`~.in_process.run`, as are the others; its voxels must not change before the first slice.
            task: what to segment.
            checkpoint: ID or folder.
            settings: choices of the run.
            live: do only the slices that the run is asked for, until it is asked for the rest.
        """
        run = BackgroundRun(self, volume, task, checkpoint, settings, live=live)
        self._latest = weakref.ref(run)  # a run keeps its runner alive, not the other way round
        return run

    def warm_up(self, checkpoint: Path | None = None) -> threading.Thread:
        """Start the worker, and load a checkpoint, before anybody waits for it. Returns at once.

        A worker that is used already is left alone, and what goes wrong is told by the run to come.
        """
        thread = threading.Thread(target=self._warm_up, args=(checkpoint,), daemon=True, name="MedSegAttention start")
        thread.start()
        return thread

    def _warm_up(self, checkpoint: Path | None) -> None:
        if not self.keeper.in_use.acquire(blocking=False):
            return
        try:
            worker = self.keeper.worker()
            if checkpoint:
                worker.send(exchange.load_request(checkpoint))
        except RunError as error:
            logger.debug("no worker yet: %s", error)
        finally:
            self.keeper.in_use.release()

    def run(
        self,
        volume: VolumeImage,
        *,
        task: str | None = None,
        checkpoint: str | Path | None = None,
        settings: RunSettings = RunSettings(),  # noqa: B008 - frozen
        on_slice: Callable[[RunProgress], None] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        on_cancel: str = "discard",
        on_start: Callable[[RunStart], None] | None = None,
        while_waiting: Callable[[], None] = lambda: None,
    ) -> VolumeResult:
        """Segment ``volume`` in the worker and wait for it; ``while_waiting`` is called all the time.

        Args:
            volume: see :func:`~.in_process.run`, as are all but the last.
            task: what to segment.
            checkpoint: ID or folder.
            settings: choices of the run.
            on_slice: called with how far the run is, when that changed.
            is_cancelled: asked all the time.
            on_cancel: ``discard`` or ``keep``.
            on_start: called once, when the volume is accepted and the network loaded.
            while_waiting: keeps the application alive.
        """
        run, told = self.start(volume, task=task, checkpoint=checkpoint, settings=settings), 0

        def tell() -> None:
            nonlocal told, on_start
            if on_start and run.started:
                on_start(run.started)
                on_start = None
            if on_slice and run.finished > told:
                told = run.finished
                on_slice(run.progress)
            while_waiting()

        return _result_of(run, is_cancelled, on_cancel == "keep", tell)

    def attention_row(
        self,
        volume: VolumeImage,
        ras: tuple[float, float, float],
        *,
        task: str | None = None,
        checkpoint: str | Path | None = None,
        map: str = "stage4",  # noqa: A002 - the name users' scripts rely on
        settings: RunSettings = RunSettings(),  # noqa: B008 - frozen
        is_cancelled: Callable[[], bool] | None = None,
        while_waiting: Callable[[], None] = lambda: None,
    ) -> tuple[AttentionVolume, dict[str, Any]]:
        """Compute the attention of one position in the worker and wait for it.

        Args:
            volume: see :func:`~.in_process.attention_row`, as are all but the last two.
            ras: the position.
            task: what to segment.
            checkpoint: ID or folder.
            map: attention stage, or the name of a map of it.
            settings: choices of the run.
            is_cancelled: asked all the time.
            while_waiting: keeps the application alive.
        """
        run = BackgroundRun(self, volume, task, checkpoint, settings, (ras, map))
        return _result_of(run, is_cancelled, False, while_waiting)

    def close(self) -> None:
        """End the worker for good; a run that is under way fails, and its temporary folder is removed."""
        self._finalizer()
        if run := self._latest():
            run.join(END_SECONDS)


def _result_of(
    run: BackgroundRun, is_cancelled: Callable[[], bool] | None, keep: bool, while_waiting: Callable[[], None]
) -> Any:
    """Wait for ``run``; whatever a callback raises stops it, so that the worker is free again."""
    try:
        while run.poll():
            if is_cancelled and is_cancelled():
                run.cancel(keep=keep)
            while_waiting()
            time.sleep(WAIT_SECONDS)
    except BaseException:
        run.cancel()
        raise
    return run.result()
