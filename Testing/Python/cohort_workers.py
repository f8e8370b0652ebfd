"""What workers of the tests of the pool do; a module of its own, since their processes import it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def start_simple(_threads: int) -> Callable[[Any], Any]:
    """Doubles numbers; what is no number fails."""
    return lambda item: 2 * item if isinstance(item, int) else int(item)


def start_dying(folder: str, _threads: int) -> Callable[[Any], Any]:
    """Dies under ``fatal``, and the first time under ``once``; notes each try."""

    def work(item: str) -> str:
        note = Path(folder) / item
        tries = note.stat().st_size if note.exists() else 0
        note.write_text("x" * (tries + 1))
        if item.startswith("fatal") or (item.startswith("once") and not tries):
            os.kill(os.getpid(), signal.SIGKILL)
        return f"{item} done"

    return work


def start_slow(folder: str, _threads: int) -> Callable[[Any], Any]:
    """Takes a moment for each item; tells on which machine it was begun."""
    import ray

    node = ray.get_runtime_context().get_node_id()

    def work(item: int) -> int:
        (Path(folder) / f"{item}~{node}~{os.getpid()}").write_text("")
        time.sleep(0.3)
        return item

    return work


def start_never(_threads: int) -> Callable[[Any], Any]:
    """A worker that cannot start."""
    raise OSError("no network here")
