"""Command line: ``python -m MedSegAttentionLib COMMAND``.

Exit status 0 on success, 2 on wrong use, 1 on failure; one line on stderr says what was wrong, what was expected and
what to do. A traceback comes only with ``--debug``.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import __version__
from .commands import archive, checkpoints, compare, doctor, inspect, segment, summary
from .data.errors import MedSegAttentionError, UsageError
from .runner.threads import wait_briefly

logger = logging.getLogger(__package__)


class _Parser(argparse.ArgumentParser):
    """Says what was wrong in one line; takes ``--debug`` wherever it stands, as commands get parsers of this class."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show a traceback when something fails"
        )

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


_TRACEBACKS = logging.Formatter()


class _Console(logging.Handler):
    """Information to stdout as it is, warnings and errors to stderr with their level."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING:
            sys.stdout.write(f"{record.getMessage()}\n")
            sys.stdout.flush()
        else:
            details = f"\n{_TRACEBACKS.formatException(record.exc_info)}" if record.exc_info else ""
            sys.stderr.write(f"{record.levelname.lower()}: {record.getMessage()}{details}\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; those of training are there when its folder is."""
    parser = _Parser(prog="python -m MedSegAttentionLib", description="Research use only; not a medical device.")
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(debug=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (segment, summary, compare, inspect, archive, checkpoints, doctor):
        module.add_command(commands)
    if importlib.util.find_spec("MedSegAttentionTraining"):
        from MedSegAttentionTraining.commands import add_commands

        add_commands(commands)
    return parser


@contextmanager
def _cleaned_up_when_terminated() -> Iterator[None]:
    """A SIGTERM, or a terminal that is closed, ends the command like Ctrl+C does: nothing unfinished stays behind.

    A command that was told to go on without its terminal (``nohup``) does.
    """

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file name that the console cannot show must not end a batch
            stream.reconfigure(errors="backslashreplace")
    parsed = build_parser().parse_args(arguments)
    wait_briefly()
    root = logging.getLogger()
    root.handlers[:] = [_Console()]
    logger.setLevel(logging.INFO)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # its sentences quote values of headers: the patient's
    logging.getLogger("MedSegAttentionTraining").setLevel(logging.INFO)
    try:
        with _cleaned_up_when_terminated():
            return parsed.run(parsed)
    except KeyboardInterrupt:
        logger.error("stopped; finished results stay, the unfinished one was removed")
        return 1
    except Exception as error:
        if parsed.debug:
            if details := getattr(error, "details", ""):
                logger.error("%s", details)
            raise
        text = str(error) if isinstance(error, MedSegAttentionError) else f"{type(error).__name__}: {error}"
        if isinstance(error, OSError) and error.filename is not None:
            text = f"'{error.filename}' cannot be used ({error.strerror}); expected files and folders that open."
        logger.error(" ".join(text.split()))
        return 2 if isinstance(error, UsageError) else 1


if __name__ == "__main__":
    sys.exit(main())
