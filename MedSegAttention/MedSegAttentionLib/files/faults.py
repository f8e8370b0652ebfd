"""What is said of a file that is not what its header promises."""

from __future__ import annotations

import re
from pathlib import Path

from ..data.errors import InputError
from .names import KINDS

AGAIN = "Copy or download it again."
READER = re.compile(r"(ITK ERROR: )?\w+\(0x[0-9a-f]+\):\s*|\(0x[0-9a-f]+\)")
"""How ITK begins its messages: an address, which tells nobody anything."""


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size


def _empty(path: Path) -> InputError:
    """The error for a file with nothing in it, as a full disk or a copy that was stopped leaves it."""
    return InputError(f"'{path}' is empty: it has 0 bytes. {AGAIN}")


def no_image(path: Path, reason: object) -> InputError:
    """The error for a file that is of no kind that is read here, or that the system does not let one read."""
    if isinstance(reason, OSError) and reason.errno is not None:
        return not_opened(path, reason)
    if _is_empty(path):
        return _empty(path)
    return InputError(f"'{path}' could not be read as an image ({reason}); expected {KINDS}.")


def cut_short(path: Path, promised: int, there: int) -> InputError:
    """The error for a file with too few bytes."""
    if _is_empty(path):
        return _empty(path)
    return InputError(
        f"'{path}' is cut short: its header promises {promised:,} bytes of voxels, {max(0, there):,} are there. {AGAIN}"
    )


def too_long(path: Path, promised: int, there: int) -> InputError:
    """The error for a file with too many bytes, of which nobody knows which are the image."""
    return InputError(
        f"'{path}' is longer than its header says: it describes {promised:,} bytes of voxels, {there:,} are there. "
        "Correct the sizes in its header, or export the image again."
    )


def not_opened(path: Path, error: OSError) -> InputError:
    """The error for a file that the system does not let one read."""
    return InputError(f"'{path}' cannot be read ({error.strerror or error}); expected a file that opens.")


def damaged(path: Path, reason: object) -> InputError:
    """The error for a file that contradicts itself, or that the system does not let one read."""
    if isinstance(reason, OSError) and reason.errno is not None:
        return not_opened(path, reason)
    if _is_empty(path):
        return _empty(path)
    text = " ".join(READER.sub("", str(reason)).split()) or type(reason).__name__
    return InputError(f"'{path}' is cut short or damaged ({text}). {AGAIN}")


def no_size(path: Path, found: str, field: str) -> InputError:
    """The error for a file whose voxels have no size, or one that is none."""
    return InputError(
        f"'{path}' says its voxels measure {found}; expected sizes above 0 mm. Correct its header ({field}), or export "
        "the image again."
    )


def no_place(path: Path, field: str) -> InputError:
    """The error for a file whose placement has values that are no numbers, or axes that are none."""
    return InputError(
        f"'{path}' says where it lies with values that are no finite numbers, or with axes of no length; expected "
        f"numbers. Correct its header ({field}), or export the image again."
    )
