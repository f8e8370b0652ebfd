"""``summary``: the table of a folder of results, made anew from the records in it."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ..runner.summary import SUMMARY_FILE, rebuild_summary

logger = logging.getLogger(__name__)


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add ``summary`` to the command line."""
    parser = commands.add_parser(
        "summary",
        help="make summary.csv of a folder of results anew from the records (STEM.json) in it",
        description="One row for each record, whichever run made it. Failed cases, which have none, keep the row that "
        "the earlier table has, and columns of your own stay.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the --output of segment")
    parser.set_defaults(run=run_command)


def run_command(arguments: argparse.Namespace) -> int:
    """Carry out ``summary``; returns the exit status."""
    counts = rebuild_summary(arguments.folder)
    words = ", ".join(f"{count} {status}" for status, count in counts.items())
    logger.info("wrote %s: %s", arguments.folder / SUMMARY_FILE, words)
    return 0
