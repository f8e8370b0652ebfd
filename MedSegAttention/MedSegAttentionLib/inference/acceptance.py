"""Whether a volume is what a checkpoint takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..checkpoints.catalogue import list_checkpoints
from ..data.card import Card, default_checkpoints
from ..data.errors import ContractWarning, InputError
from ..data.volume import VolumeImage

DEPTHS = (10, 12, 14, 16)
"""Bits that cameras store in 16: one of 16 reaches more than a quarter of what it could."""


def accept(volume: VolumeImage, card: Card, force: bool) -> tuple[VolumeImage, list[str]]:
    """The volume as the network takes it, and the warnings that were overridden.

    Args:
        volume: what the user gave.
        card: of the checkpoint.
        force: turn warnings about file, modality and intensity into notes instead of stopping.

    Raises:
        InputError: infinite values, nothing but NaN, or a channel count the checkpoint does not take.
        ContractWarning: the file left something open (``doubts``), voxels are NaN, or modality or intensities lie
            outside the card's range, and not ``force``.
    """
    accepted, doubts, misfits = _examined(volume, card)
    if (doubts or misfits) and not force:
        others = may_be_for(others_that_take(volume, card)) if misfits else ""
        raise ContractWarning(
            f"{' '.join([*doubts, *misfits])} The result may be meaningless. {others}Use another volume or checkpoint, "
            "or run anyway (force)."
        )
    return accepted, [*accepted.notes, *doubts, *misfits]


def _examined(volume: VolumeImage, card: Card) -> tuple[VolumeImage, list[str], list[str]]:
    """As the network takes it; what the file leaves open; and what the checkpoint was not trained on."""
    volume, see_through = _match_channels(volume, card)
    volume, without_value = _filled(volume)
    volume = _in_bytes(volume, card)
    doubts = (see_through, *volume.doubts, without_value)
    misfits = (_check_modality(volume, card), _check_intensity(volume, card))
    return volume, [text for text in doubts if text], [text for text in misfits if text]


def others_that_take(volume: VolumeImage, card: Card) -> list[Card]:
    """Cards of other tasks or modalities that fit channels, modality and intensities of an image.

    Of each task and modality the one that is taken when none is named. A volume of one value fits none.
    """
    cards = list_checkpoints()
    rivals = [one for task in dict.fromkeys(one.task for one in cards) for one in default_checkpoints(cards, task)]
    return [one for one in rivals if (one.task, one.modality) != (card.task, card.modality) and _fits(volume, one)]


def _fits(volume: VolumeImage, card: Card) -> bool:
    try:
        return not _examined(volume, card)[2]
    except InputError:
        return False


def may_be_for(cards: Sequence[Card]) -> str:
    """A sentence and a space after it about which checkpoints take an image; nothing without any."""
    named = ", ".join(f"'{one.id}' ({one.title})" for one in cards)
    return f"By channels, modality and intensities it may be one for {named}. " if cards else ""


def _match_channels(volume: VolumeImage, card: Card) -> tuple[VolumeImage, str | None]:
    """Without an alpha channel, and a warning where nothing of the image is seen through it."""
    opaque = volume.without_alpha()
    if opaque.channels != card.in_channels:
        kinds = {1: "one channel (grey values)", 3: "three channels (red, green, blue)"}
        raise InputError(
            f"'{volume.name}' has {volume.channels} channel(s); checkpoint '{card.id}' takes "
            f"{kinds[card.in_channels]}. Choose a matching volume or checkpoint."
        )
    if opaque is volume or volume.array[..., -1].any():
        return opaque, None
    return opaque, (
        f"'{volume.name}' is transparent everywhere: other programs show nothing of it, and the colours beneath may be "
        "of anything. Save it without transparency (alpha channel)."
    )


def _filled(volume: VolumeImage) -> tuple[VolumeImage, str | None]:
    """NaN replaced by the smallest value, and a warning about it; raises :class:`InputError` for infinite values."""
    if volume.array.dtype.kind != "f":
        return volume, None
    finite = np.isfinite(volume.array)
    if finite.all():
        return volume, None
    absent = int(np.isnan(volume.array).sum())
    if absent < finite.size - finite.sum() or not finite.any():
        volume.check_values()
    lowest = volume.array[finite].min()
    text = (
        f"'{volume.name}' has {absent} voxels that are NaN (as outside a registered image), taken as its background, "
        f"{lowest:g}."
    )
    return replace(volume, array=np.where(finite, volume.array, lowest)), text


def _in_bytes(volume: VolumeImage, card: Card) -> VolumeImage:
    """Colours of 0 to 255 for a checkpoint that takes pictures, whatever their number type; truth values as 0 and 1.

    Where the type does not say which number is white, that is a doubt of the volume.
    """
    if volume.array.dtype == bool:
        return replace(volume, array=volume.array.astype(np.uint8))
    if card.in_channels != 3 or (card.intensity.get("low"), card.intensity.get("high")) != (0, 255):
        return volume
    smallest, largest = float(volume.array.min()), float(volume.array.max())
    if volume.array.dtype.kind == "f" and 0 < largest <= 1:
        white, found = 1.0, "0 to 1"
    elif smallest >= 0 and 255 < largest <= 65535:
        bits = next(bits for bits in DEPTHS if largest < 2**bits)
        white, found = 2.0**bits - 1, f"{bits} bits"
    else:
        return volume
    array = (volume.array * np.float32(255 / white)).astype(np.float32)
    if white in (1, 65535) and volume.array.dtype.kind in "uf":
        note = f"the colours of '{volume.name}' ({found} a channel) were brought to 0 to 255."
        return replace(volume, array=array, notes=(*volume.notes, note))
    doubt = (
        f"the colours of '{volume.name}' are numbers of type {volume.array.dtype} up to {largest:g}, which does not "
        f"say what is white: {white:g} if it is a picture of {found}, as was taken, or more if it is a dark one. Save "
        "it with 8 bits a channel."
    )
    return replace(volume, array=array, doubts=(*volume.doubts, doubt))


def _check_modality(volume: VolumeImage, card: Card) -> str | None:
    if card.takes_modality(volume.modality):
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
