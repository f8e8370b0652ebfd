"""The headers of the instances an image was read from, in the order of its slices and as highdicom takes them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.dicom_source import DicomSource
from ..data.errors import InputError
from .naming import derived_uid

NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""Elements that an object must have, with nothing in them where it is not known (type 2)."""
SEXES = ("M", "F", "O")
UNICODE = "ISO_IR 192"


@dataclass(frozen=True)
class SourceImages:
    """Headers of the instances behind an image.

    Attributes:
        headers: one for each slice, in their order; or that of one object of many frames.
        frames: for an object of many frames the number of each slice's frame, else None.
    """

    headers: list[Any]
    frames: np.ndarray | None = None

    @property
    def has_place(self) -> bool:
        """Whether the instances lie somewhere in the patient; photographs do not."""
        return "FrameOfReferenceUID" in self.headers[0]

    def arranged(self, array: np.ndarray) -> np.ndarray:
        """``[K, J, I]`` in the order of slices to the order of :attr:`headers` or of their frames."""
        if self.frames is None:
            return array
        ordered = np.zeros_like(array)
        ordered[self.frames] = array
        return ordered


def source_images(source: DicomSource) -> SourceImages:
    """Read the headers again, without voxels, and complete them in memory where archives and anonymisers cut.

    Text becomes Unicode, missing elements that may be empty become so, values that are none of their kind are emptied,
    and slices whose directions differ in the last digits get those of the first.

    Raises:
        InputError: what an object must refer to is missing, or the image is of a kind that none can refer to.
    """
    headers = [_header(path) for path in source.files]
    first = headers[0]
    if missing := [name for name in NEEDED for header in headers if not header.get(name)]:
        raise InputError(
            f"'{source.files[0].parent}' has DICOM files without {missing[0]}, by which DICOM results refer to images; "
            "get the series again as it left the scanner, or segment without --dicom."
        )
    if len({header.SOPInstanceUID for header in headers}) < len(headers):
        raise InputError(
            f"'{source.files[0].parent}' has several DICOM files with one SOPInstanceUID, so that results cannot tell "
            "which slice they mean; get the series again, or segment without --dicom."
        )
    many = [header for header in headers if int(header.get("NumberOfFrames", 1) or 1) > 1]
    if many and len(headers) > 1:
        raise InputError(
            f"'{source.files[0].parent}' is a series of several objects of many frames, which a DICOM result cannot "
            "refer to as one image; segment each file by itself, or without --dicom."
        )
    for header in headers:
        _complete(header, first)
    _place(headers)
    if many:
        frames = np.array([frame for _, frame in source.slices])
        if "FrameOfReferenceUID" not in first:
            raise InputError(
                f"'{source.files[0]}' has {len(frames)} frames and no place in the patient (a video or a set of "
                "photographs), for which DICOM has no segmentation object; segment single pictures, or without --dicom."
            )
        return SourceImages(headers, frames)
    return SourceImages(headers)


def _header(path: Path) -> Any:
    import pydicom

    with warnings.catch_warnings():  # whose texts may quote the patient
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(path, stop_before_pixels=True)
        header.decode()
    if "SpecificCharacterSet" in header:
        header.SpecificCharacterSet = UNICODE
    return header


def _complete(header: Any, first: Any) -> None:
    from pydicom.valuerep import DA, TM

    for name in MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
    for name, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(header.get(name))
        except (ValueError, TypeError):
            setattr(header, name, "")
    if header.PatientSex not in SEXES:
        header.PatientSex = ""
    if "ImageOrientationPatient" in first:
        header.ImageOrientationPatient = first.ImageOrientationPatient


def _place(headers: Sequence[Any]) -> None:
    """One frame of reference where slices have a place, and directions of all frames in one entry."""
    first = headers[0]
    groups = first.get("PerFrameFunctionalGroupsSequence") or []
    if "ImagePositionPatient" not in first and not (groups and "PlanePositionSequence" in groups[0]):
        for header in headers:
            if not header.get("FrameOfReferenceUID") or "ImageOrientationSlide" not in header:
                header.pop("FrameOfReferenceUID", None)
        return
    frame_of_reference = first.get("FrameOfReferenceUID") or derived_uid("frame of reference", first.SeriesInstanceUID)
    for header in headers:
        header.FrameOfReferenceUID = frame_of_reference
    shared = first.get("SharedFunctionalGroupsSequence")
    for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        if shared and groups and name not in shared[0] and name in groups[0]:
            setattr(shared[0], name, groups[0][name].value)
            for group in groups:
                group.pop(name, None)
