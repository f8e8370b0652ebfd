"""DICOM files to an archive, none of them twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.errors import ArchiveError, InputError
from .contents import Archive, Query


@dataclass(frozen=True)
class Sent:
    """How it went.

    Attributes:
        sent: files that the archive took.
        there: files that it had.
        refused: file -> why it was not taken.
    """

    sent: tuple[Path, ...]
    there: tuple[Path, ...]
    refused: dict[Path, str]


def dicom_files(places: Iterable[Path]) -> list[Path]:
    """The DICOM files among ``places`` and in folders below them, but for hidden ones and lists of discs.

    Raises:
        InputError: one does not exist or is no DICOM file, or a folder holds none.
    """
    from pydicom.misc import is_dicom

    found: list[Path] = []
    for place in places:
        if not place.exists():
            raise InputError(f"'{place}' does not exist; expected DICOM files or folders of them.")
        inside = sorted(path for path in place.rglob("*") if not _is_hidden(path, place)) if place.is_dir() else [place]
        files = [path for path in inside if path.is_file() and path.name.upper() != "DICOMDIR" and is_dicom(path)]
        if not files:
            raise InputError(f"'{place}' {'holds' if place.is_dir() else 'is'} no DICOM file; expected some.")
        found += files
    return list(dict.fromkeys(found))


def _is_hidden(path: Path, top: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(top).parts)


def send(
    archive: Archive,
    files: Sequence[Path],
    again: bool = False,
    on_progress: Callable[[Path], None] = lambda _path: None,
) -> Sent:
    """Send files, but for those the archive has.

    Args:
        archive: where to.
        files: of :func:`dicom_files`.
        again: send also what it has.
        on_progress: called with each file that was taken.

    Raises:
        ArchiveError: it cannot be reached, refuses or falls silent; a later run sends the rest.
    """
    known = set() if again else _known(archive, files)
    there = [path for path in files if path in known]
    sent: list[Path] = []

    def taken(path: Path) -> None:
        sent.append(path)
        on_progress(path)

    refused = archive.store([path for path in files if path not in known], taken)
    return Sent(tuple(sent), tuple(there), refused)


def _known(archive: Archive, files: Sequence[Path]) -> set[Path]:
    """The files whose instances are in the archive; none where it cannot be asked."""
    from pydicom import dcmread

    series: dict[tuple[str, str], dict[str, Path]] = {}
    tags = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    for path in files:
        header = dcmread(path, specific_tags=tags, stop_before_pixels=True)
        study, uid, instance = (str(header.get(tag) or "") for tag in tags)
        series.setdefault((study, uid), {})[instance] = path
    known: set[Path] = set()
    try:
        for (study, uid), paths in series.items():
            for listed in archive.find(Query(study=study, series=uid)):
                known |= {path for instance, path in paths.items() if instance in listed.instances}
    except ArchiveError:  # it may take what it does not tell; storing says whether it is there at all
        return set()
    return known
