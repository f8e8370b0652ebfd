"""What is said of a file that is not what its header promises."""

from __future__ import annotations

from pathlib import Path

from ..data.errors import InputError
from .names import KINDS

AGAIN = "Copy or download it again."


def no_image(path: Path, reason: object) -> InputError:
    """The error for a file that is of no kind that is read here, whatever its name."""
    return InputError(f"'{path}' could not be read as an image ({reason}); expected {KINDS}.")


def cut_short(path: Path, promised: int, there: int) -> InputError:
    """The error for a file with too few bytes."""
    return InputError(
        f"'{path}' is cut short: its header promises {promised:,} bytes of voxels, {max(0, there):,} are there. {AGAIN}"
    )


def damaged(path: Path, reason: object) -> InputError:
    """The error for a file that contradicts itself."""
    text = " ".join(str(reason).split()) or type(reason).__name__
    return InputError(f"'{path}' is cut short or damaged ({text}). {AGAIN}")
