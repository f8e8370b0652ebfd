"""Which images of an input are segmented: of DICOM studies those series that the checkpoint takes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ..checkpoints.catalogue import possible_cards
from ..data.case import readable_name
from ..data.errors import InputError, UsageError
from ..files.cases import ImageSource, everything_in, is_one_series, told_apart
from ..files.dicomdir import is_directory
from ..files.lists import ListedPath, is_list, listed_paths
from ..files.names import stem_of
from ..files.series_choice import Verdict, best, judge, listed, named
from ..files.unpacking import unpacked

logger = logging.getLogger(__name__)


def chosen_images(
    path: Path, series: str, task: str | None, checkpoint: str | Path | None, force: bool
) -> tuple[list[ImageSource], bool]:
    """The images to segment, and whether they are a batch rather than a single one.

    What is left out of a study is said in the log, each with its reason. A series that would be taken and is no volume
    is a case that fails with it.

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
        _tell(verdict for verdict in verdicts.values() if not verdict.is_fault)
        taken = [source for source in found if source.dicom is None or not verdicts[source].reason]
        if not taken:
            raise InputError(f"no series of '{path}' can be taken: {listed(list(verdicts.values()))}.")
        failing = [source for source, verdict in verdicts.items() if verdict.is_fault]
        return [source for source in found if source in taken or source in failing], True
    by_series = {verdict.series: source for source, verdict in verdicts.items()}
    if series == "auto":
        taken = _best_of_each(verdicts)
    else:
        taken = [by_series[verdict.series] for verdict in named(list(verdicts.values()), series)]
    return taken, len(taken) > 1


def chosen_of_many(
    inputs: Sequence[Path], series: str, task: str | None, checkpoint: str | Path | None, force: bool, stack: ExitStack
) -> list[ImageSource]:
    """The images of several inputs, each with a stem of its own.

    What a list names and is not there, and an input without an image that can be taken, is a case that fails with its
    reason: the others go on.

    Args:
        inputs: images, folders, studies, zip files; and lists of them.
        series: as in :func:`chosen_images`, as are task, checkpoint and force; files are taken whatever it says.
        task: what to segment.
        checkpoint: ID or folder.
        force: take what the checkpoint does not.
        stack: what is unpacked stays until it is closed.

    Raises:
        InputError: an input is not there; a list that cannot be read, see :func:`~..files.lists.listed_paths`.
        UsageError: a series is asked for, and there is no DICOM.
    """
    if missing := [str(path) for path in inputs if not path.exists()]:
        raise InputError(f"{_quoted(missing)} cannot be found; expected images, folders, zip files, or lists of them.")
    found: list[tuple[Path, ImageSource]] = []
    for one in (one for path in inputs for one in _entries(path)):
        try:
            if not one.path.exists():
                raise InputError(f"{one.place}: '{one.path}' cannot be found; expected an image or a folder of images.")
            place = stack.enter_context(unpacked(one.path))
            in_file = not place.is_dir() and not is_directory(place)
            images = chosen_images(place, "all" if in_file else series, task, checkpoint, force)[0]
        except UsageError:
            raise
        except InputError as error:
            images = [ImageSource(one.path, stem_of(one.path), fault=error)]
        found += [(one.path, image) for image in images or [ImageSource(place, stem_of(one.path))]]
    images = told_apart(found)
    if len(images) < len(found):
        logger.info("%d of %d images were given before and are segmented once", len(found) - len(images), len(found))
    return images


def _entries(path: Path) -> list[ListedPath]:
    return listed_paths(path) if is_list(path) else [ListedPath(path, "")]


def _quoted(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + more


def _tell(verdicts: Iterable[Verdict]) -> None:
    for verdict in verdicts:
        if verdict.reason:
            folder = readable_name(verdict.series.folder.name)
            logger.info("skipped %s in %s: %s", verdict.series.title, folder, verdict.reason)


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
