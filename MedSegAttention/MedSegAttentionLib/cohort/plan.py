"""What a run would do, and how long it would take."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..data.errors import InputError
from ..files.cases import ImageSource
from ..runner.records import is_whole, read_record
from .run import Job
from .sizes import size_of

PROBES = 3
Probe = Callable[[Sequence[ImageSource], Job], tuple[dict[str, float], int]]
"""Segments images for a job; gives the seconds of each that did not fail, by stem, and the number of workers."""


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        count: images.
        there: of those, how many have a whole result already, of whichever settings.
        probed: (name, seconds) of those that were tried; None for one that failed.
        workers: how many.
        seconds: all would take; None where every probe failed, 0 where nothing is to be done.
    """

    count: int
    there: int
    probed: tuple[tuple[str, float | None], ...] = ()
    workers: int = 1
    seconds: float | None = 0.0


def make_plan(images: Sequence[ImageSource], job: Job, probe: Probe) -> Plan:
    """Try three cases, of small, middle and large size, in a folder that is gone afterwards.

    Args:
        images: of the run.
        job: of the run; nothing is written to its output folder.
        probe: how cases are run.

    Raises:
        InputError: beside the output folder, where the probes go, nothing can be written.
    """
    missing = [image for image in images if job.overwrite or not _is_there(image, job)]
    there = len(images) - len(missing)
    if not missing:
        return Plan(len(images), there)
    ordered = sorted(missing, key=size_of)
    places = {(2 * number + 1) * len(ordered) // (2 * PROBES) for number in range(PROBES)}
    chosen = [ordered[place] for place in sorted(places)]
    home = next(folder for folder in (job.output, *job.output.absolute().parents) if folder.is_dir())
    try:
        with tempfile.TemporaryDirectory(prefix=".probe-", dir=home, ignore_cleanup_errors=True) as folder:
            seconds, workers = probe(chosen, replace(job, output=Path(folder), overwrite=True))
    except OSError as error:
        raise InputError(f"'{home}' cannot be written to ({error.strerror}); choose another output folder.") from error
    size = sum(size_of(image) for image in chosen if image.stem in seconds)
    rate = sum(seconds.values()) / size if size else None
    total = None if rate is None else rate * sum(map(size_of, missing)) / min(workers, len(missing))
    return Plan(len(images), there, tuple((one.name, seconds.get(one.stem)) for one in chosen), workers, total)


def _is_there(image: ImageSource, job: Job) -> bool:
    record = read_record(job.output, image.stem)
    return "input_sha256" in record and is_whole(job.output, image.stem, record, job.files.endings())
