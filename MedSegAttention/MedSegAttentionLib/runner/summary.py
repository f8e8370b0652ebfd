"""The table of a folder of results: made from the records in it, by one writer at a time."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ..data.case import readable_name
from ..data.dicom_source import IDENTIFYING
from ..data.errors import InputError
from .claims import Claims
from .records import files_of, read_record

logger = logging.getLogger(__name__)

SUMMARY_FILE = "summary.csv"
MEASURED = (" mL", " voxels", " expected Dice")
"""How the columns of a class end."""
PROVENANCE_COLUMNS = ("checkpoint", "weights_sha256", "version", "device", "created")
LAST_COLUMNS = ("seconds", "warnings", "findings", "error")
PATIENCE_SECONDS = 30.0
"""So long the last table of a run waits for another run that is writing it."""
SHARE = 0.05
"""Of the time of a run that goes into its table at most."""


class Summary:
    """The table of a folder during a run: brought up to date as often as costs little.

    Args:
        path: the table; the records lie beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._next = path, 0.0

    def update(self, rows: Callable[[], Sequence[dict[str, Any]]], last: bool = False) -> None:
        """Write the table, unless the last time is too near; where it cannot be written now, the log says so.

        Args:
            rows: gives those of this run, see :func:`write_summary`.
            last: write it in any case, and wait for another run that writes it.
        """
        begin = monotonic()
        if last or begin >= self._next:
            write_summary(self.path, rows(), PATIENCE_SECONDS if last else 0.0)
            self._next = monotonic() + (monotonic() - begin) / SHARE


def write_summary(path: Path, rows: Sequence[dict[str, Any]], patience: float = PATIENCE_SECONDS) -> None:
    """Write the table of a folder, one row a case; where it cannot be written now, the log says so.

    It holds the cases of this run, and all others whose records lie beside it, whichever run made them; and those that
    an earlier table has: failed ones, and what users added. Columns of the users' own stay.

    Args:
        path: a CSV file.
        rows: ``{"case", "stem", "status", "error", "record"}``; ``record`` may be empty, and None for that on disk. A
            cancelled case keeps the row of its earlier result.
        patience: seconds to wait for another run that is writing it.
    """
    try:
        _write_alone(path, lambda: _merged(path, rows), patience)
    except InputError as error:
        logger.warning("%s", error)
    except (OSError, csv.Error) as error:  # held by a spreadsheet, for one: the next case tries again
        logger.warning("'%s' could not be written (%s); close it if another program has it open.", path, error)


def renew_row(path: Path, row: dict[str, Any]) -> None:
    """Bring the table that a batch left up to date about one case that was run alone; without one nothing is written.

    Args:
        path: the CSV file; one that is no table of this program stays as it is.
        row: see :func:`write_summary`.
    """
    try:
        _rows_of(path)
    except (InputError, OSError, csv.Error):
        return
    if path.is_file():
        write_summary(path, [row])


def rebuild_summary(folder: Path) -> dict[str, int]:
    """Make ``summary.csv`` of a folder anew from the records in it; returns how many cases have which status.

    Rows without a record go, but for those of failed cases, which leave no other trace.

    Raises:
        InputError: no such folder, or neither records nor a table in it; or the table cannot be read or written.
    """
    if not folder.is_dir():
        raise InputError(f"'{folder}' is no folder; expected one of results of segment.")
    path = folder / SUMMARY_FILE
    counts: dict[str, int] = {}

    def table() -> list[dict[str, Any]]:
        made, earlier = _rows_of_records(folder, set(), set(), {}), _rows_of(path)
        if not made and not earlier:
            raise InputError(f"'{folder}' holds no record (STEM.json) of a result; expected the results of segment.")
        known = {row["case"] for row in made}
        failed = [row for name, row in earlier.items() if name not in known and row["status"] == "failed"]
        table = [_with_own_columns(row, earlier) for row in [*made, *failed]]
        for row in table:
            counts[row["status"]] = counts.get(row["status"], 0) + 1
        return table

    try:
        _write_alone(path, table, PATIENCE_SECONDS)
    except (OSError, csv.Error) as error:
        raise InputError(
            f"'{path}' could not be written ({error}); close it if another program has it open."
        ) from error
    return counts


def _write_alone(path: Path, table: Callable[[], list[dict[str, Any]]], patience: float) -> None:
    """Write what ``table`` gives while no other run does; when one does for longer than ``patience``, leave it."""
    claims, end = Claims(path.parent), monotonic() + patience
    while (claim := claims.take(path.name)) is None:
        if monotonic() >= end:
            if patience:
                logger.warning("another run is writing '%s'; for a whole table, run: summary %s", path, path.parent)
            return
        sleep(0.1)
    try:
        _write(path, table())
    finally:
        claim.release()


def _merged(path: Path, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    earlier = _rows_of(path)
    own = [row for row in rows if row["status"] != "cancelled"]
    on_disk = {row["stem"]: row["status"] for row in own if row["record"] is None}
    own = [row for row in own if row["record"] is not None]
    cases, stems = {row["case"] for row in own}, {row.get("stem") for row in own}
    made = {row["case"]: row for row in _rows_of_records(path.parent, cases, stems, on_disk)}
    others = [made.pop(name, row) for name, row in earlier.items() if name not in cases]
    table = [*others, *made.values()]
    known = {row["case"] for row in table}
    table += [_columns_of(row) for row in rows if row["case"] not in known and row["record"] is not None]
    return [_with_own_columns(row, earlier) for row in table]


def _write(path: Path, table: list[dict[str, Any]]) -> None:
    measured = dict.fromkeys(name for row in table for name in row if name.endswith(MEASURED))
    columns = dict.fromkeys(["case", "status", *PROVENANCE_COLUMNS, *measured, *LAST_COLUMNS])
    columns |= dict.fromkeys(name for row in table for name in row)  # identity, and a user's own
    unfinished = path.with_name(f".unfinished-{path.name}")
    try:
        with unfinished.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.DictWriter(file, list(columns), restval="")
            writer.writeheader()
            writer.writerows(table)
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def _rows_of(path: Path) -> dict[str, dict[str, str]]:
    """The rows of the table that is there, by case."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:  # a spreadsheet may have put a BOM
        reader = csv.DictReader(file)
        if not {"case", "status", *PROVENANCE_COLUMNS} <= set(reader.fieldnames or ()):
            raise InputError(f"'{path}' is no table of this program and stays as it is; move it to get one.")
        return {row["case"]: {name: row[name] for name in reader.fieldnames if name} for row in reader}


def _with_own_columns(row: dict[str, Any], earlier: dict[str, dict[str, str]]) -> dict[str, Any]:
    """``row`` with what a user wrote into columns of an earlier table that are none of this program."""
    ours = {"case", "status", *PROVENANCE_COLUMNS, *LAST_COLUMNS, *IDENTIFYING}
    ours |= {name.removesuffix("s") for name in IDENTIFYING}
    before = earlier.get(row["case"], {}).items()
    return {name: value for name, value in before if name not in ours and not name.endswith(MEASURED)} | row


def _rows_of_records(
    folder: Path, cases: set[str], stems: set[str | None], statuses: dict[str, str]
) -> list[dict[str, Any]]:
    """A row for each record in ``folder`` but those of ``cases`` and ``stems``, by name; ``statuses`` are by stem."""
    if not folder.is_dir():
        return []
    names, rows = {path.name for path in folder.iterdir()}, []
    for stem in sorted(name.removesuffix(".json") for name in names if name.endswith(".json")):
        record = {} if stem in stems or stem.startswith(".") else read_record(folder, stem)
        case = readable_name(str(record.get("case", stem)))
        if "input_sha256" not in record or case in cases:
            continue  # some other file, or a result that is being replaced
        missing = [name for name in files_of(record, stem) if name not in names]
        error = f"missing: {', '.join(missing)}; segment again." if missing else ""
        status = "incomplete" if missing else statuses.get(stem, "segmented")
        try:
            rows.append(_columns_of({"case": case, "status": status, "error": error, "record": record}))
        except (KeyError, TypeError, ValueError, AttributeError):  # a record is a file, and may say anything
            logger.warning("'%s' is no record of a result and has no row.", folder / f"{stem}.json")
    return rows


def _in_a_cell(values: list[str]) -> str:
    """The first of several; a record has them all, and a table of thousands of cases stays one that opens."""
    return f"{values[0]} and {len(values) - 1} more" if len(values) > 1 else values[0]


def _columns_of(row: dict[str, Any]) -> dict[str, Any]:
    record = row["record"]
    values = {name: record.get(name, "") for name in PROVENANCE_COLUMNS}
    for item in record.get("segments", []):
        values[f"{item['name']} mL"] = "" if item["ml"] is None else item["ml"]
        values[f"{item['name']} voxels"] = item["voxels"]
        if item.get("expected_dice") is not None:
            values[f"{item['name']} expected Dice"] = item["expected_dice"]
    for name in (name for name in IDENTIFYING if record.get(name)):
        several = isinstance(record[name], list)
        values[name.removesuffix("s") if several else name] = _in_a_cell(record[name]) if several else record[name]
    if "seconds" in record:
        values["seconds"] = round(sum(record["seconds"].values()), 2)
    return {
        "case": row["case"],
        "status": row["status"],
        **values,
        "warnings": " ".join(record.get("warnings", [])),
        "findings": " ".join(
            f"{item['name']} {text}" for item in record.get("segments", []) for text in item.get("findings", [])
        ),
        "error": row["error"],
    }
