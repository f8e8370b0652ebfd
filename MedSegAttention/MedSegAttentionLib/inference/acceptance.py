"""Whether a volume is what a checkpoint takes."""

from __future__ import annotations

import numpy as np

from ..data.card import Card
from ..data.errors import ContractWarning, InputError
from ..data.volume import VolumeImage


def accept(volume: VolumeImage, card: Card, force: bool) -> tuple[VolumeImage, list[str]]:
    """The volume as the network takes it, and the warnings that were overridden.

    Args:
        volume: what the user gave.
        card: of the checkpoint.
        force: turn warnings about file, modality and intensity into notes instead of stopping.

    Raises:
        InputError: NaN or infinite values, or a channel count the checkpoint does not take.
        ContractWarning: the file left something open (``doubts``), or modality or intensities lie outside the card's
            range, and not ``force``.
    """
    volume = _match_channels(volume, card)
    volume.check_values()
    found = (*volume.doubts, _check_modality(volume, card), _check_intensity(volume, card))
    warnings = [text for text in found if text]
    if warnings and not force:
        raise ContractWarning(
            " ".join(warnings) + " The result may be meaningless. Use another volume or checkpoint, or run anyway "
            "(force)."
        )
    return volume, [*volume.notes, *warnings]


def _match_channels(volume: VolumeImage, card: Card) -> VolumeImage:
    opaque = volume.without_alpha()
    if opaque.channels != card.in_channels:
        kinds = {1: "one channel (grey values)", 3: "three channels (red, green, blue)"}
        raise InputError(
            f"'{volume.name}' has {volume.channels} channel(s); checkpoint '{card.id}' takes "
            f"{kinds[card.in_channels]}. Choose a matching volume or checkpoint."
        )
    return opaque


def _check_modality(volume: VolumeImage, card: Card) -> str | None:
    if volume.modality in (None, "", card.modality):
        return None
    return f"'{volume.name}' has modality {volume.modality}, but '{card.id}' was trained on {card.modality}."


def _check_intensity(volume: VolumeImage, card: Card) -> str | None:
    """CT is clipped to its window, if any, first, so that metal or padding outside it does not count."""
    smallest, largest = float(volume.array.min()), float(volume.array.max())
    if smallest == largest:
        return f"'{volume.name}' has the same value, {smallest:g}, everywhere."
    if card.modality == "CT" and card.intensity["method"] == "window":
        smallest, largest = np.clip((smallest, largest), card.intensity["low"], card.intensity["high"])
    for name, value in (("smallest", smallest), ("largest", largest)):
        low, high = card.expects["minimum" if name == "smallest" else "maximum"]
        if (low is not None and value < low) or (high is not None and value > high):
            span = f"{'any' if low is None else f'{low:g}'} to {'any' if high is None else f'{high:g}'}"
            return f"the {name} value of '{volume.name}' is {value:g}; '{card.id}' expects {span} ({card.modality})."
    return None
