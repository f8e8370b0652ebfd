"""Waiting for work in another thread while Slicer stays alive."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import slicer

Result = TypeVar("Result")
LONGEST_PAUSE = 0.03
"""Seconds between two looks at Slicer's events."""


def inBackground(work: Callable[[], Result], onPause: Callable[[], None] | None = None) -> Result:
    """Do ``work`` in a thread, handle Slicer's events meanwhile, and give or raise what it gives or raises.

    ``work`` may touch neither Qt nor MRML, ``onPause`` may. The caller sees to it that it is not started twice.
    """
    with ThreadPoolExecutor(max_workers=1) as executor:
        future = executor.submit(work)
        while not future.done():
            wait([future], timeout=LONGEST_PAUSE)
            if onPause:
                onPause()
            slicer.app.processEvents()
        return future.result()
