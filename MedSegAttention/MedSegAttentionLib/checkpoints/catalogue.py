"""Which checkpoints there are, what their cards say, and which one a task and a volume ask for."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from ..data.card import Card, default_checkpoints
from ..data.errors import CheckpointError, InputError, UsageError
from ..data.task import BUILT_IN_TASKS, names_modality, task_names
from ..data.volume import VolumeImage
from .card_file import CARD_FILE, read_card

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).resolve().parents[2] / "Resources" / "Checkpoints"
WEIGHTS_FILE = Path("models") / "model.safetensors"
USER_FOLDER_VARIABLE = "MEDSEGATTENTION_CHECKPOINTS"
"""Environment variable that names another folder for the user's own checkpoints."""
CT_MINIMUM = -200
"""A volume of unknown modality whose smallest value is at most this is taken for CT (air is -1000 HU)."""


def user_folder() -> Path:
    """Where checkpoints go that the user adds: outside the extension, so that an update of it keeps them."""
    if chosen := os.environ.get(USER_FOLDER_VARIABLE):
        return Path(chosen).expanduser().absolute()
    home = Path.home()
    if sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        data = home / "Library" / "Application Support"
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return data / "MedSegAttention" / "Checkpoints"


def checkpoint_folders() -> list[Path]:
    """Folders of the installed checkpoints, whole or not: those that ship, then the user's, each by name.

    One of the user's that has the name of one that ships is hidden by it.
    """
    folders: dict[str, Path] = {}
    for place in (SHIPPED, user_folder()):
        for path in sorted(place.glob(f"*/{CARD_FILE.as_posix()}")):
            folders.setdefault(path.parents[1].name, path.parents[1])
    return [folder for name, folder in folders.items() if not name.startswith(".")]  # . is being added or removed


def user_checkpoints() -> list[str]:
    """IDs of the checkpoints that the user added."""
    return [folder.name for folder in checkpoint_folders() if folder.parent == user_folder()]


def licence_text(folder: Path) -> str:
    """Full text of the licence of the checkpoint in ``folder``; empty when it has none beside the line in its card."""
    path = folder / "LICENSE"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def list_checkpoints() -> list[Card]:
    """Cards of the installed checkpoints, in their folders' order; a broken one is left out, and the log says so."""
    cards = []
    for folder in checkpoint_folders():
        try:
            card = read_card(folder)
            if card.id != folder.name:
                raise CheckpointError(f"'{folder}' holds checkpoint '{card.id}'; expected a folder of that name.")
            cards.append(card)
        except CheckpointError as error:
            logger.warning("left out a checkpoint: %s", error)
    return cards


def check_task(task: str) -> None:
    """Raise :class:`UsageError` where neither a built-in task nor one of an installed checkpoint has this name."""
    if task not in BUILT_IN_TASKS and task not in (known := task_names(list_checkpoints())):
        raise UsageError(
            f"task '{task}' is not known; expected one of {', '.join(known)}, or add a checkpoint of that task first."
        )


def find_checkpoint(name: str | Path) -> Path:
    """Folder of a checkpoint given by ID, by folder, or by a task whose default does not depend on the modality.

    Raises:
        CheckpointError: there is none of that name.
    """
    for folder in (Path(name), *_installed(str(name))):
        if (folder / CARD_FILE).is_file():
            return folder
    cards = list_checkpoints()
    defaults = default_checkpoints(cards, str(name))
    if len(defaults) == 1:
        return _installed(defaults[0].id)[0]
    available = ", ".join(card.id for card in defaults or cards) or "none"
    raise CheckpointError(f"checkpoint '{name}' was not found; expected a folder or one of: {available}.")


def choose_checkpoint(task: str | None, volume: VolumeImage, checkpoint: str | Path | None = None) -> Path:
    """Folder of the checkpoint for a task and volume.

    Args:
        task: of :func:`~..data.task.task_names`; may be None when ``checkpoint`` is given.
        volume: where a task has checkpoints for CT and MR its modality decides; without one a smallest value of at most
            -200 means CT.
        checkpoint: ID or folder that overrides the choice.

    Raises:
        InputError: unknown task, checkpoint of another task, or nothing says which modality the volume is.
        CheckpointError: no such checkpoint, or none for this task.
    """
    if task is not None:
        check_task(task)
    if checkpoint:
        folder = find_checkpoint(checkpoint)
        if task is not None and read_card(folder).task != task:
            raise InputError(f"checkpoint '{checkpoint}' is for task {read_card(folder).task}, not for '{task}'.")
        return folder
    if task is None:
        known = ", ".join(task_names(list_checkpoints()))
        raise InputError(f"neither task nor checkpoint was given; expected a task ({known}) or a checkpoint.")
    cards = default_checkpoints(list_checkpoints(), task)
    if len(cards) > 1 or any(names_modality(card) for card in cards):
        cards = _of_modality(cards, volume)
    if not cards:
        raise CheckpointError(f"no checkpoint for task '{task}' is installed; add one or choose another task.")
    return _installed(cards[0].id)[0]


def possible_cards(task: str | None, checkpoint: str | Path | None = None) -> list[Card]:
    """Cards of the checkpoints that :func:`choose_checkpoint` may choose, whatever the volume; empty without any."""
    if checkpoint:
        return [read_card(find_checkpoint(checkpoint))]
    return default_checkpoints(list_checkpoints(), task) if task else []


def _installed(checkpoint_id: str) -> list[Path]:
    return [folder for folder in checkpoint_folders() if folder.name == checkpoint_id]


def _of_modality(cards: list[Card], volume: VolumeImage) -> list[Card]:
    if volume.without_alpha().channels not in {card.in_channels for card in cards}:
        raise InputError(
            f"'{volume.name}' is a colour picture; this task takes grey volumes ({', '.join(c.id for c in cards)})."
        )
    modality = volume.modality or ("CT" if volume.smallest <= CT_MINIMUM else None)
    if modality is None and len(cards) == 1:
        return cards
    if matching := [card for card in cards if card.modality == modality]:
        return matching
    choices = ", ".join(card.id for card in cards)
    if modality is None:
        raise InputError(
            f"'{volume.name}' does not say whether it is CT or MR (no DICOM modality, smallest value "
            f"{volume.smallest:g}); choose a checkpoint: {choices}."
        )
    raise InputError(f"'{volume.name}' has modality {modality}; checkpoints for this task are: {choices}.")
