"""The items of a command one after the other here, or by the workers of a cluster: the same results, in their order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from ..runner.threads import wait_briefly
from .cluster import ClusterChoice, connected, share_of
from .pool import Failure, Pool, Work

logger = logging.getLogger(__name__)


def each(start: Callable[[], Work], items: Sequence[Any], choice: ClusterChoice | None) -> Iterator[Any]:
    """What the work gives for every item, in the order of ``items``; the first error of one ends it.

    Args:
        start: gives what does an item; called once in each process, where what all items need is loaded.
        items: small, as are results: both travel.
        choice: where, with the GPUs that the work may use; None for this process.

    Raises:
        UsageError: so many workers do not fit.
        RunError: there is no such cluster, or workers do not start or die.
    """
    if choice is None or not items:
        yield from map(start(), items) if items else ()
        return
    with connected(choice) as ray:
        share = share_of(ray.nodes(), choice, True)
        logger.info("%d workers, each with %d CPU and %g GPU", share.workers, share.cpus, share.gpus)
        early: dict[int, Any] = {}
        following = 0
        with closing(Pool(ray, partial(_start, start), share).results(items)) as results:
            for number, result in results:
                if isinstance(result, Failure):
                    raise result.error
                early[number] = result
                while following in early:
                    yield early.pop(following)
                    following += 1


def _start(start: Callable[[], Work], threads: int) -> Work:
    wait_briefly()
    import torch

    torch.set_num_threads(threads)
    return start()
