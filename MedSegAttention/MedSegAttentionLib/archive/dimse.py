"""Archives by DICOM's own network protocol: C-FIND, C-GET or C-MOVE, C-STORE, by pynetdicom."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.uid import UID
from pynetdicom import AE, AllStoragePresentationContexts, StoragePresentationContexts, build_context, build_role, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from ..data.errors import ArchiveError, IncompleteTransfer
from .contents import Keep, ListedSeries, Query

TAKEN = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.1.99",
)
"""Transfer syntaxes that instances may come in: plain, RLE, JPEG and its kin."""
MOST_CONTEXTS = 128
"""Of an association, by the standard."""
SUCCESS, NO_ROOM, PENDING = 0x0000, 0xA700, (0xFF00, 0xFF01)
WARNINGS = range(0xB000, 0xC000)


@dataclass(frozen=True)
class DimseArchive:
    """An archive with host, port and title.

    Attributes:
        host: name or address.
        port: of its DICOM service.
        title: its AE title.
        own_title: ours; archives often know who may ask by it.
        timeout: seconds to wait for an answer.
        move_port: where set, retrieve by C-MOVE: the archive sends to this port of ours, which it must know under
            ``own_title``. Otherwise by C-GET.
    """

    host: str
    port: int
    title: str = "ANY-SCP"
    own_title: str = "MEDSEGATTENTION"
    timeout: float = 30.0
    move_port: int | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"archive {self.title} at {self.host}:{self.port}"

    def find(self, query: Query) -> list[ListedSeries]:
        """See :class:`~.contents.Archive`."""
        model = StudyRootQueryRetrieveInformationModelFind
        found = []
        with self._association([build_context(model)], model) as association:

            def ask(level: str, asked: Sequence[str], **keys: str) -> list[Any]:
                return self._answers(association.send_c_find(_identifier(level, asked, **keys), model))

            for study in ask("STUDY", ("StudyInstanceUID", "StudyDate"), **query.study_keys):
                asked = ("SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription")
                above = {"StudyInstanceUID": study.StudyInstanceUID}
                for series in ask("SERIES", asked, **above, **query.series_keys):
                    inner = {**above, "SeriesInstanceUID": series.SeriesInstanceUID}
                    instances = ask("IMAGE", ("SOPInstanceUID", "SOPClassUID"), **inner)
                    found.append(_listed(study, series, instances))
        return found

    def fetch(self, series: ListedSeries, missing: Iterable[str], keep: Keep) -> None:
        """See :class:`~.contents.Archive`."""
        missing = set(missing)
        problems: list[OSError] = []

        def store(event: Any) -> int:
            uid = str(event.request.AffectedSOPInstanceUID)
            try:
                if uid in missing:
                    keep(uid, event.encoded_dataset())
            except OSError as error:  # the disk is full, for one
                problems.append(error)
                return NO_ROOM
            return SUCCESS

        level = {"StudyInstanceUID": series.study, "SeriesInstanceUID": series.uid}
        if missing == set(series.instances):
            wanted = [_identifier("SERIES", (), **level)]
        else:
            wanted = [_identifier("IMAGE", (), **level, SOPInstanceUID=uid) for uid in sorted(missing)]
        try:
            retrieve = self._move if self.move_port else self._get
            retrieve(series, wanted, store)
        finally:
            if problems:
                raise ArchiveError(f"what {self.name} sent could not be kept ({problems[0]}).") from problems[0]

    def _get(self, series: ListedSeries, wanted: Sequence[Dataset], store: Callable[[Any], int]) -> None:
        model = StudyRootQueryRetrieveInformationModelGet
        if kinds := _kinds(series):
            contexts = [build_context(kind, syntax) for syntax in TAKEN for kind in kinds]
        else:
            kinds = [context.abstract_syntax for context in StoragePresentationContexts]
            contexts = [build_context(kind, list(TAKEN)) for kind in kinds]
        contexts = [build_context(model), *contexts[: MOST_CONTEXTS - 1]]
        roles = [build_role(kind, scp_role=True) for kind in kinds]
        with self._association(contexts, model, roles, [(evt.EVT_C_STORE, store)]) as association:
            for identifier in wanted:
                self._answers(association.send_c_get(identifier, model))

    def _move(self, series: ListedSeries, wanted: Sequence[Dataset], store: Callable[[Any], int]) -> None:
        model = StudyRootQueryRetrieveInformationModelMove
        receiver = self._entity()
        for kind in _kinds(series) or [context.abstract_syntax for context in AllStoragePresentationContexts]:
            receiver.add_supported_context(kind, list(TAKEN))
        try:
            server = receiver.start_server(("", self.move_port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
        except OSError as error:
            raise ArchiveError(
                f"port {self.move_port}, to which {self.name} is to send, cannot be opened "
                f"({error.strerror or error}); choose another with --move-port, and tell the archive."
            ) from error
        try:
            with self._association([build_context(model)], model) as association:
                for identifier in wanted:
                    self._answers(association.send_c_move(identifier, self.own_title, model))
        finally:
            server.shutdown()

    def store(self, files: Iterable[Path], taken: Callable[[Path], None]) -> dict[Path, str]:
        """See :class:`~.contents.Archive`."""
        kinds: dict[tuple[str, str], list[Path]] = {}
        for path in files:
            meta = dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True).file_meta
            kinds.setdefault((meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID), []).append(path)
        refused: dict[Path, str] = {}
        for start in range(0, len(kinds), MOST_CONTEXTS):
            part = list(kinds)[start : start + MOST_CONTEXTS]
            with self._association([build_context(*kind) for kind in part]) as association:
                for kind in part:
                    for path in kinds[kind]:
                        if reason := self._stored(association, path, kind):
                            refused[path] = reason
                        else:
                            taken(path)
        return refused

    def _stored(self, association: Any, path: Path, kind: tuple[str, str]) -> str:
        """Why a file was not taken; empty where it was."""
        accepted = {(item.abstract_syntax, item.transfer_syntax[0]) for item in association.accepted_contexts}
        if kind not in accepted:
            return f"it takes no {UID(kind[0]).name} in {UID(kind[1]).name}"
        status = association.send_c_store(path)
        if "Status" not in status:
            raise ArchiveError(self._silent(association))
        if status.Status == SUCCESS or status.Status in WARNINGS:
            return ""
        return f"status 0x{status.Status:04X} {status.get('ErrorComment', '')}".strip()

    def _answers(self, responses: Iterable[tuple[Any, Any]]) -> list[Any]:
        """What came with all answers.

        Raises:
            IncompleteTransfer: they end with a failure; the archive may answer to something else.
            ArchiveError: they do not come.
        """
        found = []
        for status, identifier in responses:
            if "Status" not in status:
                raise ArchiveError(
                    f"{self.name} fell silent or cut the connection (waited {self.timeout:g} s). {AGAIN}"
                )
            if status.Status in PENDING:
                found += [identifier] if identifier is not None else []
            elif status.Status != SUCCESS and status.Status not in WARNINGS:
                comment = status.get("ErrorComment", "") or "no reason given"
                raise IncompleteTransfer(
                    f"{self.name} refused what was asked (status 0x{status.Status:04X}, {comment}). {ELSE}"
                )
        return found

    def _silent(self, association: Any) -> str:
        how = "cut the connection" if association.is_aborted else f"fell silent (waited {self.timeout:g} s)"
        return f"{self.name} {how}. {AGAIN}"

    def _entity(self) -> AE:
        entity = AE(self.own_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self.timeout
        entity.connection_timeout = self.timeout
        return entity

    @contextmanager
    def _association(
        self, contexts: Sequence[Any], needed: str = "", roles: Sequence[Any] = (), handlers: Sequence[Any] = ()
    ) -> Iterator[Any]:
        """A connection, released at the end; raises :class:`ArchiveError` where there is none for ``needed``."""
        with _quiet():
            association = self._entity().associate(
                self.host,
                self.port,
                list(contexts),
                self.title,
                ext_neg=list(roles),
                evt_handlers=list(handlers),
            )
            if not association.is_established:
                raise ArchiveError(self._not_established(association))
            try:
                if needed and needed not in {item.abstract_syntax for item in association.accepted_contexts}:
                    raise ArchiveError(f"{self.name} does not offer {UID(needed).name}. {ELSE}")
                yield association
            finally:
                association.release() if association.is_established else association.abort()

    def _not_established(self, association: Any) -> str:
        if association.is_rejected:
            primitive = association.acceptor.primitive
            return (
                f"{self.name} refused the connection from {self.own_title} ({primitive.reason_str}). Check the titles: "
                "--aet is the archive's, --own-aet ours, which it may have to be told."
            )
        if association.rejected_contexts:
            kinds = {UID(item.abstract_syntax).name for item in association.rejected_contexts}
            return f"{self.name} does not offer or take {', '.join(sorted(kinds)[:3])}. {ELSE}"
        try:
            socket.create_connection((self.host, self.port), self.timeout).close()
        except OSError as error:
            return f"{self.name} cannot be reached ({error.strerror or error}). Check host and port."
        return f"{self.name} answers, but not as DICOM does (waited {self.timeout:g} s). Check host and port."


AGAIN = "What came is kept: run again, and it goes on."
ELSE = "Ask who runs it, or go by its DICOMweb address, or to fetch by C-MOVE (--move-port)."


def _kinds(series: ListedSeries) -> list[str]:
    """SOP classes of its instances; none where the archive does not say."""
    return sorted(set(series.instances.values())) if all(series.instances.values()) else []


def _identifier(level: str, asked: Sequence[str], **keys: str) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for name in asked:
        setattr(identifier, name, "")
    for name, value in keys.items():
        setattr(identifier, name, value)
    return identifier


def _listed(study: Dataset, series: Dataset, instances: Sequence[Dataset]) -> ListedSeries:
    return ListedSeries(
        str(study.StudyInstanceUID),
        str(series.SeriesInstanceUID),
        {str(one.SOPInstanceUID): str(one.get("SOPClassUID") or "") for one in instances},
        *(str(series.get(name) or "") for name in ("Modality", "SeriesNumber", "SeriesDescription")),
        str(study.get("StudyDate") or ""),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """What pynetdicom logs becomes an error here, and is more besides."""
    logger = logging.getLogger("pynetdicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
