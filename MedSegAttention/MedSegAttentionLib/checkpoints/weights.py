"""The weights file of a checkpoint: that it is what the card promises, and a safetensors file. Needs no torch."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from ..data.card import Card
from ..data.errors import CheckpointError
from .catalogue import WEIGHTS_FILE

HEADER_LIMIT = 100_000_000
"""Bytes of the header that the safetensors format allows."""


FAMILIAR_FILE = Path("models/familiar.safetensors")
"""What the training images look like to the encoder, of a checkpoint that judges it."""


def verified_weights(folder: Path, card: Card) -> bytes:
    """The bytes of the weights file, once their SHA-256 is the card's.

    Raises:
        CheckpointError: missing, or other bytes than the card promises.
    """
    return _verified(folder / WEIGHTS_FILE, card.weights_sha256)


def verified_familiar(folder: Path, card: Card) -> bytes | None:
    """The bytes of the file that tells what training images look like, likewise; None where the card has none."""
    return _verified(folder / FAMILIAR_FILE, card.familiar["sha256"]) if card.familiar else None


def _verified(path: Path, expected: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"weights '{path}' cannot be read ({error.strerror}). Get the checkpoint again."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise CheckpointError(
            f"weights '{path}' are damaged or altered: their SHA-256 is {found}, the card expects "
            f"{expected}. They were not loaded; get the checkpoint again."
        )
    return content


def check_is_safetensors(content: bytes, name: str | os.PathLike[str]) -> None:
    """Look at the header alone: its length, then a JSON table of tensors. A pickle has neither.

    Raises:
        CheckpointError: it is something else.
    """
    size = int.from_bytes(content[:8], "little")
    try:
        if not 2 <= size <= min(HEADER_LIMIT, len(content) - 8):
            raise ValueError(f"header of {size} bytes in a file of {len(content)}")
        if not isinstance(json.loads(content[8 : 8 + size]), dict):
            raise ValueError("header is no table")
    except ValueError as error:  # also what JSON and UTF-8 decoding raise
        raise CheckpointError(
            f"'{name}' is not a safetensors file ({error}); pickles and other formats can run code and are not taken. "
            "Ask the author of the checkpoint for safetensors weights."
        ) from error
