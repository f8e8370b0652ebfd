"""``fetch-from`` and ``send-to``: studies from an archive, and results back to it."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.errors import ArchiveError, DependencyError, UsageError

if TYPE_CHECKING:
    from ..archive.contents import Archive, ListedSeries

logger = logging.getLogger(__name__)

LONGEST_TITLE = 16
PORTS = range(1, 65536)


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add ``fetch-from`` and ``send-to`` to the command line."""
    fetch = commands.add_parser("fetch-from", help="fetch DICOM series from an archive")
    _add_archive(fetch)
    fetch.add_argument("--output", type=Path, metavar="DIR", help="folder for STUDY/SERIES/INSTANCE.dcm")
    fetch.add_argument("--study", default="", metavar="UID", help="StudyInstanceUID")
    fetch.add_argument("--patient", default="", metavar="ID", help="PatientID")
    fetch.add_argument("--accession", default="", metavar="NUMBER", help="AccessionNumber")
    fetch.add_argument("--date", default="", metavar="YYYYMMDD[-YYYYMMDD]", help="StudyDate")
    fetch.add_argument("--series", default="", metavar="UID", help="SeriesInstanceUID")
    fetch.add_argument("--modality", default="", help="CT, MR, ...")
    fetch.add_argument("--list", action="store_true", help="only say what would be fetched")
    fetch.add_argument(
        "--move-port",
        type=int,
        metavar="PORT",
        help="retrieve by C-MOVE: the archive, which must know this computer under --own-aet, sends to this port of it",
    )
    fetch.set_defaults(run=run_fetch)
    send = commands.add_parser("send-to", help="send DICOM files, such as results, to an archive")
    _add_archive(send)
    send.add_argument("files", type=Path, nargs="+", help="DICOM files, or folders in which all of them are sent")
    send.add_argument("--again", action="store_true", help="send also what the archive has")
    send.set_defaults(run=run_send)


def _add_archive(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("archive", help="HOST:PORT of its DICOM service, or its DICOMweb address, http(s)://...")
    parser.add_argument("--aet", default="ANY-SCP", metavar="TITLE", help="AE title of the archive")
    parser.add_argument("--own-aet", default="MEDSEGATTENTION", metavar="TITLE", help="AE title of this computer")
    parser.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="to wait for an answer (30)")


def run_fetch(arguments: argparse.Namespace) -> int:
    """Carry out ``fetch-from``; returns the exit status."""
    archive = _archive(arguments)
    from ..archive.contents import Query
    from ..archive.fetching import fetch

    names = ("study", "patient", "accession", "date", "series", "modality")
    query = Query(**{name: getattr(arguments, name) for name in names})
    if not query.study_keys:
        raise UsageError("nothing says which studies; expected --study, --patient, --accession or --date.")
    if arguments.output is None and not arguments.list:
        raise UsageError("--output is missing; expected a folder for what is fetched, or --list.")
    listed = [series for series in archive.find(query) if series.instances]
    if not listed:
        raise ArchiveError(f"{archive.name} has nothing that was asked for; check the keys, or ask with fewer of them.")
    if arguments.list:
        for series in listed:
            logger.info("%s %s", "  ".join((series.study, series.date, series.title)), _looks(series))
        return 0
    done = fetch(archive, listed, arguments.output, _log_progress)
    for one in done:
        if one.error:
            logger.error("%s", one.error)
    whole = [one for one in done if not one.error]
    logger.info(
        "%d of %d series whole, %d instances fetched; see %s",
        len(whole),
        len(done),
        sum(one.fetched for one in done),
        arguments.output,
    )
    return 0 if len(whole) == len(done) else 1


def run_send(arguments: argparse.Namespace) -> int:
    """Carry out ``send-to``; returns the exit status."""
    archive = _archive(arguments)
    from ..archive.sending import dicom_files, send

    result = send(archive, dicom_files(arguments.files), arguments.again, lambda path: logger.info("sent %s", path))
    for path, reason in result.refused.items():
        logger.error("%s was not taken by %s: %s", path, archive.name, reason)
    logger.info("%d sent, %d there already, %d not taken", len(result.sent), len(result.there), len(result.refused))
    return 1 if result.refused else 0


def _archive(arguments: argparse.Namespace) -> Archive:
    """The archive that the command line names; raises :class:`UsageError` or :class:`DependencyError`."""
    if arguments.timeout <= 0:
        raise UsageError(f"--timeout {arguments.timeout:g} is not possible; expected seconds above 0.")
    try:
        if "://" in arguments.archive:
            from ..archive.web import WebArchive

            return WebArchive(arguments.archive, arguments.timeout)
        from ..archive.dimse import DimseArchive
    except ImportError as error:
        raise DependencyError(
            f"archives need the Python packages pynetdicom and dicomweb-client ({error}); install them with "
            "'pip install \"medsegattention[archive]\"'."
        ) from error
    host, _, port = arguments.archive.rpartition(":")
    move_port = getattr(arguments, "move_port", None)
    for number in (port, *([str(move_port)] if move_port is not None else [])):
        if not host or not number.isdigit() or int(number) not in PORTS:
            raise UsageError(
                f"archive '{arguments.archive}', port '{number}': expected HOST:PORT, 1 to 65535, or http://"
            )
    for title in (arguments.aet, arguments.own_aet):
        if not title.strip() or len(title) > LONGEST_TITLE or not title.isascii() or "\\" in title:
            raise UsageError(f"AE title '{title}' is none; expected 1 to {LONGEST_TITLE} plain characters.")
    return DimseArchive(host.strip("[]"), int(port), arguments.aet, arguments.own_aet, arguments.timeout, move_port)


def _looks(series: ListedSeries) -> str:
    return f"'{series.description}', {len(series.instances)} instances"


def _log_progress(series: ListedSeries, count: int) -> None:
    if count % 50 == 0 or count == len(series.instances):
        logger.info("%s: %d of %d instances", series.title, count, len(series.instances))
