"""Series from an archive to a folder: whole, or not there; a run that was cut short goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.errors import ArchiveError, IncompleteTransfer, InputError
from .contents import Archive, ListedSeries

UID = re.compile(r"[0-9][0-9.]{0,63}")


@dataclass(frozen=True)
class Fetched:
    """How it went with a series.

    Attributes:
        series: which.
        folder: where it is, or would be.
        fetched: number of instances that came.
        error: why it is not whole, or None.
    """

    series: ListedSeries
    folder: Path
    fetched: int
    error: IncompleteTransfer | None = None


def fetch(
    archive: Archive,
    listed: Sequence[ListedSeries],
    output: Path,
    on_progress: Callable[[ListedSeries, int], None] = lambda _series, _count: None,
) -> list[Fetched]:
    """Fetch series to ``output/STUDY/SERIES/INSTANCE.dcm``.

    A series comes into a hidden folder, which other commands pass over, and gets its own name when every instance that
    the archive lists is there. What is there from an earlier run is not fetched again. A series that does not come
    whole does not keep others from coming.

    Args:
        archive: where from.
        listed: what it says it has.
        output: made when missing.
        on_progress: called with the series and the number of its instances that are there, for each that comes.

    Raises:
        ArchiveError: it cannot be reached, refuses or falls silent; what has come stays.
        InputError: ``output`` cannot be written to.
    """
    done = []
    for series in listed:
        _check_uids(series)
        folder = output / series.study / series.uid
        try:
            count = _fetch_one(archive, series, folder, on_progress)
            done.append(Fetched(series, folder, count))
        except IncompleteTransfer as error:
            done.append(Fetched(series, folder, 0, error))
        except OSError as error:
            raise InputError(f"'{folder}' cannot be written to ({error.strerror}); choose another --output.") from error
    return done


def _check_uids(series: ListedSeries) -> None:
    """They become names of folders and files: an archive could call them anything."""
    for uid in (series.study, series.uid, *series.instances):
        if not UID.fullmatch(uid):
            raise ArchiveError(f"the archive lists an instance whose UID is none ({uid!a}); nothing was fetched.")


def _fetch_one(
    archive: Archive, series: ListedSeries, folder: Path, on_progress: Callable[[ListedSeries, int], None]
) -> int:
    unfinished = folder.with_name(f".unfinished-{folder.name}")
    there = _names(folder) | _names(unfinished)
    missing = set(series.instances) - there
    if missing or not folder.is_dir():
        unfinished.mkdir(parents=True, exist_ok=True)

    def keep(uid: str, content: bytes) -> None:
        part = unfinished / f".{uid}.part"
        part.write_bytes(content)
        part.replace(unfinished / f"{uid}.dcm")
        on_progress(series, len(there | _names(unfinished)))

    refused = None
    if missing:
        try:
            archive.fetch(series, missing, keep)
        except IncompleteTransfer as error:
            refused = error
    left = set(series.instances) - _names(folder) - _names(unfinished)
    if left:
        raise IncompleteTransfer(
            f"{len(left)} of {len(series.instances)} instances of {series.title} did not come. What came is kept: run "
            f"again, and it goes on.{f' ({refused})' if refused else ''}"
        ) from refused
    _finish(unfinished, folder)
    return len(missing)


def _names(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.dcm") if not path.name.startswith(".")}


def _finish(unfinished: Path, folder: Path) -> None:
    if not unfinished.is_dir():
        return
    for part in unfinished.glob(".*.part"):
        part.unlink()
    if not folder.is_dir():
        unfinished.rename(folder)
        return
    for path in unfinished.iterdir():  # the archive has got more of a series that was whole
        path.replace(folder / path.name)
    unfinished.rmdir()
