"""``doctor``: what this installation has, as text for a bug report."""

from __future__ import annotations

import argparse
import logging

logger = logging.getLogger(__name__)


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add ``doctor`` to the command line."""
    commands.add_parser("doctor", help="check this installation").set_defaults(run=_run)


def _run(_arguments: argparse.Namespace) -> int:
    from ..setup.self_check import report  # only when asked for: every command starts faster

    findings = report()
    for finding in findings:
        logger.log(logging.ERROR if finding.problem else logging.INFO, "%s", finding.text)
    return 1 if any(finding.problem for finding in findings) else 0
