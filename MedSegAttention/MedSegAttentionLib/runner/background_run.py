"""One run in the worker process, and the thread that talks to the worker."""

from __future__ import annotations

import logging
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..checkpoints.catalogue import choose_checkpoint
from ..data.errors import Cancelled, RunError, UsageError
from ..data.result import AttentionVolume, RunProgress, RunStart, VolumeResult
from ..data.volume import VolumeImage
from ..inference.settings import RunSettings
from . import exchange
from .process import WorkerKeeper, WorkerProcess

logger = logging.getLogger(__name__)

FOLDER_PREFIX = "MedSegAttention-run-"
TICK_SECONDS = 0.25
Outcome = VolumeResult | tuple[AttentionVolume, dict[str, Any]] | Exception


@dataclass(frozen=True)
class Patience:
    """How long a worker may say nothing before it counts as hung.

    Attributes:
        silence: seconds while a run goes on; loading torch or one slice on a slow CPU must fit.
        stop: seconds once the user has discarded the run.
    """

    silence: float = 300.0
    stop: float = 10.0


class Runner(Protocol):
    """What a run needs of its :class:`~.background.BackgroundRunner`."""

    keeper: WorkerKeeper
    patience: Patience
    folder: Path | None


class BackgroundRun:
    """A run under way, or the attention of a position. All methods return at once; call :meth:`poll` now and then.

    A thread of its own does what takes time: copying the voxels, starting the worker, listening to it. Between polls
    it may stand still, since Slicer's event loop holds Python's lock.

    Attributes:
        started: what the run does, once the worker has loaded the network.
        done: numbers of the finished slices, in the order they came.
        labels: ``[K, J, I]`` uint8, read only: what the worker has written so far; None before the start and after the
            end. Use it at once and keep no reference: files that are mapped cannot be removed on Windows.
    """

    def __init__(
        self,
        runner: Runner,
        volume: VolumeImage,
        task: str | None,
        checkpoint: str | Path | None,
        settings: RunSettings,
        position: tuple[tuple[float, float, float], str] | None = None,
        live: bool = False,
    ) -> None:
        """Start.

        Args:
            runner: whose worker is used.
            volume: as there, as are task, checkpoint and settings.
            task: what to segment.
            checkpoint: ID or folder.
            settings: choices of the run.
            position: ``(ras, map)`` of a row of attention, None for a segmentation.
            live: do the slices that :meth:`want` asks for, until it asks for the rest.
        """
        self.started: RunStart | None = None
        self.done: list[int] = []
        self.labels: np.ndarray | None = None
        self._runner = runner  # lives as long as its runs: its end is the end of the worker
        self._task, self._checkpoint, self._settings, self._position = task, checkpoint, settings, position
        self._news: queue.Queue[Any] = queue.Queue()
        self._cancelled: str | None = None
        self._live, self._wanted = live, [] if live else None
        self._worker: WorkerProcess | None = None
        self._run_folder: Path | None = None
        self._outcome: Outcome | None = None
        self._first_slices: tuple[int, float] | None = None
        self._thread = threading.Thread(target=self._work, args=(volume,), daemon=True, name="MedSegAttention run")
        self._thread.start()

    @property
    def finished(self) -> int:
        """Number of finished slices."""
        return len(self.done)

    def want(self, slices: list[int] | None) -> None:
        """Ask a live run for slices, the last of them first; None asks for all that are left, and for the result."""
        request = exchange.want_request(slices)
        self._wanted.append(request)  # for a worker that is still to be started; asking twice does no harm
        if worker := self._worker:
            worker.send(request)

    @property
    def count(self) -> int:
        """Number of slices, 0 before the start."""
        return self.started.count if self.started else 0

    @property
    def is_running(self) -> bool:
        """Whether the outcome is still open."""
        return self._outcome is None

    @property
    def progress(self) -> RunProgress:
        """How far it is; the time left is measured from the first finished slices on, which pay for warming up."""
        left = None
        if self._first_slices and self.finished > self._first_slices[0]:
            done, since = self._first_slices
            left = (time.monotonic() - since) / (self.finished - done) * (self.count - self.finished)
        return RunProgress(self.finished, self.count, left)

    def poll(self) -> bool:
        """Take in what happened since the last call; whether the run still goes on."""
        time.sleep(0.001)  # lets this run's threads have Python's lock, which Slicer's event loop does not give up
        while self.is_running:
            try:
                kind, news = self._news.get_nowait()
            except queue.Empty:
                break
            self._take(kind, news)
        return self.is_running

    def cancel(self, keep: bool = False) -> None:
        """Stop after the slice the worker is at.

        Args:
            keep: end with the finished slices as a partial result (one at least), which takes a moment; else the run is
                over at once.
        """
        if not self.is_running or self._cancelled == "discard":
            return
        self._cancelled = "keep" if keep else "discard"
        if worker := self._worker:  # which the thread may let go of at any moment
            worker.send(self._cancel_request())
        if not keep:
            self._end(Cancelled(f"stopped after {self.finished} of {self.count or 'all'} slices; nothing was kept."))

    def result(self) -> Any:
        """What the run gave: a ``VolumeResult``, or the row of attention and its provenance.

        Raises:
            UsageError: it still goes on.
            MedSegAttentionError: it failed or was cancelled, see :mod:`~..data.errors`.
        """
        if self._outcome is None:
            raise UsageError("the run is not finished; poll until it is, then ask for its result.")
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the run's thread, which outlives a discarded run until the worker has stopped; whether it ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _take(self, kind: str, news: Any) -> None:
        if kind == "started":
            self.started, self.labels = news
        elif kind == "slice":
            self.done.append(news)
            self._first_slices = self._first_slices or (self.finished, time.monotonic())
        else:
            self._end(news)
            self._remove_folder()  # the thread could not where a file was still mapped (Windows)

    def _end(self, outcome: Outcome) -> None:
        self._outcome, self.labels = outcome, None

    # What follows runs in the thread.

    def _work(self, volume: VolumeImage) -> None:
        try:
            outcome: Any = self._run(volume)
        except Exception as error:
            logger.debug("run failed", exc_info=True)
            outcome = error.with_traceback(None)  # which would keep the voxels in memory
        self._remove_folder()
        self._news.put(("end", outcome))

    def _run(self, volume: VolumeImage) -> Outcome:
        checkpoint = choose_checkpoint(self._task, volume, self._checkpoint)
        self._run_folder = folder = self._make_folder()
        exchange.write_volume(folder, volume)
        what, labels = (folder, volume, checkpoint.resolve(), self._settings), None
        if self._position:
            request = exchange.row_request(*what, *self._position)
        else:
            exchange.write_room_for_labels(folder, volume)
            labels = exchange.open_labels(folder)  # before the request: an error now leaves no worker with a run
            request = exchange.run_request(*what, self._live)
        with self._runner.keeper.in_use:
            self._stop_if_discarded()
            worker = self._runner.keeper.worker()
            worker.send(request)
            self._worker = worker
            try:
                if self._cancelled:  # before there was anybody to tell
                    worker.send(self._cancel_request())
                for wanted in list(self._wanted or ()):
                    worker.send(wanted)
                for event in self._events_of(worker):
                    if event["event"] == "started":
                        self._news.put(("started", (exchange.run_start(event), labels)))
                    elif event["event"] == "slice":
                        self._news.put(("slice", event["index"]))
                    elif event["event"] == "error":
                        raise exchange.error_of(event)
                    elif event["event"] == "done":
                        return exchange.read_result(folder, volume, event)
                    elif event["event"] == "row":
                        return exchange.read_row(folder, event)
            finally:
                self._worker = None  # before another run may use it
        raise AssertionError("the events of a worker end with an error")

    def _events_of(self, worker: WorkerProcess) -> Iterator[dict[str, Any]]:
        """Events as they come; ends the worker where it hangs."""
        # Counted in short waits, so that a program that stood still meanwhile does not blame the worker.
        silent, discarded, patience = 0.0, False, self._runner.patience
        try:
            while True:
                event = worker.next_event(TICK_SECONDS)
                silent = 0.0 if event else silent + TICK_SECONDS
                if self._cancelled == "discard" and not discarded:
                    silent, discarded = 0.0, True
                if event:
                    yield event
                elif silent >= (patience.stop if discarded else patience.silence):
                    raise RunError(
                        f"the worker process has not answered for {silent:.0f} seconds and was ended. Run again; if it "
                        "hangs again, choose device cpu, or look at the details.",
                        worker.last_words,
                    )
        except RunError:
            self._runner.keeper.drop()
            raise

    def _make_folder(self) -> Path:
        try:
            return Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=self._runner.folder))
        except OSError as error:
            place = self._runner.folder or tempfile.gettempdir()
            raise RunError(
                f"no temporary folder can be made in '{place}' ({error.strerror}); expected a disk with free space "
                "that may be written. Choose another temporary folder and run again."
            ) from error

    def _stop_if_discarded(self) -> None:
        if self._cancelled == "discard":
            raise Cancelled("stopped before the first slice; nothing was kept.")

    def _cancel_request(self) -> dict[str, Any]:
        return {"request": "cancel", "keep": self._cancelled == "keep"}

    def _remove_folder(self) -> None:
        if self._run_folder:
            shutil.rmtree(self._run_folder, ignore_errors=True)
