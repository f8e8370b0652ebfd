"""Images segmented by the workers of a cluster: the same files and the same table as by one process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ..data.case import FileChoice
from ..data.errors import RunError, UsageError
from ..files.cases import ImageSource
from ..inference.settings import RunSettings
from ..output.image_case import image_case
from ..runner.claims import Claim, Claims
from ..runner.one_case import Outcome, Request, outcome_of
from ..runner.records import remove_unfinished
from ..runner.summary import SUMMARY_FILE, Summary
from ..runner.threads import wait_briefly
from .cluster import ClusterChoice, connected, share_of
from .pool import Failure, Pool, Work, portable
from .sizes import size_of

logger = logging.getLogger(__name__)

NOT_OF_THE_CASE = ("load", "start")
"""Seconds of a record that a worker spends once and not for each case."""
VISIBLE_SECONDS = 30.0
"""After so long a network file system shows a file that another machine wrote."""


@dataclass(frozen=True)
class Job:
    """What is done with each image; travels to the workers, so paths are absolute and the same on every machine.

    Attributes:
        output: folder of the results.
        task: see :func:`~..runner.in_process.run`.
        checkpoint: likewise.
        settings: likewise.
        files: what to write.
        anonymous: see :class:`~..runner.one_case.Request`.
        overwrite: see :func:`~..runner.batch.run_batch`.
    """

    output: Path
    task: str | None = None
    checkpoint: str | Path | None = None
    settings: RunSettings = field(default_factory=RunSettings)
    files: FileChoice = field(default_factory=FileChoice)
    anonymous: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Done:
    """The answer of a worker about one case, small: its record is on the disk.

    Attributes:
        status: as in :class:`~..runner.one_case.Outcome`.
        error: likewise.
        slices: segmented now.
        seconds: for the case, without loading the network.
    """

    status: str
    error: Exception | None = None
    slices: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class CohortProgress:
    """Where a cohort is, each time a case ends.

    Attributes:
        outcome: how it ended.
        finished: cases that ended, this one among them.
        count: cases of the run.
        failed: of those that ended.
        slices: segmented so far.
        seconds: for this case.
        left: seconds until the end, by the sizes of the files; None while nothing is known.
        workers: how many there are.
    """

    outcome: Outcome
    finished: int
    count: int
    failed: int
    slices: int
    seconds: float
    left: float | None
    workers: int


def start_worker(job: Job, threads: int) -> Work:
    """In a worker: load what every case needs, and give the function that does one.

    Args:
        job: what to do.
        threads: that the network may use.
    """
    wait_briefly()
    import torch

    from ..runner.in_process import run

    torch.set_num_threads(threads)
    request = Request(run, job.task, job.checkpoint, job.settings, job.anonymous)

    def work(image: ImageSource) -> Done:
        case = image_case(image.name, image.stem, image.read, job.files)
        outcome = outcome_of(case, request, job.output, job.overwrite)
        if outcome.status != "segmented":
            return Done(outcome.status, outcome.error and portable(outcome.error))
        return Done("segmented", None, outcome.record.get("slices", [0])[0], seconds_of(outcome.record))

    return work


def seconds_of(record: dict[str, Any]) -> float:
    """Seconds that the case took, by its record."""
    return sum(value for stage, value in record.get("seconds", {}).items() if stage not in NOT_OF_THE_CASE)


def run_cohort(
    images: Sequence[ImageSource],
    job: Job,
    choice: ClusterChoice,
    on_progress: Callable[[CohortProgress], None] | None = None,
) -> list[Outcome]:
    """Segment all images on a cluster; ``summary.csv`` in the output folder is brought up to date again and again.

    As :func:`~..runner.batch.run_batch`, several runs may share the folder. A case whose worker dies is handed out
    again, and set aside when that happens twice.

    Args:
        images: each with a stem of its own and an absolute path.
        job: what to do.
        choice: where.
        on_progress: called when a case ends.

    Returns:
        How each image ended, in their order; without records, which are on the disk.

    Raises:
        UsageError: an option that can never work, or so many workers do not fit.
        RunError: there is no such cluster, workers do not start, or they write where this machine cannot read.
        InputError: the output folder cannot be written to.
    """
    with connected(choice) as ray:
        share = share_of(ray.nodes(), choice, job.settings.device in ("auto", "cuda"))
        logger.info("%d workers, each with %d CPU and %g GPU", share.workers, share.cpus, share.gpus)
        pool = Pool(ray, partial(start_worker, job), share)
        return _Driver(images, job, share.workers, on_progress).drive(pool)


class _Driver:
    """Claims cases, hears what became of them, tells, and writes the table."""

    def __init__(
        self,
        images: Sequence[ImageSource],
        job: Job,
        workers: int,
        on_progress: Callable[[CohortProgress], None] | None,
    ) -> None:
        self._images, self._job, self._workers, self._on_progress = images, job, workers, on_progress
        self._sizes = [size_of(image) for image in images]
        self._size = sum(self._sizes)
        self._order = sorted(range(len(images)), key=lambda index: -self._sizes[index])
        self._claims = Claims(job.output)
        self._held: dict[int, Claim] = {}
        self._summary = Summary(job.output / SUMMARY_FILE)
        self._outcomes: dict[int, Outcome] = {}
        self._failed = self._slices = 0
        self._size_done, self._size_timed, self._seconds_timed = 0, 0, 0.0

    def drive(self, pool: Pool) -> list[Outcome]:
        ordered = [self._images[index] for index in self._order]
        try:
            with closing(pool.results(ordered, self._begin, self._again)) as results:  # ends the workers first
                for number, result in results:
                    self._take(number, result)
        finally:
            for number in list(self._held):
                self._release(number)
            self._summary.update(self._rows, last=True)
        return [self._outcomes[index] for index in sorted(self._outcomes)]

    def _begin(self, number: int) -> bool:
        if claim := self._claims.take(self._stem(number)):
            self._held[number] = claim
            self._again(number)
        return claim is not None

    def _again(self, number: int) -> None:
        remove_unfinished(self._job.output, self._stem(number))

    def _release(self, number: int) -> None:
        if claim := self._held.pop(number, None):
            self._again(number)
            claim.release()

    def _stem(self, number: int) -> str:
        return self._images[self._order[number]].stem

    def _take(self, number: int, result: Done | Failure) -> None:
        if isinstance(result, Failure):
            if isinstance(result.error, UsageError):
                raise result.error
            result = Done("failed", result.error)
        index = self._order[number]
        image = self._images[index]
        if result.status == "segmented":
            self._check_visible(image.stem)
        outcome = Outcome(image.name, result.status, error=result.error, stem=image.stem)
        self._outcomes[index] = outcome
        self._release(number)
        self._failed += result.status == "failed"
        self._slices += result.slices
        self._size_done += self._sizes[index]
        if result.seconds:  # what was there before, or failed, says nothing of the pace
            self._size_timed += self._sizes[index]
            self._seconds_timed += result.seconds
        self._summary.update(self._rows)
        if self._on_progress:
            counts = (len(self._outcomes), len(self._images), self._failed, self._slices)
            self._on_progress(CohortProgress(outcome, *counts, result.seconds, self._left(), self._workers))

    def _left(self) -> float | None:
        if not self._size_timed:
            return None
        left = self._size - self._size_done
        return self._seconds_timed / self._size_timed * left / self._workers

    def _check_visible(self, stem: str) -> None:
        """Raise where a worker's result does not show up here: its machine has another disk under that name."""
        record, end = self._job.output / f"{stem}.json", monotonic() + VISIBLE_SECONDS
        while not record.is_file():
            if monotonic() > end:
                raise RunError(
                    f"a worker wrote '{record}', and it is not here: the output folder of its machine is another one. "
                    "Choose a folder that all machines share."
                )
            sleep(0.5)

    def _rows(self) -> list[dict[str, Any]]:
        """Those of failed cases in full; the others have their record on the disk."""
        ended = (self._outcomes[index] for index in sorted(self._outcomes))
        return [outcome.row() | ({} if outcome.error else {"record": None}) for outcome in ended]
