"""Which DICOM instances an image was read from, and whose they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IDENTIFYING = (
    "patient_id",
    "acquisition_date",
    "study_instance_uid",
    "series_instance_uid",
    "sop_instance_uids",
)
"""Entries of a record that tell, alone or with an archive at hand, whose image it is."""


@dataclass(frozen=True)
class DicomSource:
    """The DICOM instances behind an image.

    Attributes:
        slices: for each slice k of the image its file and the number of its frame there, from 0.
        study_instance_uid: empty where the header has none, as all that follow.
        series_instance_uid: of the image.
        sop_instance_uids: of the files, in the order of the slices, each once.
        patient_id: PatientID.
        acquisition_date: ``YYYYMMDD``: AcquisitionDate, else that of the series or of the study.
    """

    slices: tuple[tuple[Path, int], ...] = field(repr=False)
    study_instance_uid: str = field(default="", repr=False)
    series_instance_uid: str = field(default="", repr=False)
    sop_instance_uids: tuple[str, ...] = field(default=(), repr=False)
    patient_id: str = field(default="", repr=False)
    acquisition_date: str = field(default="", repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files in the order of the slices, each once."""
        return tuple(dict.fromkeys(path for path, _ in self.slices))


def identity_entries(source: DicomSource | None, anonymous: bool) -> dict[str, Any]:
    """What a record says of whose image it is, JSON-ready; nothing for an image that is not from DICOM.

    Args:
        source: of the image.
        anonymous: say instead, as ``left_out_as_identifying``, which entries are missing.
    """
    if anonymous:
        return {"left_out_as_identifying": [*IDENTIFYING, "name"]}
    if source is None:
        return {}
    return {name: list(value) if isinstance(value := getattr(source, name), tuple) else value for name in IDENTIFYING}
