"""Adding a checkpoint from a folder, a zip file or a URL to the user's own, and removing it again.

Nothing lands before its card and its weights are checked, only files that a checkpoint has are taken over, and nothing
of it is ever run.
"""

from __future__ import annotations

import re
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from ..data.card import Card
from ..data.errors import CheckpointError
from .card_file import CARD_FILE, read_card
from .catalogue import SHIPPED, WEIGHTS_FILE, user_folder
from .downloading import download, is_url
from .weights import FAMILIAR_FILE, check_is_safetensors, verified_familiar, verified_weights

Openers = dict[str, Callable[[], IO[bytes]]]
"""Path inside a source, with ``/`` -> a function that opens it."""

MEGABYTE = 1_000_000
SIZE_LIMIT = 1000 * MEGABYTE
"""Bytes that a download or the weights may have; the checkpoints that ship have 4 MB each."""
TAKEN = {
    CARD_FILE.as_posix(): MEGABYTE,
    WEIGHTS_FILE.as_posix(): SIZE_LIMIT,
    FAMILIAR_FILE.as_posix(): MEGABYTE,
    "docs/README.md": MEGABYTE,
    "LICENSE": MEGABYTE,
}
"""Files that are taken over, and the bytes each may have."""
LEFT_BEHIND = ("configs/inference.json", "README.md", ".gitattributes", ".gitignore")
"""Files that may lie with a checkpoint and are not taken over: expressions that MONAI would run, a repository's own."""
LITTER = {".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX"}
"""What file managers leave in folders and zip files."""
MOST_FILES = 1000
"""A folder with more was chosen by mistake."""
ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")
TASK = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def add_checkpoint(
    source: str | Path,
    *,
    check: Callable[[Path], object] | None = None,
    on_bytes: Callable[[int, int | None], None] | None = None,
) -> Card:
    """Copy a checkpoint into :func:`~.catalogue.user_folder`, whole or not at all.

    Args:
        source: folder, zip file, or URL (https, or file) of a zip file.
        check: called with the copy before it lands, e.g. :func:`~.loading.load_checkpoint`; refuses it by raising.
        on_bytes: called while a download goes on with the bytes so far and in all (None: unknown); may raise to stop.

    Returns:
        the card of what was added.

    Raises:
        CheckpointError: it was refused, and why; nothing was added.
    """
    place = user_folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".adding-", dir=place, ignore_cleanup_errors=True) as workshop:
            if is_url(source):
                archive = Path(workshop) / "download.zip"
                download(str(source), archive, SIZE_LIMIT, on_bytes)
            else:
                archive = Path(source).expanduser()
            copy = Path(workshop) / "checkpoint"
            with _opened(archive, str(source)) as files:
                _take_over(files, copy, str(source))
            try:
                card = _checked(copy, place)
                if check:
                    check(copy)
            except CheckpointError as error:  # the user knows the source, not the copy
                raise CheckpointError(str(error).replace(str(copy), str(source))) from error
            copy.rename(place / card.id)
    except OSError as error:
        raise CheckpointError(
            f"'{source}' could not be added to '{place}' ({error.strerror or error}). Nothing was added; free some "
            "disk space or choose another folder with the environment variable MEDSEGATTENTION_CHECKPOINTS."
        ) from error
    return card


def remove_checkpoint(checkpoint_id: str) -> None:
    """Delete one of the user's own checkpoints.

    Raises:
        CheckpointError: it ships with the extension, or is not there, or cannot be deleted.
    """
    folder = user_folder() / checkpoint_id
    if not ID.fullmatch(checkpoint_id) or not folder.is_dir():
        if (SHIPPED / checkpoint_id / CARD_FILE).is_file():
            raise CheckpointError(f"checkpoint '{checkpoint_id}' ships with the extension and cannot be removed.")
        raise CheckpointError(f"checkpoint '{checkpoint_id}' is not in '{user_folder()}'; nothing was removed.")
    try:
        with tempfile.TemporaryDirectory(prefix=".removing-", dir=user_folder()) as bin_folder:
            folder.rename(Path(bin_folder) / checkpoint_id)  # gone at once, never half there
    except OSError as error:
        raise CheckpointError(
            f"'{folder}' cannot be removed ({error.strerror or error}); delete it yourself."
        ) from error


@contextmanager
def _opened(archive: Path, source: str) -> Iterator[Openers]:
    """The files of a folder or a zip file, by path."""
    if archive.is_dir():
        yield _files_of_folder(archive)
    elif not archive.is_file():
        raise CheckpointError(f"'{source}' does not exist; expected a checkpoint folder, a zip file or a URL.")
    else:
        try:
            with zipfile.ZipFile(archive) as opened:
                yield _files_of_zip(opened)
        except (zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise CheckpointError(
                f"'{source}' is not a whole zip file ({error}); expected a checkpoint folder or a zip of one. "
                "Download it again."
            ) from error


def _files_of_folder(folder: Path) -> Openers:
    files: Openers = {}
    for count, path in enumerate(folder.rglob("*")):
        if count == MOST_FILES:
            raise CheckpointError(f"'{folder}' holds more than {MOST_FILES} files; choose the checkpoint's own folder.")
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise CheckpointError(f"'{name}' in '{folder}' is a link to another place; only plain files are taken.")
        if path.is_file():
            files[name] = partial(path.open, "rb")
        elif not path.is_dir():
            raise CheckpointError(f"'{name}' in '{folder}' is no plain file; only plain files are taken.")
    return files


def _files_of_zip(opened: zipfile.ZipFile) -> Openers:
    files: Openers = {}
    for entry in opened.infolist():
        name = entry.filename.replace("\\", "/")  # as some programs on Windows write it
        if name.startswith("/") or ":" in name or ".." in PurePosixPath(name).parts:
            raise CheckpointError(f"the zip holds a file for another place, '{name}'; it was refused as unsafe.")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise CheckpointError(f"the zip holds '{name}', a link or no plain file; it was refused as unsafe.")
        if entry.flag_bits & 1:
            raise CheckpointError(f"'{name}' in the zip is encrypted; unpack it first and add the folder.")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise CheckpointError(f"'{name}' in the zip is packed in an unusual way; unpack it and add the folder.")
        if name in files:
            raise CheckpointError(f"the zip holds '{name}' twice; it was refused as unsafe.")
        if not name.endswith("/"):
            files[name] = partial(_open_entry, opened, entry)
    return files


def _open_entry(opened: zipfile.ZipFile, entry: zipfile.ZipInfo) -> IO[bytes]:
    try:
        return opened.open(entry)
    except (OSError, ValueError) as error:  # its place in the file is none
        raise zipfile.BadZipFile(f"'{entry.filename}' is not where the zip says") from error


def _take_over(files: Openers, target: Path, source: str) -> None:
    """Copy the files of a checkpoint, which may lie in one folder inside the source."""
    files = {name: opener for name, opener in files.items() if not LITTER & set(PurePosixPath(name).parts)}
    cards = [name for name in files if f"/{name}".endswith(f"/{CARD_FILE.as_posix()}")]
    if len(cards) != 1:
        raise CheckpointError(
            f"'{source}' holds {len(cards)} checkpoints; expected one: a folder, or a zip of it, with "
            f"{CARD_FILE.as_posix()} and {WEIGHTS_FILE.as_posix()}."
        )
    root = cards[0].removesuffix(CARD_FILE.as_posix())
    known = {root + name for name in (*TAKEN, *LEFT_BEHIND)}
    if unknown := sorted(set(files) - known):
        raise CheckpointError(
            f"'{source}' holds {len(unknown)} file(s) that are no part of a checkpoint: {', '.join(unknown[:5])}. "
            f"Expected {', '.join(TAKEN)}; take the others out and add it again."
        )
    if root + "README.md" in files:  # where a repository has it
        files.setdefault(root + "docs/README.md", files[root + "README.md"])
    for name, limit in TAKEN.items():
        if root + name in files:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            with files[root + name]() as reading, (target / name).open("wb") as writing:
                _copy(reading, writing, limit, name)


def _copy(reading: IO[bytes], writing: IO[bytes], limit: int, name: str) -> None:
    """Copy at most ``limit`` bytes, whatever size the source claims."""
    written = 0
    while block := reading.read(MEGABYTE):
        written += len(block)
        if written > limit:
            raise CheckpointError(f"'{name}' has more than {limit // MEGABYTE} MB, which no checkpoint needs; refused.")
        writing.write(block)


def _checked(folder: Path, place: Path) -> Card:
    """The card of a copy that may land in ``place``."""
    card = read_card(folder)
    if not ID.fullmatch(card.id) or not TASK.fullmatch(card.task) or not card.id.startswith(f"{card.task}-"):
        raise CheckpointError(
            f"checkpoint '{card.id}' for task '{card.task}' is not named by the rules; expected TASK-NETWORK or "
            "TASK-MODALITY-NETWORK in small letters, with the task that its card names."
        )
    check_is_safetensors(verified_weights(folder, card), WEIGHTS_FILE)
    if familiar := verified_familiar(folder, card):
        check_is_safetensors(familiar, FAMILIAR_FILE)
    if (SHIPPED / card.id).is_dir():
        raise CheckpointError(f"checkpoint '{card.id}' ships with the extension; give yours another ID.")
    if (place / card.id).exists():
        raise CheckpointError(f"checkpoint '{card.id}' is already in '{place}'; remove it first to replace it.")
    return card
