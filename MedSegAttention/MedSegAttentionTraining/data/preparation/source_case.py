"""A case of a download, before it is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from MedSegAttentionLib.data.errors import InputError


@dataclass(frozen=True)
class SourceCase:
    """One volume or picture of a download.

    Attributes:
        name: stem of the files it becomes.
        group: patient or sequence; a split never divides it.
        write: writes ``images/`` and ``labels/`` or ``masks/`` below the folder it is given.
        part: ``train``, ``validation`` or ``test`` where the publishers split, else None.
    """

    name: str
    group: str
    write: Callable[[Path], None]
    part: str | None = None


def companion(path: Path, of: Path) -> Path:
    """``path`` where it is a file.

    Raises:
        InputError: the file that belongs to ``of`` is missing.
    """
    if not path.is_file():
        raise InputError(f"'{of}' has no '{path.name}'; expected it in '{path.parent}'. Unpack the download whole.")
    return path
