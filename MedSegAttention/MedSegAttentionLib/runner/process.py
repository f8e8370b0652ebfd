"""A worker process as seen by the one that started it: its pipes, its health, its end."""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from ..data.errors import RunError
from . import exchange

logger = logging.getLogger(__name__)

MODULE_FOLDER = Path(__file__).resolve().parents[2]
WORKER = "MedSegAttentionLib.runner.worker"
END_SECONDS = 5.0
CLOSED = "the worker process was closed with the module; open the module again to run."


class WorkerProcess:
    """A running worker.

    Args:
        python: executable that runs Python; it may be a launcher that starts another process.
        idle_seconds: see :data:`~.worker.IDLE_SECONDS`.

    Raises:
        RunError: it cannot be started.
    """

    def __init__(self, python: str | Path, idle_seconds: float) -> None:
        given = os.environ.get("PYTHONPATH", "").split(os.pathsep)  # seen from here: the worker runs elsewhere
        paths = [str(MODULE_FOLDER), *(str(Path(path).absolute()) for path in given if path)]
        try:
            self._process = subprocess.Popen(
                [str(python), "-m", WORKER, "--idle-seconds", str(idle_seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=MODULE_FOLDER,  # a folder of the user's could hold a file that hides a package
                env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                bufsize=-1,
            )
        except OSError as error:
            raise RunError(
                f"the worker process could not be started with '{python}' ({error.strerror}); expected a Python "
                "executable. Install Slicer again, or name another one."
            ) from error
        self._family: list[psutil.Process] = []
        self._remember(self._process.pid)
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._last_words: deque[str] = deque(maxlen=40)
        self._writing = threading.Lock()
        streams = ((self._read_events, self._process.stdout), (self._read_stderr, self._process.stderr))
        self._readers = [threading.Thread(target=read, args=(stream,), daemon=True) for read, stream in streams]
        for reader in self._readers:
            reader.start()

    @property
    def alive(self) -> bool:
        """Whether it can take another request."""
        return self._process.poll() is None

    @property
    def last_words(self) -> str:
        """The end of what it and its libraries printed; waits a little for it when the worker is gone."""
        self._readers[1].join(0.0 if self.alive else 1.0)
        return "\n".join(self._last_words)

    def send(self, message: dict[str, Any]) -> None:
        """Hand a request over; a worker that is gone is noticed by :meth:`next_event`."""
        with self._writing, suppress(OSError, ValueError):  # ValueError: closed on our side
            self._process.stdin.write(exchange.to_line(message))
            self._process.stdin.flush()

    def next_event(self, timeout: float) -> dict[str, Any] | None:
        """The next event, or None when there is none within ``timeout`` seconds.

        Raises:
            RunError: the worker has ended.
        """
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            if self.alive:
                return None
            event = None
        if event is None:
            raise RunError(
                f"the worker process ended unexpectedly ({self._how_it_ended()}). Run again; if it ends again, free "
                "memory (close other programs, choose a smaller volume or device cpu) and look at the details.",
                self.last_words,
            )
        return event

    def forget_events(self) -> None:
        """Drop what came in since the last run."""
        with suppress(queue.Empty):
            while self._events.get_nowait() is not None:
                pass
            self._events.put(None)  # the end stays the end

    def end(self) -> None:
        """End it at once, with every process it started: a launcher takes its Python along only if told to."""
        family = set(self._family)
        for process in self._family:
            with suppress(psutil.Error):
                family.update(process.children(recursive=True))
        for process in family:
            with suppress(psutil.Error):
                process.kill()  # psutil knows when another process has got the number of one that is gone
        with suppress(OSError):
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        psutil.wait_procs(family, timeout=END_SECONDS)

    def _read_events(self, stream: BinaryIO) -> None:
        with stream:
            for line in stream:
                try:
                    event = exchange.from_line(line)
                except ValueError:
                    logger.warning("not an event from the worker: %r", line[:200])
                    continue
                if event["event"] == "ready":
                    self._remember(event["pid"])
                self._events.put(event)
        self._events.put(None)

    def _remember(self, pid: int) -> None:
        """Keep hold of a process of the worker: one whose launcher has died is nobody's child."""
        with suppress(psutil.Error):
            self._family.append(psutil.Process(pid))

    def _read_stderr(self, stream: BinaryIO) -> None:
        with stream:
            for line in stream:
                text = line.decode(errors="replace").rstrip()
                self._last_words.append(text)
                logger.debug("worker: %s", text)

    def _how_it_ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(END_SECONDS)
            return f"killed by signal {-code}" if code < 0 else f"exit status {code}"
        return "it closed its output"


class WorkerKeeper:
    """Keeps one worker warm, and starts another when it is gone.

    Attributes:
        in_use: held by whoever uses the worker, so that runs follow each other.
    """

    def __init__(self, python: str | Path | None = None, idle_seconds: float = 60.0) -> None:
        """Args: python: None for the one this runs in; idle_seconds: see :data:`~.worker.IDLE_SECONDS`."""
        self._python, self._idle_seconds = python or sys.executable, idle_seconds
        self._worker: WorkerProcess | None = None
        self._closed = False
        self.in_use = threading.Lock()

    def worker(self) -> WorkerProcess:
        """The worker, ready for a request; call it with :attr:`in_use` held.

        Raises:
            RunError: it cannot be started.
        """
        if self._closed:
            raise RunError(CLOSED)
        worker = self._worker
        if worker and worker.alive:
            worker.forget_events()
        else:
            self.drop()
            worker = self._worker = WorkerProcess(self._python, self._idle_seconds)
        if self._closed:  # meanwhile, by another thread
            self.drop()
            raise RunError(CLOSED)
        return worker

    def drop(self) -> None:
        """End the worker, if there is one; the next run starts another."""
        worker, self._worker = self._worker, None
        if worker:
            worker.end()

    def close(self) -> None:
        """End the worker for good."""
        self._closed = True
        self.drop()
