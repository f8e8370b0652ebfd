"""The worker process: ``python -m MedSegAttentionLib.runner.worker``. It knows neither Slicer nor VTK nor Qt.

It waits for requests (see :mod:`.exchange`), runs one at a time and stays warm for the next; after some idle time it
gives the memory of the network back. It ends when its stdin does: when told to, and when its parent died.
"""

from __future__ import annotations

import argparse
import logging
import os
import queue
import shutil
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from ..data.errors import Cancelled
from ..data.result import RunStart, SliceResult
from . import exchange
from .threads import wait_briefly

IDLE_SECONDS = 60.0
"""The network leaves memory after this time without a run."""
WAIT_SECONDS = 5.0
"""A live run that waits for the user says so this often, so that it is not taken for one that hangs."""


class Request:
    """A request to compute something, and whether it was cancelled since.

    Attributes:
        message: see :func:`~.exchange.run_request` and :func:`~.exchange.row_request`.
        folder: of its arrays.
        cancel: None, ``"discard"`` or ``"keep"``; set by the thread that reads stdin.
    """

    def __init__(self, message: dict[str, Any]) -> None:
        self.message, self.folder = message, Path(message["folder"])
        self.cancel: str | None = None
        self._wanted: queue.LifoQueue[int | None] = queue.LifoQueue()  # the slice looked at last comes first

    def want(self, slices: list[int] | None) -> None:
        """Ask for slices, or with None for all that are left."""
        for number in slices or ():
            self._wanted.put(number)
        if slices is None:
            self._wanted.put(None)

    def next_wanted(self, on_wait: Callable[[], None]) -> int | None:
        """The slice to do next; None for the rest in order, and for a cancelled run. Tells now and then of waiting."""
        while self.cancel is None:
            try:
                return self._wanted.get(timeout=WAIT_SECONDS)
            except queue.Empty:
                on_wait()
        return None

    def raise_if_discarded(self) -> None:
        """Stop the run where nothing of it is wanted."""
        if self.cancel == "discard":
            raise Cancelled("the run was stopped; nothing was kept.")


class Worker:
    """Serves requests until stdin ends.

    Args:
        requests: binary stream of request lines.
        events: binary stream for event lines.
        idle_seconds: see :data:`IDLE_SECONDS`.
    """

    def __init__(self, requests: BinaryIO, events: BinaryIO, idle_seconds: float) -> None:
        self._requests, self._events, self._idle_seconds = requests, events, idle_seconds
        self._waiting: queue.Queue[Request | str] = queue.Queue()  # a text is a checkpoint to load
        self._latest: Request | None = None

    def serve(self) -> None:
        """Never returns: the reading thread ends the process."""
        threading.Thread(target=self._read, daemon=True).start()
        self._send({"event": "ready", "pid": os.getpid()})
        loaded = False
        while True:
            try:
                request = self._waiting.get(timeout=self._idle_seconds if loaded else None)
            except queue.Empty:
                loaded = False
                self._unload()
            else:
                loaded = True
                self._load(request) if isinstance(request, str) else self._answer(request)

    def _read(self) -> None:
        """Take in requests also while a run goes on; at the end of stdin leave at once, whatever is being computed."""
        try:
            for line in self._requests:
                message = exchange.from_line(line)
                if message["request"] in ("run", "row"):
                    self._latest = Request(message)
                    self._waiting.put(self._latest)
                elif message["request"] == "load":
                    self._waiting.put(message["checkpoint"])
                elif message["request"] == "want" and self._latest:
                    self._latest.want(message["slices"])
                elif message["request"] == "cancel" and self._latest:
                    self._latest.cancel = "keep" if message["keep"] else "discard"
                    self._latest.want(None)  # wakes a live run
        finally:
            if self._latest:  # whoever made the folder may be gone
                shutil.rmtree(self._latest.folder, ignore_errors=True)
            os._exit(0)

    def _answer(self, request: Request) -> None:
        try:
            request.raise_if_discarded()
            answer = self._row(request) if request.message["request"] == "row" else self._run(request)
        except Exception as error:
            answer = exchange.error_event(error, traceback.format_exc())
        self._send(answer)

    def _load(self, checkpoint: str) -> None:
        from . import in_process

        with suppress(Exception):  # the run to come says what is wrong
            in_process.load(checkpoint)
        self._send({"event": "loaded"})

    def _run(self, request: Request) -> dict[str, Any]:
        from . import in_process  # imports torch, which takes seconds

        def on_start(start: RunStart) -> None:
            request.raise_if_discarded()
            self._send(exchange.started_event(start))

        def on_slice(finished: SliceResult) -> None:
            self._send(exchange.slice_event(finished))
            request.raise_if_discarded()

        result = in_process.run(
            exchange.requested_volume(request.message),
            checkpoint=request.message["checkpoint"],
            settings=exchange.requested_settings(request.message),
            on_slice=on_slice,
            is_cancelled=lambda: request.cancel == "keep",
            on_cancel="keep",
            on_start=on_start,
            labels=exchange.open_labels(request.folder, writable=True),
            **self._live(request),
        )
        return exchange.done_event(request.folder, result)

    def _live(self, request: Request) -> dict[str, Any]:
        if not request.message.get("live"):
            return {}
        return {"wanted": lambda: request.next_wanted(lambda: self._send({"event": "waiting"}))}

    def _row(self, request: Request) -> dict[str, Any]:
        from . import in_process

        row, provenance = in_process.attention_row(
            exchange.requested_volume(request.message),
            request.message["ras"],
            checkpoint=request.message["checkpoint"],
            map=request.message["map"],
            settings=exchange.requested_settings(request.message),
        )
        return exchange.row_event(request.folder, row, provenance)

    def _unload(self) -> None:
        if in_process := sys.modules.get(f"{__package__}.in_process"):
            in_process.unload()
        self._send({"event": "unloaded"})

    def _send(self, event: dict[str, Any]) -> None:
        self._events.write(exchange.to_line(event))
        self._events.flush()


def private_stdout() -> BinaryIO:
    """A stream to what stdout is now; from here on stdout leads to stderr, for prints of any library."""
    private = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return private


def leave_background_priority() -> None:
    """Run at the system's usual priority, also where the application that started this runs in the background.

    A user waits for the result. Where the system allows no such change, the worker stays as it was started.
    """
    import psutil  # missing until the first start installed the packages, and this file is read before

    normal = getattr(psutil, "NORMAL_PRIORITY_CLASS", 0)  # of Windows; elsewhere 0 is the usual niceness
    with suppress(psutil.Error, OSError):
        process = psutil.Process()
        if process.nice() != normal:
            process.nice(normal)


def main(arguments: list[str] | None = None) -> None:
    """Serve the process that started this one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS, help="keep the network in memory this long")
    options = parser.parse_args(arguments)
    events = private_stdout()
    leave_background_priority()
    wait_briefly()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    Worker(sys.stdin.buffer, events, options.idle_seconds).serve()


if __name__ == "__main__":
    main()
