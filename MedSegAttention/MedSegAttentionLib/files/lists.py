"""Lists of images: text files with a path a line, tables with a column of paths."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from ..data.errors import InputError

LIST_SUFFIXES = (".csv", ".txt")
PATH_COLUMNS = ("path", "image", "input", "file", "volume", "series", "study", "folder")
"""Names of the column that holds the paths; the first that a table has, whatever the case of its letters."""


@dataclass(frozen=True)
class ListedPath:
    """A path of a list.

    Attributes:
        path: relative ones start at the folder of the list.
        place: where it stands, for messages.
    """

    path: Path
    place: str


def is_list(path: Path) -> bool:
    """Whether ``path`` is a file with paths rather than an image."""
    return path.suffix.lower() in LIST_SUFFIXES and path.is_file()


def listed_paths(path: Path) -> list[ListedPath]:
    """The paths of a list, in their order.

    Args:
        path: a text file with a path a line, where empty lines and those that begin with # are left out; or a CSV file
            with a column of :data:`PATH_COLUMNS`, or with one column alone.

    Raises:
        InputError: no text, no such column, no path in it, or none of them leads anywhere.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}' cannot be read as a list of paths ({error}); expected text in UTF-8.") from error
    rows = _cells(path, text) if path.suffix.lower() == ".csv" else list(enumerate(text.splitlines(), 1))
    cells = [(number, cell.strip().strip("\"'")) for number, cell in rows]
    listed = [
        ListedPath(path.parent / cell, f"line {number} of '{path}'")
        for number, cell in cells
        if cell and cell[0] != "#"
    ]
    if not listed:
        raise InputError(f"'{path}' holds no path; expected one a line.")
    if not any(one.path.exists() for one in listed):
        raise InputError(
            f"none of the {len(listed)} paths of '{path}' leads anywhere, the first to '{listed[0].path}'; expected "
            "images or folders. Relative paths start at the folder of the list."
        )
    return listed


def _cells(path: Path, text: str) -> list[tuple[int, str]]:
    """(line, path) of each row of a table."""
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        reader = csv.reader(text.splitlines(), delimiter=delimiter)
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise InputError(f"'{path}' is no table ({error}); expected a CSV file with a column of paths.") from error
    names = [name.strip().lower() for name in rows[0][1]] if rows else []
    column = next((names.index(name) for name in PATH_COLUMNS if name in names), None)
    if column is not None:
        return [(number, row[column]) for number, row in rows[1:] if len(row) > column]
    if len(names) > 1:
        raise InputError(
            f"'{path}' has the columns {', '.join(names)}; expected one named {', '.join(PATH_COLUMNS)} with the paths."
        )
    return [(number, row[0]) for number, row in rows]
