"""Several slices at once on a CPU, each by threads of its own.

The other way, all threads on one slice, has them wait for each other at the end of every layer, hundreds of times a
slice: where the cores are busy with other work too, each of those waits lasts until the system lets the last one go on.
A thread that has a slice to itself waits once a slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch

Item = TypeVar("Item")
Done = TypeVar("Done")

MOST = 4
"""More slices at once may want more memory than a laptop has; with more threads than that, they share a slice."""


class Lanes:
    """Lanes that do one item at a time and share PyTorch's threads.

    Args:
        count: how many; at most as many as PyTorch has threads. 1 makes none.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._executor = ThreadPoolExecutor(count, "lane") if count > 1 else None
        if self._executor:
            threads, together = torch.get_num_threads(), Barrier(count)  # it holds until every lane has begun
            list(self._executor.map(lambda _lane: _share(threads // count, together), range(count)))
            torch.set_num_threads(threads)  # what a lane sets counts for threads that come later, too

    def each(self, work: Callable[[Item], Done], items: Iterable[Item]) -> list[Done]:
        """``work`` on every item, results in their order; the first error of them ends it."""
        items = list(items)
        if self._executor is None or len(items) == 1:
            return [work(item) for item in items]
        return list(self._executor.map(torch.inference_mode()(work), items))


def _share(threads: int, together: Barrier) -> None:
    together.wait()
    torch.get_num_threads()  # the first question of a thread takes over what counts for all, also after it was set
    torch.set_num_threads(threads)
