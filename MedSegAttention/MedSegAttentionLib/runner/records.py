"""Results of cases as files of one folder: complete or not there, with a record that tells whether they still hold."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..data.errors import InputError

WORKSHOPS = ".unfinished-results"
"""Folder in that of the results where each is written, to be moved when it is whole."""
ATTEMPTS = 20


@contextmanager
def results_in(output: Path, stem: str, endings: Sequence[str] = ()) -> Iterator[Path]:
    """A folder beside the results; when all went well what it holds moves over, otherwise nothing is left.

    Files of an earlier result of the same case are replaced, and removed where the new one lacks them: one record, one
    set of files.

    Args:
        output: folder of the results.
        stem: of the case.
        endings: of the files that are going to be there, beside the record.

    Raises:
        InputError: the folder cannot be written to, a file of that name is there and no result of this package, a
            folder stands where a file must go, or another program holds a file.
    """
    made = [folder for folder in (output, *output.parents) if not folder.exists()]
    _refuse_files_of_others(output, stem, endings)
    try:
        workshop = _workshop(output, stem)
    except OSError as error:
        raise InputError(f"'{output}' cannot be written to ({error.strerror}); choose another folder.") from error
    try:
        yield workshop
        _move(sorted(workshop.iterdir()), output, stem)
        _remove(workshop)  # empty; a virus scanner may hold it for a moment
    except BaseException:
        _remove(workshop)
        for folder in made:
            with suppress(OSError):  # something else lies in it by now
                folder.rmdir()
        raise


def _workshop(output: Path, stem: str) -> Path:
    for _ in range(ATTEMPTS):
        make_folder(output / WORKSHOPS)
        with suppress(FileNotFoundError):  # another run removed the empty folder
            return Path(tempfile.mkdtemp(prefix=f"{_key_of(stem)}-", dir=output / WORKSHOPS))
    raise OSError(None, "its folders vanish")


def make_folder(folder: Path) -> None:
    """Make a folder that other runs make, and remove when it is empty, at the same time."""
    for _ in range(ATTEMPTS):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:  # it was there and is gone, which ``mkdir`` takes for something else that stands there
            if folder.exists() and not folder.is_dir():
                raise
        else:
            return
    raise OSError(None, "it vanishes")


def _key_of(stem: str) -> str:
    return hashlib.sha256(stem.lower().encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _remove(workshop: Path) -> None:
    shutil.rmtree(workshop, ignore_errors=True)
    with suppress(OSError):  # others are in it
        workshop.parent.rmdir()


def remove_unfinished(output: Path, stem: str) -> None:
    """Remove what a run that was killed left of a case; for who holds the case, since nobody else may be at it."""
    left: list[Path] = []
    with suppress(FileNotFoundError):  # another run removed the empty folder
        left += (output / WORKSHOPS).glob(f"{_key_of(stem)}-*")
    for workshop in left:
        _remove(workshop)


def _refuse_files_of_others(output: Path, stem: str, endings: Sequence[str]) -> None:
    record = read_record(output, stem)
    ours = {*files_of(record, stem), *([f"{stem}.json"] if "files" in record else [])}
    for name in (f"{stem}{ending}" for ending in (*endings, ".json")):
        if (output / name).exists() and name not in ours:
            raise InputError(
                f"'{output / name}' is there already and is no result of this program (or '{stem}.json', which would "
                "say so, is damaged); choose another output folder, or remove the file."
            )


def _move(files: list[Path], output: Path, stem: str) -> None:
    """Put ``files`` into ``output``, the record last: until then one stands there that vouches for nothing."""
    if taken := [path.name for path in files if (output / path.name).is_dir()]:
        raise InputError(f"'{output / taken[0]}' is a folder where a result must go; choose another output folder.")
    names = {path.name for path in files}
    record, earlier = output / f"{stem}.json", files_of(read_record(output, stem), stem)
    try:
        unfinished = output / f".unfinished-{record.name}"
        unfinished.write_text(json.dumps({"files": sorted({*earlier, *names} - {record.name})}), encoding="utf-8")
        unfinished.replace(record)  # in one step: half a record would vouch for nothing ever again
        for path in sorted(files, key=lambda path: path.name == record.name):
            path.replace(output / path.name)
        for name in set(earlier) - names:
            (output / name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"the results of '{stem}' could not be put into '{output}' ({error}); close them if another program has "
            "them open, and run again."
        ) from error


def write_record(folder: Path, stem: str, record: dict[str, Any]) -> dict[str, Any]:
    """Write STEM.json, which also names all files that are in ``folder`` now; returns what was written."""
    record = {**record, "files": sorted(path.name for path in folder.iterdir())}
    (folder / f"{stem}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def read_record(folder: Path, stem: str) -> dict[str, Any]:
    """The record of a case, or an empty one where there is none that can be read."""
    try:
        record = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def is_whole(folder: Path, stem: str, record: dict[str, Any], endings: Sequence[str]) -> bool:
    """Whether all files that ``record`` names are there, among them those with ``endings``."""
    names = files_of(record, stem)
    return {f"{stem}{ending}" for ending in endings} <= set(names) and all((folder / name).is_file() for name in names)


def files_of(record: dict[str, Any], stem: str) -> list[str]:
    """Plain names that belong to the case: a record is a file like any other, and may say anything."""
    names = record.get("files")
    names = names if isinstance(names, list) else []
    return [name for name in names if isinstance(name, str) and name.startswith(f"{stem}.") and Path(name).name == name]
