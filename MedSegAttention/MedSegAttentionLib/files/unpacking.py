"""A zip file of images as the folder it was made of."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..data.errors import InputError
from .faults import AGAIN, damaged
from .names import stem_of


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """``path`` itself; or the content of a zip file, in a folder of its name that is gone afterwards.

    Raises:
        InputError: the zip file is damaged or locked by a password, or does not fit on the disk.
    """
    if not path.is_file() or path.suffix.lower() != ".zip":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="medsegattention-", ignore_cleanup_errors=True) as folder:
        place = Path(folder) / stem_of(path)
        place.mkdir()
        _unpack(path, place)
        yield place


def _unpack(path: Path, place: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.flag_bits & 1 for entry in entries):
                raise InputError(f"'{path}' is locked by a password; expected a zip file that opens. Unpack it first.")
            needed, free = sum(entry.file_size for entry in entries), shutil.disk_usage(place).free
            if needed > free:
                raise InputError(
                    f"'{path}' needs {needed / 1e9:.1f} GB unpacked, and '{place.parent.parent}' has "
                    f"{free / 1e9:.1f} GB left; make room, set TMPDIR to another disk, or unpack it yourself and "
                    "give the folder."
                )
            archive.extractall(place)  # which leaves out .. and drive names
    except (zipfile.BadZipFile, EOFError, zipfile.zlib.error) as error:
        raise damaged(path, error) from error
    except (NotImplementedError, OSError) as error:
        raise InputError(f"'{path}' cannot be unpacked ({error}). {AGAIN} Or unpack it yourself.") from error
