"""What is asked of an archive, what it says it has, and what every kind of archive can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

Keep = Callable[[str, bytes], None]
"""Takes the SOPInstanceUID and the whole file of an instance that has come."""

STUDY_KEYS = ("StudyInstanceUID", "PatientID", "AccessionNumber", "StudyDate")
SERIES_KEYS = ("SeriesInstanceUID", "Modality")


@dataclass(frozen=True)
class Query:
    """What to look for; an empty text stands for anything.

    Attributes:
        study: StudyInstanceUID.
        patient: PatientID.
        accession: AccessionNumber.
        date: StudyDate, ``YYYYMMDD`` or ``YYYYMMDD-YYYYMMDD``.
        series: SeriesInstanceUID.
        modality: DICOM Modality.
    """

    study: str = field(default="", repr=False)
    patient: str = field(default="", repr=False)
    accession: str = field(default="", repr=False)
    date: str = ""
    series: str = field(default="", repr=False)
    modality: str = ""

    @property
    def study_keys(self) -> dict[str, str]:
        """Keys of a query for studies, with what is not empty."""
        values = zip(STUDY_KEYS, (self.study, self.patient, self.accession, self.date), strict=True)
        return {name: value for name, value in values if value}

    @property
    def series_keys(self) -> dict[str, str]:
        """Keys of a query for the series of a study, with what is not empty."""
        values = zip(SERIES_KEYS, (self.series, self.modality), strict=True)
        return {name: value for name, value in values if value}


@dataclass(frozen=True)
class ListedSeries:
    """A series as an archive lists it.

    Attributes:
        study: StudyInstanceUID.
        uid: SeriesInstanceUID.
        instances: SOPInstanceUID -> SOPClassUID, empty where the archive does not say.
        modality: DICOM Modality, or empty.
        number: SeriesNumber, or empty.
        description: SeriesDescription, or empty.
        date: StudyDate, or empty.
    """

    study: str = field(repr=False)
    uid: str = field(repr=False)
    instances: Mapping[str, str] = field(repr=False)
    modality: str = ""
    number: str = ""
    description: str = ""
    date: str = ""

    @property
    def title(self) -> str:
        """What a user calls it; says nothing of the patient."""
        return " ".join(text for text in ("series", self.number, self.modality) if text)


class Archive(Protocol):
    """What both protocols can do; each raises :class:`~..data.errors.ArchiveError`."""

    def find(self, query: Query) -> list[ListedSeries]:
        """All series that match, with their instances."""

    def fetch(self, series: ListedSeries, missing: Iterable[str], keep: Keep) -> None:
        """Have these instances of a series sent, and hand each to ``keep``; some may not come."""

    def store(self, files: Iterable[Path], taken: Callable[[Path], None]) -> dict[Path, str]:
        """Send files; ``taken`` is called with each that is safe there. Returns why others were not."""
