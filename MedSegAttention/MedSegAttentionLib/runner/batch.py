"""Many cases one after another: resumable, shared among runs, and no case that fails stops the rest."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

from ..data.case import Case
from ..data.result import RunProgress
from .one_case import Outcome, Request, claimed_outcome
from .summary import SUMMARY_FILE, Summary

logger = logging.getLogger(__name__)

HELD_SECONDS = 0.5
"""Between two looks at cases that other runs are at."""


@dataclass(frozen=True)
class BatchProgress:
    """Where a batch is.

    Attributes:
        case: name of the case.
        index: its number, from 0.
        count: number of cases.
        slices: how far the case is, or None when it begins or ends.
        outcome: how the case ended, or None while it runs.
    """

    case: str
    index: int
    count: int
    slices: RunProgress | None = None
    outcome: Outcome | None = None


def run_batch(
    cases: Sequence[Case],
    request: Request,
    output: Path | None,
    *,
    overwrite: bool = False,
    on_progress: Callable[[BatchProgress], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> list[Outcome]:
    """Segment all cases; ``summary.csv`` in ``output`` is brought up to date again and again, and at the end.

    Several runs may share ``output``, on one machine or many: none does a case that another is at, and each ends when
    all its cases are done, by whichever run.

    A case whose record in ``output`` tells of the same image, checkpoint and settings, with all files there, is
    skipped; one whose record tells of another image or task fails, so that names which patients share cost no result.
    A cancelled batch ends with the case it was at.

    Args:
        cases: each with a stem of its own.
        request: what to run.
        output: folder of the results; None leaves it to ``Case.save`` to keep them, and nothing is ever skipped.
        overwrite: skip nothing, and replace whatever result is there.
        on_progress: called before each case, after each slice and after each case.
        is_cancelled: asked before each case and after each slice.

    Raises:
        UsageError: an option that can never work.
    """
    outcomes: dict[int, Outcome] = {}
    summary = Summary(output / SUMMARY_FILE) if output else None
    waiting, held, told = deque(enumerate(cases)), 0, set()
    while waiting:
        index, case = waiting.popleft()

        def tell(index: int = index, case: Case = case, **what: Any) -> None:
            if on_progress:
                on_progress(BatchProgress(case.name, index, len(cases), **what))

        if is_new := index not in told:
            tell()
            told.add(index)
        if is_cancelled and is_cancelled():
            outcome = Outcome(case.name, "cancelled", stem=case.stem)
        else:
            callbacks = {"on_slice": lambda finished, tell=tell: tell(slices=finished), "is_cancelled": is_cancelled}
            outcome = claimed_outcome(case, request, output, overwrite, **callbacks)
        if outcome is None:
            waiting.append((index, case))
            held = _after_held(case, is_new, held + 1, len(waiting))
            continue
        held, outcomes[index] = 0, outcome
        if summary:
            summary.update(lambda: _rows(outcomes), last=not waiting or outcome.status == "cancelled")
        tell(outcome=outcome)
        if outcome.status == "cancelled":
            break
    return [outcomes[index] for index in sorted(outcomes)]


def _rows(outcomes: dict[int, Outcome]) -> list[dict[str, Any]]:
    return [outcomes[index].row() for index in sorted(outcomes)]


def _after_held(case: Case, is_new: bool, held: int, waiting: int) -> int:
    """Say that another run is at a case; wait a moment when that is so for all that are left. How many in a row."""
    if is_new:
        logger.info("%s: another run is at it; it is looked at again after the others", case.name)
    if held < waiting:
        return held
    sleep(HELD_SECONDS)
    return 0
