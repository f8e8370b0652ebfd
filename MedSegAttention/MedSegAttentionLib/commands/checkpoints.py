"""``checkpoints list``, ``verify``, ``add``, ``remove`` and ``time``."""

from __future__ import annotations

import argparse
import logging

from ..checkpoints.catalogue import (
    checkpoint_folders,
    find_checkpoint,
    list_checkpoints,
    user_checkpoints,
    user_folder,
)
from ..data.card import default_checkpoints
from ..data.errors import CheckpointError
from ..data.task import task_names
from ..inference.settings import DEVICES

logger = logging.getLogger(__name__)


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add ``checkpoints`` to the command line."""
    parser = commands.add_parser("checkpoints", help="list, verify, add, remove or time the checkpoints")
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|verify|add|remove|time")
    actions.add_parser("list", help="one line for each checkpoint").set_defaults(run=_list)
    verify = actions.add_parser("verify", help="check cards and the SHA-256 of the weights")
    verify.add_argument("checkpoint", nargs="*", help="IDs or folders; none means all")
    verify.set_defaults(run=_verify)
    add = actions.add_parser("add", help="check a checkpoint and add it to your own")
    add.add_argument("source", help="folder, zip file, or https or file URL of a zip file")
    add.set_defaults(run=_add)
    remove = actions.add_parser("remove", help="delete one of your own checkpoints")
    remove.add_argument("checkpoint", help="ID")
    remove.set_defaults(run=_remove)
    time = actions.add_parser("time", help="measure the seconds a slice takes, on three slices of noise")
    time.add_argument("checkpoint", help="ID or folder")
    time.add_argument("--device", choices=DEVICES, default="auto")
    time.set_defaults(run=_time)


def _list(_arguments: argparse.Namespace) -> int:
    cards, own = list_checkpoints(), user_checkpoints()
    defaults = [card for task in task_names(cards) for card in default_checkpoints(cards, task)]
    for card in cards:
        classes = ", ".join(label.name for label in card.labels)
        remarks = ", default of its task" * (card in defaults) + ", added by you" * (card.id in own)
        logger.info("%s  %s, version %s%s: %s (%s)", card.id, card.modality, card.version, remarks, card.title, classes)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from ..checkpoints.loading import load_checkpoint

    whole = True
    for folder in [find_checkpoint(name) for name in arguments.checkpoint] or checkpoint_folders():
        try:
            checksum = load_checkpoint(folder).card.weights_sha256
            logger.info("%s: weights and card are whole (SHA-256 %s)", folder.name, checksum)
        except CheckpointError as error:
            logger.error("%s", error)
            whole = False
    return 0 if whole else 1


def _add(arguments: argparse.Namespace) -> int:
    from ..checkpoints.adding import add_checkpoint

    try:
        from ..checkpoints.loading import load_checkpoint as check
    except ImportError:  # without torch the first run finds out whether network and weights fit each other
        check = None
    card = add_checkpoint(arguments.source, check=check)
    logger.info("%s, version %s, was added to %s", card.id, card.version, user_folder())
    logger.info("licence: %s", card.license)
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from ..checkpoints.adding import remove_checkpoint

    remove_checkpoint(arguments.checkpoint)
    logger.info("%s was removed", arguments.checkpoint)
    return 0


def _time(arguments: argparse.Namespace) -> int:
    from ..inference.probe import seconds_per_slice

    measured = seconds_per_slice(find_checkpoint(arguments.checkpoint), arguments.device)
    logger.info("%.4f s per slice on %s", measured.seconds, measured.device)
    return 0
