"""``checkpoints list`` and ``checkpoints verify``."""

from __future__ import annotations

import argparse
import logging

from ..checkpoints.catalogue import checkpoint_folders, find_checkpoint, list_checkpoints
from ..data.errors import CheckpointError

logger = logging.getLogger(__name__)


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add ``checkpoints`` to the command line."""
    parser = commands.add_parser("checkpoints", help="list the checkpoints, or verify their weights")
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|verify")
    actions.add_parser("list", help="one line for each checkpoint").set_defaults(run=_list)
    verify = actions.add_parser("verify", help="check cards and the SHA-256 of the weights")
    verify.add_argument("checkpoint", nargs="*", help="IDs or folders; none means all")
    verify.set_defaults(run=_verify)


def _list(_arguments: argparse.Namespace) -> int:
    for card in list_checkpoints():
        classes = ", ".join(label.name for label in card.labels)
        logger.info("%s  %s, version %s: %s (%s)", card.id, card.modality, card.version, card.title, classes)
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
