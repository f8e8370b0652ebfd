"""How far a run is, for whoever watches the command line."""

from __future__ import annotations

import logging
from time import monotonic

from ..data.result import RunProgress

logger = logging.getLogger(__name__)

LONG_ENOUGH = 0.5
"""Seconds after which the slices done meanwhile say how long the others will take; they may finish several at once."""


class SliceLog:
    """Says it at the first slice, as soon as the time left is known, at every tenth and at the last; run after run."""

    def __init__(self) -> None:
        self._begin = self._said = (0, 0.0)
        self._is_known = False

    def __call__(self, progress: RunProgress) -> None:
        """Take in that slices were finished."""
        here = (progress.finished, monotonic())
        is_first = progress.finished <= self._said[0] or not self._said[0]
        if is_first:
            self._begin, self._is_known = here, False
        left = self._left(progress, here)
        is_new = left and not self._is_known
        if is_first or is_new or progress.finished // 10 > self._said[0] // 10 or progress.finished == progress.count:
            logger.info("slice %d of %d%s", progress.finished, progress.count, left)
        self._said, self._is_known = here, bool(left)

    def _left(self, progress: RunProgress, here: tuple[int, float]) -> str:
        slices, seconds = (now - then for now, then in zip(here, self._begin, strict=True))
        if seconds < LONG_ENOUGH or not slices or progress.finished == progress.count:
            return ""
        left = seconds / slices * (progress.count - progress.finished)
        return f", about {max(1, round(left))} s left" if left < 90 else f", about {round(left / 60)} min left"
