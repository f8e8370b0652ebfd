"""Hands items out to workers that stay, one at a time; and again when a worker or its machine dies."""

from __future__ import annotations

import logging
import pickle
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

from .. import __version__
from ..data.errors import MedSegAttentionError, RunError
from .cluster import Share

logger = logging.getLogger(__name__)

MOST_CRASHES = 2
"""An item is set aside when its worker crashed so often."""
MOST_NODES = 5
"""... or when so many machines died under it."""
MOST_STARTS = 3
"""When so many workers in a row cannot start, the run ends."""
WAIT_SECONDS = 0.5
UNKNOWN_SECONDS = 10.0
"""So long it may take until a cluster knows whether a worker died or its machine."""
DEAD_SECONDS = 1.0
"""... and, once the worker is known to be dead, whether its machine is, too."""
SAY_SECONDS = 60.0
Work = Callable[[Any], Any]


@dataclass(frozen=True)
class Failure:
    """What came of an item that gave no result.

    Attributes:
        error: why.
        crashed: whether its worker died of it, again and again.
    """

    error: Exception
    crashed: bool = False


class Worker:
    """Lives in a process of its own on some machine; ``start`` loads what all items need, once."""

    def __init__(self, start: Callable[[int], Work], threads: int) -> None:
        self._work = start(threads)

    def place(self) -> tuple[str, str]:
        """The machine it is on, and its version of this package."""
        import ray

        return ray.get_runtime_context().get_node_id(), __version__

    def do(self, item: Any) -> Any:
        """What ``start`` gave does with the item, or the :class:`Failure` that it ended with."""
        try:
            return self._work(item)
        except Exception as error:
            return Failure(portable(error))


def portable(error: Exception) -> Exception:
    """``error`` where it can travel between processes, else one with its words; neither holds on to memory."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RunError(f"{type(error).__name__}: {error}")
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


class Slot:
    """The place of a worker: who takes it when one dies.

    Attributes:
        node: ID of the machine of the worker, once it has said so.
    """

    def __init__(self, ray: Any, start: Callable[[int], Work], share: Share) -> None:
        self._ray, self._start, self._share = ray, start, share
        self.node = ""
        self.begin()

    def begin(self) -> None:
        """Ask for a new worker; it comes when a machine has room for it."""
        actor = self._ray.remote(Worker).options(num_cpus=self._share.cpus, num_gpus=self._share.gpus, max_restarts=0)
        self.actor, self.node = actor.remote(self._start, self._share.cpus), ""

    def place(self) -> Any:
        """A reference to what :meth:`Worker.place` says."""
        return self.actor.place.remote()

    def do(self, item: Any) -> Any:
        """A reference to the result of the item."""
        return self.actor.do.remote(item)

    def end(self) -> None:
        """End the worker at once."""
        self._ray.kill(self.actor, no_restart=True)


class Pool:
    """Workers, and who does what.

    Args:
        ray: connected.
        start: gives in each worker, with its number of threads, the function that does an item.
        share: how many workers, and what each gets.
    """

    def __init__(self, ray: Any, start: Callable[[int], Work], share: Share) -> None:
        self._ray, self._start, self._share = ray, start, share
        self._starting: dict[Any, Slot] = {}
        self._busy: dict[Any, tuple[Slot, int]] = {}
        self._idle: list[Slot] = []
        self._slots: list[Slot] = []
        self._crashes: Counter[int] = Counter()
        self._deaths: Counter[int] = Counter()
        self._failed_starts, self._heard = 0, monotonic()

    def results(
        self,
        items: Sequence[Any],
        begin: Callable[[int], bool] = lambda _index: True,
        again: Callable[[int], None] = lambda _index: None,
    ) -> Iterator[tuple[int, Any]]:
        """Give (number, result) of each item as it comes; a result may be a :class:`Failure`.

        Args:
            items: in the order in which they are handed out.
            begin: asked before an item is handed out first; False puts it off until the others are done.
            again: called before an item whose worker died is handed out again or set aside.

        Raises:
            RunError: workers do not start, or the cluster is gone.
        """
        waiting: deque[int] = deque(range(len(items)))
        begun: set[int] = set()
        for _ in range(min(self._share.workers, len(items))):
            slot = Slot(self._ray, self._start, self._share)
            self._slots.append(slot)
            self._starting[slot.place()] = slot
        try:
            while waiting or self._busy:
                self._hand_out(items, waiting, begun, begin)
                for ref in self._ready():
                    if ref in self._starting:
                        self._started(ref)
                    elif (ended := self._ended(ref, waiting, again)) is not None:
                        yield ended
        finally:
            for slot in self._slots:
                try:
                    slot.end()
                except Exception:
                    logger.debug("a worker could not be ended", exc_info=True)

    def _hand_out(
        self, items: Sequence[Any], waiting: deque[int], begun: set[int], begin: Callable[[int], bool]
    ) -> None:
        for _ in range(len(waiting)):
            if not self._idle or not waiting:
                return
            index = waiting.popleft()
            if index in begun or begin(index):
                begun.add(index)
                slot = self._idle.pop()
                self._busy[slot.do(items[index])] = (slot, index)
            else:
                waiting.append(index)

    def _ready(self) -> list[Any]:
        refs = [*self._busy, *self._starting]
        if not refs:  # all that is left is held by other runs
            sleep(WAIT_SECONDS)
            return []
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=WAIT_SECONDS)
        if ready or self._busy:
            self._heard = monotonic()
        elif monotonic() - self._heard > SAY_SECONDS:
            self._heard = monotonic()
            logger.warning("no worker is running; waiting for a machine with room for one (stop with Ctrl+C)")
        return ready

    def _started(self, ref: Any) -> None:
        slot = self._starting.pop(ref)
        try:
            slot.node, version = self._ray.get(ref)
        except Exception as error:
            self._failed_starts += 1
            cause = getattr(error, "cause", None) or error
            if isinstance(cause, MedSegAttentionError):
                raise portable(cause) from None
            if self._failed_starts >= MOST_STARTS:
                raise RunError(f"workers do not start: {_last_words(error)}") from error
            slot.begin()
            self._starting[slot.place()] = slot
            return
        if version != __version__:
            raise RunError(f"a machine has version {version} of this package and this one {__version__}; expected one.")
        self._failed_starts = 0
        self._idle.append(slot)

    def _ended(self, ref: Any, waiting: deque[int], again: Callable[[int], None]) -> tuple[int, Any] | None:
        slot, index = self._busy.pop(ref)
        try:
            result = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            logger.debug("a worker died", exc_info=True)
            words, node_died = _last_words(error), self._is_gone(slot, error)
        else:
            self._idle.append(slot)
            return index, result
        try:
            slot.end()
        except Exception:
            logger.debug("it had ended already", exc_info=True)
        slot.begin()
        self._starting[slot.place()] = slot
        (self._deaths if node_died else self._crashes)[index] += 1
        again(index)
        if self._crashes[index] >= MOST_CRASHES or self._deaths[index] >= MOST_NODES:
            what = f"its machine died {self._deaths[index]} times" if node_died else "it crashed its worker twice"
            return index, Failure(RunError(f"{what} and is set aside ({words})."), crashed=True)
        what = "a machine died" if node_died else "a worker died"
        logger.warning("%s; its case is handed out again (%s)", what, words)
        waiting.appendleft(index)
        return None

    def _is_gone(self, slot: Slot, error: Exception) -> bool:
        """Whether the machine is gone or out of reach, rather than the worker alone; it may take a moment to know."""
        died, unavailable = self._ray.exceptions.ActorDiedError, self._ray.exceptions.ActorUnavailableError
        unknown, end = isinstance(error, unavailable), monotonic() + UNKNOWN_SECONDS
        while monotonic() < end:
            if not any(one["NodeID"] == slot.node and one["Alive"] for one in self._ray.nodes()):
                return True
            if unknown:
                try:
                    self._ray.get(slot.place(), timeout=WAIT_SECONDS)
                except self._ray.exceptions.RayError as later:
                    unknown = not isinstance(later, died)
            if not unknown:
                end = min(end, monotonic() + DEAD_SECONDS)
            sleep(WAIT_SECONDS / 4)
        return unknown


def _last_words(error: Exception) -> str:
    """The sentence of Ray that says what happened, out of the many that it writes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("exit", "died", "memory", "signal", "Error"))]
    return (telling or lines or [type(error).__name__])[-1][:300].rstrip(".")
