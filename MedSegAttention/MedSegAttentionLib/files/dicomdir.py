"""DICOMDIR: the list of files of a medium, to notice which of them are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.errors import InputError
from .faults import AGAIN

DIRECTORY = "DICOMDIR"


def is_directory(path: Path) -> bool:
    """Whether ``path`` is a DICOMDIR, by its name."""
    return path.is_file() and path.name.upper() == DIRECTORY


def missing_files(path: Path) -> dict[str, InputError]:
    """SeriesInstanceUID -> the error for a series of which files are listed and not there; empty without a DICOMDIR.

    Names are compared as on media, whatever the case of their letters.

    Raises:
        InputError: it is damaged.
    """
    if not path.is_file():
        return {}
    import pydicom

    try:
        records = pydicom.dcmread(path).DirectoryRecordSequence
    except Exception as error:  # whatever a damaged file makes of a parser
        raise InputError(
            f"'{path}' is damaged ({type(error).__name__}). {AGAIN} Or give the folder of a series."
        ) from error
    there = {str(file.relative_to(path.parent)).upper() for file in path.parent.rglob("*")}
    listed: dict[str, list[str]] = {}
    series = ""
    for record in records:
        kind = record.get("DirectoryRecordType")
        if kind in ("PATIENT", "STUDY"):
            series = ""
        elif kind == "SERIES":
            series = str(record.get("SeriesInstanceUID", ""))
        elif record.get("ReferencedFileID"):
            listed.setdefault(series, []).append(_name(record.ReferencedFileID))
    missing = {uid: [name for name in names if name.upper() not in there] for uid, names in listed.items()}
    return {
        uid: InputError(
            f"'{path}' lists {len(listed[uid])} files of this series, of which {len(names)} are not there (the first "
            f"is {names[0]}). {AGAIN}"
        )
        for uid, names in missing.items()
        if names
    }


def _name(parts: Any) -> str:
    return str(Path(*([parts] if isinstance(parts, str) else parts)))
