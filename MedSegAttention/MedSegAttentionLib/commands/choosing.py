"""Which images of an input are segmented: of DICOM studies those series that the checkpoint takes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..checkpoints.catalogue import possible_cards
from ..data.errors import InputError, UsageError
from ..files.cases import ImageSource, everything_in, is_one_series
from ..files.dicomdir import is_directory
from ..files.series_choice import Verdict, best, judge, listed, named

logger = logging.getLogger(__name__)


def chosen_images(
    path: Path, series: str, task: str | None, checkpoint: str | Path | None, force: bool
) -> tuple[list[ImageSource], bool]:
    """The images to segment, and whether they are a batch rather than a single one.

    What is left out of a study is said in the log, each with its reason.

    Args:
        path: an image file; a folder of images, series or studies; a DICOMDIR.
        series: ``all`` that the checkpoint takes; ``auto`` for the one of each study that fits it best; or a UID or
            number.
        task: as in :func:`~..runner.in_process.run`.
        checkpoint: likewise.
        force: take series that are not what the checkpoint takes, too.

    Raises:
        InputError: nothing is left, the series is not there, or two of the only study fit equally.
        UsageError: a series is asked for, and there is no DICOM.
    """
    if not path.is_dir() and not is_directory(path):
        if series != "all":
            raise UsageError(f"--series {series} was given for one file, '{path}'; expected a DICOM study or folder.")
        return everything_in(path), False
    found = everything_in(path)
    if not any(source.dicom for source in found):
        if series != "all":
            raise UsageError(f"--series {series} was given, and '{path}' holds no DICOM series.")
        return found, bool(found)
    images = [source for source in found if source.dicom is None or not source.dicom.no_image]
    if series == "all" and is_one_series(path, images):
        _tell(judge(source.dicom, ()) for source in found if source.dicom)
        return images, False
    cards = [] if force and series == "all" else possible_cards(task, checkpoint)
    verdicts = {source: judge(source.dicom, cards) for source in found if source.dicom}
    if series == "all":
        _tell(verdicts.values())
        taken = [source for source in found if source.dicom is None or not verdicts[source].reason]
        if not taken:
            raise InputError(f"no series of '{path}' can be taken: {listed(list(verdicts.values()))}.")
        return taken, True
    by_series = {verdict.series: source for source, verdict in verdicts.items()}
    if series == "auto":
        taken = _best_of_each(verdicts)
    else:
        taken = [by_series[verdict.series] for verdict in named(list(verdicts.values()), series)]
    return taken, len(taken) > 1


def _tell(verdicts: Iterable[Verdict]) -> None:
    for verdict in verdicts:
        if verdict.reason:
            logger.info("skipped %s: %s", verdict.series.title, verdict.reason)


def _best_of_each(verdicts: dict[ImageSource, Verdict]) -> list[ImageSource]:
    """Of each study one; one without a series that fits, or with two, fails as a case where there are others."""
    studies: dict[int, dict[ImageSource, Verdict]] = {}
    for source, verdict in verdicts.items():
        studies.setdefault(verdict.series.study, {})[source] = verdict
    taken = []
    for of_study in studies.values():
        try:
            chosen, why = best(list(of_study.values()))
        except InputError as error:
            if len(studies) == 1:
                raise
            source = next(iter(of_study))
            taken.append(replace(source, dicom=replace(source.dicom, fault=error)))
            continue
        logger.info("%s", why)
        taken += [source for source, verdict in of_study.items() if verdict is chosen]
    return taken
