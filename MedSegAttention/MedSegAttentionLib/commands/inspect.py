"""``inspect``: the series of a DICOM study, and which of them a task takes."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ..checkpoints.catalogue import check_task, possible_cards
from ..data.errors import InputError
from ..files.unpacking import unpacked

logger = logging.getLogger(__name__)


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add ``inspect`` to the command line."""
    parser = commands.add_parser("inspect", help="list the series of a DICOM study, and which of them a task takes")
    parser.add_argument("study", type=Path, help="a DICOM file, a folder however nested, a DICOMDIR, or a zip of them")
    parser.add_argument("--task", help="say which series this task takes, and which fits best; without: every task")
    parser.add_argument("--checkpoint", help="checkpoint ID or folder, instead of the task's own choice")
    parser.set_defaults(run=run_command)


def run_command(arguments: argparse.Namespace) -> int:
    """Carry out ``inspect``; returns the exit status."""
    if arguments.task is not None:
        check_task(arguments.task)
    if not arguments.study.exists():
        raise InputError(f"'{arguments.study}' does not exist; expected a DICOM file, folder, DICOMDIR or zip.")
    from ..files.study import find_series
    from .series_table import series_table

    with unpacked(arguments.study) as place:
        series = find_series(place)
        if not series:
            raise InputError(f"'{arguments.study}' holds no DICOM file; expected a study.")
        for line in series_table(series, possible_cards(arguments.task, arguments.checkpoint)):
            logger.info("%s", line)
    return 0
