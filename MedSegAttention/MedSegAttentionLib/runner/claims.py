"""Claims on the cases of a folder: of several runs, on one machine or on many, one works on a case at a time.

A claim is a file ``.claims/KEY~GENERATION`` in the folder of the results, which its holder touches again and again.
One that nobody touched for the time of a lease is dead, with the process or the machine that held it: whoever creates
the next generation, which the file system lets only one do, holds the case from then on. Times are those that the file
system writes, never those of a machine's clock: clocks of nodes differ.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from ..data.errors import InputError, RunError
from .records import make_folder

logger = logging.getLogger(__name__)

CLAIMS_FOLDER = ".claims"
LEASE_SECONDS = 180.0
"""Longer than the minute for which a network file system may tell an old time, and than a moment of silence."""
BEATS = 12
"""A claim is touched this often in the time of a lease."""
ATTEMPTS = 20


class Claim:
    """A case that is held, until it is released.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, lease: float) -> None:
        self.path, self._released = path, threading.Event()
        self._thread = threading.Thread(target=self._beat, args=(lease / BEATS,), daemon=True, name="claim")
        self._thread.start()

    def _beat(self, seconds: float) -> None:
        while not self._released.wait(seconds):
            with suppress(OSError):  # a file server that is away for a moment; who lost the claim is told by check
                os.utime(self.path)

    def check(self) -> None:
        """Raise :class:`RunError` where another run holds the case by now: this one was silent for too long."""
        generations = _generations(self.path.parent, _key_of(self.path))
        if max(generations, default=-1) != _generation_of(self.path):
            raise RunError(
                "another run took this case over, since nothing was heard of this one for too long (the machine slept, "
                "or lost the folder); its result is kept instead."
            )

    def release(self) -> None:
        """Let others have the case; the oldest generation goes first, so that nobody takes a dead one for the last."""
        self._released.set()
        self._thread.join()
        mine = _generation_of(self.path)
        generations = _generations(self.path.parent, _key_of(self.path))
        for number in sorted(number for number in generations if number <= mine):
            with suppress(OSError):
                generations[number].unlink()
        with suppress(OSError):  # others are in it
            self.path.parent.rmdir()


class Claims:
    """The claims of a folder.

    Args:
        output: folder of the results; made when something is claimed.
        lease: seconds after which a claim that nobody touched is dead.
    """

    def __init__(self, output: Path, lease: float = LEASE_SECONDS) -> None:
        self.output, self.folder, self.lease = output, output / CLAIMS_FOLDER, lease

    def take(self, name: str) -> Claim | None:
        """Claim a case; None where somebody else holds it.

        Args:
            name: of the case: the start of the names of its files.

        Raises:
            InputError: the folder cannot be written to.
        """
        try:
            return self._take(hashlib.sha256(name.lower().encode("utf-8", "surrogateescape")).hexdigest()[:32], name)
        except OSError as error:
            raise InputError(
                f"'{self.output}' cannot be written to ({error.strerror or error}); choose another folder."
            ) from error

    def _take(self, key: str, name: str) -> Claim | None:
        for _ in range(ATTEMPTS):
            make_folder(self.folder)
            try:
                held = _generations(self.folder, key)
                latest = max(held, default=-1)
                if held and not self._is_dead(held[latest]):
                    return None
                path = self.folder / f"{key}~{latest + 1}"
                _create(path, name)
            except FileExistsError:  # another run was faster
                return None
            except FileNotFoundError:  # another run removed the empty folder, or released this case
                continue
            if not held or self._is_still_dead(held[latest]):
                return Claim(path, self.lease)
            path.unlink(missing_ok=True)  # what seemed dead was taken over and released meanwhile
        return None

    def _is_dead(self, path: Path) -> bool:
        return self._now() - path.stat().st_mtime > self.lease

    def _is_still_dead(self, path: Path) -> bool:
        try:
            return self._is_dead(path)
        except FileNotFoundError:
            return False

    def _now(self) -> float:
        """The time by the clock of the file system."""
        with tempfile.TemporaryFile(dir=self.folder, prefix=".clock-") as file:
            file.write(b" ")
            file.flush()
            return os.fstat(file.fileno()).st_mtime


def _create(path: Path, name: str) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        try:
            json.dump({"case": name, "host": socket.gethostname(), "process": os.getpid()}, file)
            file.flush()
        except OSError:  # a full disk; the file alone is the claim, its words are for people
            logger.debug("no words in '%s'", path, exc_info=True)


def _generations(folder: Path, key: str) -> dict[int, Path]:
    """The files of a case by their number."""
    found = {}
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            start, _, number = entry.name.rpartition("~")
            if start == key and number.isdecimal():
                found[int(number)] = Path(entry.path)
    return found


def _key_of(path: Path) -> str:
    return path.name.rpartition("~")[0]


def _generation_of(path: Path) -> int:
    return int(path.name.rpartition("~")[2])
