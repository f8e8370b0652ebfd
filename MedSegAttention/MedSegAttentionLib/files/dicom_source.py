"""Which instances an image was read from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..data.dicom_source import DicomSource
from .dicom_places import frame_count
from .dicom_voxels import File

DATES = ("AcquisitionDate", "AcquisitionDateTime", "SeriesDate", "StudyDate")


def source_of(files: Sequence[File], order: Iterable[int]) -> DicomSource:
    """The instances behind an image.

    Args:
        files: of the series.
        order: for each slice of the image its number among all frames of ``files``.
    """
    places = [(file, frame) for file in files for frame in range(frame_count(file.header))]
    ordered = [places[int(number)] for number in order]
    headers = [file.header for file, _ in ordered]
    return DicomSource(
        tuple((file.path, frame) for file, frame in ordered),
        _text(headers[0], "StudyInstanceUID"),
        _text(headers[0], "SeriesInstanceUID"),
        tuple(dict.fromkeys(_text(header, "SOPInstanceUID") for header in headers)),
        _text(headers[0], "PatientID"),
        next((date for name in DATES if (date := _text(headers[0], name)[:8])), ""),
    )


def _text(header: Any, name: str) -> str:
    value = header.get(name)
    return "" if value is None else str(value)
