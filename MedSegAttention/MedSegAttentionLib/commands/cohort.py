"""The part of ``segment`` that is about many images: clusters, plans, and the table of failures."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from ..cohort.cluster import ClusterChoice
from ..cohort.plan import Plan, make_plan
from ..cohort.run import CohortProgress, Job, run_cohort, seconds_of
from ..data.errors import InputError, UsageError
from ..files.cases import ImageSource
from ..output.image_case import image_case
from ..runner.batch import run_batch
from ..runner.one_case import Outcome, Request

logger = logging.getLogger(__name__)

QUOTED = re.compile(r"'[^']*'")
NUMBER = re.compile(r"\d+([.,]\d+)*")
NAMED = 3
"""Cases that a line of the table of failures names."""


def add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cluster``, ``--workers`` and ``--gpus-per-worker``, see :func:`cluster_choice`."""
    parser.add_argument(
        "--cluster",
        metavar="auto|local|ADDRESS",
        help="hand the cases out to workers of a Ray cluster: this machine alone (local), the one at HOST:PORT or "
        "ray://HOST:PORT, or the one this machine belongs to, else this machine (auto); all machines must share "
        "all files and folders under the same paths",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="with --cluster: how many (default: one a CPU or GPU)")
    parser.add_argument(
        "--gpus-per-worker", type=float, metavar="F", help="with --cluster: such as 0.5 for two workers on each GPU"
    )


def cluster_choice(arguments: argparse.Namespace) -> ClusterChoice | None:
    """Where to run; None for this process."""
    if arguments.cluster is not None:
        return ClusterChoice(arguments.cluster, arguments.workers, arguments.gpus_per_worker)
    for name in ("workers", "gpus_per_worker"):
        if getattr(arguments, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} was given without --cluster; expected both.")
    return None


def make_job(arguments: argparse.Namespace, choice: dict) -> Job:
    """What the workers are told; paths become absolute."""
    checkpoint = choice["checkpoint"]
    if checkpoint is not None and Path(checkpoint).is_dir():
        checkpoint = str(Path(checkpoint).resolve())
    return Job(arguments.output.absolute(), **{**choice, "checkpoint": checkpoint}, overwrite=arguments.overwrite)


def segment_on_cluster(images: Sequence[ImageSource], job: Job, where: ClusterChoice, debug: bool) -> list[Outcome]:
    """Segment all images there, and tell of each in the log."""

    def tell(progress: CohortProgress) -> None:
        outcome = progress.outcome
        if outcome.error:
            words = " ".join(str(outcome.error).split())
            logger.error("%s: %s", outcome.case, words, exc_info=outcome.error if debug else None)
        took = f" in {progress.seconds:.1f} s" if outcome.status == "segmented" else ""
        failed = f", {progress.failed} failed" if progress.failed else ""
        left = "" if progress.left is None else f", {duration(progress.left)} left"
        where = f"case {progress.finished} of {progress.count} ({progress.slices} slices{failed}{left})"
        logger.info("%s: %s %s%s", where, outcome.case, outcome.status, took)

    return run_cohort(images, job, where, tell)


def tell_failures(outcomes: Sequence[Outcome]) -> None:
    """Say how many cases failed for which reason, the commonest first."""
    reasons: dict[str, list[Outcome]] = {}
    for outcome in (one for one in outcomes if one.error):
        reasons.setdefault(reason_of(outcome.error), []).append(outcome)
    if not reasons:
        return
    logger.info("failed: cases, reason (such as)")
    for reason, failed in sorted(reasons.items(), key=lambda item: -len(item[1])):
        more = ", ..." if len(failed) > NAMED else ""
        logger.info("%6d  %s (%s%s)", len(failed), reason, ", ".join(one.case for one in failed[:NAMED]), more)


def reason_of(error: Exception) -> str:
    """An error's first sentence without what is of one case alone: names, numbers."""
    text = NUMBER.sub("N", QUOTED.sub("'...'", " ".join(str(error).split())))
    return re.split(r"[;.]( |$)", text)[0][:120] or type(error).__name__


def tell_plan(images: Sequence[ImageSource], job: Job, where: ClusterChoice | None) -> int:
    """Carry out ``--dry-run``; returns the exit status."""

    def probe(chosen: Sequence[ImageSource], trial: Job) -> tuple[dict[str, float], int]:
        return _probe_here(chosen, trial) if where is None else _probe_there(chosen, trial, where)

    plan = make_plan(images, job, probe)
    what = f"{plan.count - plan.there} of {plan.count} images would be segmented into '{job.output}'"
    logger.info("%s, %d have a result that would be looked at", what, plan.there)
    for name, seconds in plan.probed:
        logger.info("tried %s: %s", name, "failed" if seconds is None else f"{seconds:.1f} s")
    if plan.seconds is None:
        raise InputError("none of the cases that were tried can be segmented; see the messages above.")
    if plan.probed:
        logger.info("about %s with %d %s", duration(plan.seconds), plan.workers, _workers(plan))
    return 0


def _workers(plan: Plan) -> str:
    return "worker" if plan.workers == 1 else "workers"


def _probe_here(images: Sequence[ImageSource], job: Job) -> tuple[dict[str, float], int]:
    from ..runner.in_process import run

    cases = [image_case(image.name, image.stem, image.read, job.files) for image in images]
    request = Request(run, job.task, job.checkpoint, job.settings, job.anonymous)
    outcomes = run_batch(cases, request, job.output, overwrite=True)
    for outcome in outcomes:
        _tell_error(outcome)
    return {one.stem: seconds_of(one.record) for one in outcomes if one.status == "segmented"}, 1


def _probe_there(images: Sequence[ImageSource], job: Job, where: ClusterChoice) -> tuple[dict[str, float], int]:
    seconds: dict[str, float] = {}
    workers = [1]

    def take(progress: CohortProgress) -> None:
        workers[0] = progress.workers
        if progress.outcome.status == "segmented":
            seconds[progress.outcome.stem] = progress.seconds
        _tell_error(progress.outcome)

    run_cohort(images, job, where, take)
    return seconds, workers[0]


def _tell_error(outcome: Outcome) -> None:
    if outcome.error:
        logger.error("%s: %s", outcome.case, " ".join(str(outcome.error).split()))


def duration(seconds: float) -> str:
    """Such as ``45 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
