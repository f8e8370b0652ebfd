"""A small archive of a test: a pynetdicom server that keeps what it gets in memory, and misbehaves when told to."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.uid import CTImageStorage, MRImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from MedSegAttentionLib.archive.dimse import TAKEN

KINDS = (CTImageStorage, MRImageStorage)
LEVELS = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}


@dataclass
class ArchiveDouble:
    """What the server keeps, and how it misbehaves.

    Attributes:
        title: its AE title.
        kept: SOPInstanceUID -> instance.
        loses: instances that it lists and does not send.
        cuts_after: instances of a retrieval after which it cuts the connection, once.
        waits: seconds before it answers a query.
        refuses: SOP classes it takes, with a failure status for each.
        knows: (host, port) of the destination of C-MOVE.
        requests: what was asked: "find", "get", "move", "store".
    """

    title: str = "DOUBLE"
    kept: dict[str, Dataset] = field(default_factory=dict)
    loses: set[str] = field(default_factory=set)
    cuts_after: int | None = None
    waits: float = 0
    refuses: dict[str, int] = field(default_factory=dict)
    knows: tuple[str, int] | None = None
    requests: list[str] = field(default_factory=list)
    port: int = 0

    def matching(self, wanted: Dataset) -> list[Dataset]:
        keys = [
            element.keyword
            for element in wanted
            if element.keyword != "QueryRetrieveLevel" and element.value not in ("", None)
        ]
        return [
            one
            for one in list(self.kept.values())
            if all(str(one.get(key, "")) == str(wanted[key].value) for key in keys)
        ]

    def find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        self.requests.append("find")
        time.sleep(self.waits)
        level = LEVELS[event.identifier.QueryRetrieveLevel]
        for one in {one[level].value: one for one in self.matching(event.identifier)}.values():
            answer = Dataset()
            answer.QueryRetrieveLevel = event.identifier.QueryRetrieveLevel
            for element in event.identifier:
                if element.keyword != "QueryRetrieveLevel" and element.keyword in one:
                    answer[element.keyword] = one[element.keyword]
            yield 0xFF00, answer

    def get(self, event: Any) -> Iterator[Any]:
        self.requests.append("get")
        found = [one for one in self.matching(event.identifier) if one.SOPInstanceUID not in self.loses]
        yield len(found)
        yield from self._sent(event, found)

    def move(self, event: Any) -> Iterator[Any]:
        self.requests.append("move")
        found = [one for one in self.matching(event.identifier) if one.SOPInstanceUID not in self.loses]
        yield self.knows or (None, None)
        yield len(found)
        yield from self._sent(event, found)

    def _sent(self, event: Any, found: list[Dataset]) -> Iterator[tuple[int, Dataset]]:
        for number, one in enumerate(found):
            if number == self.cuts_after:
                self.cuts_after = None
                event.assoc.abort()
                return
            yield 0xFF00, one

    def store(self, event: Any) -> int:
        self.requests.append("store")
        dataset = dcmread(DicomBytesIO(event.encoded_dataset()))
        if status := self.refuses.get(str(dataset.SOPClassUID)):
            return status
        self.kept[str(dataset.SOPInstanceUID)] = dataset
        return 0x0000


@contextmanager
def serving(double: ArchiveDouble, retrieve: bool = True, allowed: list[str] | None = None) -> Iterator[ArchiveDouble]:
    """Run the server on a free port of this computer.

    Args:
        double: its port is set.
        retrieve: whether it knows C-GET.
        allowed: AE titles that may call; None for all.
    """
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    entity = AE(double.title)
    entity.require_called_aet = True
    entity.require_calling_aet = allowed or []
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
    if retrieve:
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
    for kind in KINDS:
        entity.add_supported_context(kind, list(TAKEN), scu_role=True, scp_role=True)
        entity.add_requested_context(kind)
    handlers = [
        (evt.EVT_C_FIND, double.find),
        (evt.EVT_C_GET, double.get),
        (evt.EVT_C_MOVE, double.move),
        (evt.EVT_C_STORE, double.store),
    ]
    server = entity.start_server(("127.0.0.1", double.port), block=False, evt_handlers=handlers)
    double.port = server.socket.getsockname()[1]
    try:
        yield double
    finally:
        server.shutdown()
