"""The DICOM series below a place, however they are spread over its folders: what each is, and why one is no image."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.errors import InputError
from .dicom import PICTURES, glimpse, holds_image, is_scout, same_content, says_it_is_dicom, suffix_of
from .dicom_places import REPEATED_MM, SAME_DIRECTION, Slice, slices_of, why_repeated
from .dicom_voxels import File
from .dicomdir import DIRECTORY, is_directory, missing_files
from .faults import damaged
from .names import is_image

logger = logging.getLogger(__name__)
PLANES = ("sagittal", "coronal", "axial")
"""Name of a plane by the patient axis its normal is closest to."""
KEYS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber")
PATIENT = ("PatientID", "PatientName", "PatientBirthDate")
LOOKS = ("Modality", "SeriesDescription", "ProtocolName", "SequenceName", "BodyPartExamined", "ImageType")
TIMES = ("EchoTime", "RepetitionTime", "DiffusionBValue")
VOXELS = ("SamplesPerPixel", "Rows", "Columns", "NumberOfFrames")
PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
FRAMES = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
WANTED = (*KEYS, *PATIENT, *LOOKS, *TIMES, *VOXELS, *PLACE, *FRAMES)
"""Elements that tell what a series is; nothing else of a header is read."""
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SCOUT = "localizer: images to plan by"


@dataclass(frozen=True)
class FoundSeries:
    """A DICOM series below a place.

    Attributes:
        uid: SeriesInstanceUID; ``"unknown"`` where there is none.
        study: number of its study among those that were found, from 1: another patient has another study.
        files: its files, by name; copies and scouts among them too.
        folder: the deepest folder that holds all of them.
        number: SeriesNumber, or None.
        modality: DICOM Modality, or empty.
        description: SeriesDescription.
        names: description, protocol and sequence, to find out the weighting.
        body_part: BodyPartExamined, or empty.
        derived: whether ImageType says so.
        echo_time: ms, or None.
        repetition_time: ms, or None.
        diffusion: whether there is a b-value.
        channels: values of a voxel.
        instance: SOPInstanceUID of a photograph, each of which is an image of its own; else empty.
        instance_number: InstanceNumber of its first image, or None.
        slices: number of images.
        plane: ``axial``, ``coronal`` or ``sagittal``; empty where images have no place, or lie in several planes.
        spacing: mm between columns, rows and slices, as far as it is known.
        no_image: why it is of a kind that is never segmented; empty where it is an image of the patient.
        no_stack: why its images of the patient make up no volume; empty where they may.
        fault: the error that reading it is going to end with, or None.
    """

    uid: str = field(repr=False)
    study: int
    files: tuple[Path, ...] = field(repr=False)
    folder: Path = field(repr=False)
    number: int | None = None
    modality: str = ""
    description: str = ""
    names: str = field(default="", repr=False)
    body_part: str = ""
    derived: bool = False
    echo_time: float | None = None
    repetition_time: float | None = None
    diffusion: bool = False
    channels: int = 1
    instance: str = field(default="", repr=False)
    instance_number: int | None = None
    slices: int = 0
    plane: str = ""
    spacing: tuple[float, ...] = ()
    no_image: str = ""
    no_stack: str = ""
    fault: InputError | None = field(default=None, repr=False)

    @property
    def key(self) -> str:
        """UID by which it can be chosen."""
        return self.instance or self.uid

    @property
    def title(self) -> str:
        """What a user calls it."""
        number = "without a number" if self.number is None else str(self.number)
        return f"series {number}" + (f" '{self.description}'" if self.description else "")


def find_series(place: Path) -> list[FoundSeries]:
    """All series below ``place``, by study, number and UID.

    Series are told apart by patient, study and UID, not by folder; where files of several folders carry the same UIDs
    and other content, each folder has a series of its own.

    Args:
        place: a folder, however nested; a DICOMDIR, of whose folder all is looked at; or one DICOM file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        groups: dict[tuple[str, ...], list[File]] = {}
        faults: dict[Any, InputError] = {}  # by folder or by UID
        for path, file, fault in _files_below(place):
            if file is not None:
                groups.setdefault(_identity(file.header), []).append(file)
            elif fault is not None:
                faults.setdefault(path.parent, fault)
        folders = {file.path.parent for files in groups.values() for file in files}
        for folder in {*folders, place if place.is_dir() else place.parent}:
            faults |= missing_files(folder / DIRECTORY)
        studies = {study: number for number, study in enumerate(sorted({key[:-1] for key in groups}), 1)}
        found = [
            _described(files, studies[key[:-1]], faults)
            for key, all_files in groups.items()
            for files in _apart(all_files)
        ]
    ordered = sorted(found, key=lambda one: (one.study, one.number is None, one.number or 0, one.key, one.folder))
    scouts = [one for one in ordered if one.no_image == SCOUT]
    if scouts and all(one in scouts or one.no_image for one in ordered):
        return [replace(one, no_image="") if one in scouts else one for one in ordered]  # where nothing else is there
    return ordered


def _files_below(place: Path) -> Iterator[tuple[Path, File | None, InputError | None]]:
    """Each DICOM file, and each that should be one and is damaged."""
    if not place.is_dir() and not is_directory(place):
        yield from _files_of([place])
        return
    seen = set()
    for folder, inner, names in os.walk(_top(place), onerror=_tell_unseen, followlinks=True):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if (real := os.path.realpath(folder)) in seen:  # a link back up
            inner.clear()
            continue
        seen.add(real)
        yield from _files_of([Path(folder) / name for name in sorted(names) if not name.startswith(".")])


def _top(place: Path) -> Path:
    return place if place.is_dir() else place.parent


def _tell_unseen(error: OSError) -> None:
    """A folder below the place that may not be looked into; of the place itself that is an error of ours."""
    logger.warning("folder '%s' cannot be looked into (%s): what it holds is left out", error.filename, error.strerror)


def _files_of(paths: Iterable[Path]) -> Iterator[tuple[Path, File | None, InputError | None]]:
    """A file that cannot be read counts as one of a series where its name ends as theirs."""
    good, bad = [], []
    for path in paths:
        if not path.is_file() or path.name.upper() == DIRECTORY or is_image(path):
            continue
        broken: list[tuple[Path, str | OSError]] = []
        file = glimpse(path, broken, WANTED)
        good += [file] if file else []
        bad += broken
    endings = {suffix_of(file.path) for file in good}
    yield from ((file.path, file, None) for file in good)
    yield from (
        (path, None, damaged(path, reason))
        for path, reason in bad
        if suffix_of(path) in endings or says_it_is_dicom(path)
    )


def _identity(header: Any) -> tuple[str, ...]:
    return tuple(str(header.get(name) or "") for name in (*PATIENT, "StudyInstanceUID", "SeriesInstanceUID"))


def _apart(files: list[File]) -> list[list[File]]:
    """The files of one UID: together, unless they are photographs, or say in several folders that they are the same."""
    by_instance: dict[str, list[File]] = {}
    for file in files:
        by_instance.setdefault(str(file.header.get("SOPInstanceUID", file.path)), []).append(file)
    if len(by_instance) > 1 and all(_is_photograph(file.header) for file in files):
        return list(by_instance.values())
    for alike in by_instance.values():
        others = [file for file in alike[1:] if file.path.parent != alike[0].path.parent]
        if any(not same_content(alike[0], other) for other in others):
            folders = sorted({file.path.parent for file in files})
            return [[file for file in files if file.path.parent == folder] for folder in folders]
    return [files]


def _is_photograph(header: Any) -> bool:
    return header.get("Modality") in PICTURES and "ImagePositionPatient" not in header and holds_image(header)


def _described(files: list[File], study: int, faults: dict[Any, InputError]) -> FoundSeries:
    copies = {str(file.header.get("SOPInstanceUID", file.path)): file for file in files}
    shown = [file for file in copies.values() if not is_scout(file)] or list(copies.values())
    header = shown[0].header
    uid = str(header.get("SeriesInstanceUID") or "unknown")
    places = [found for file in shown for found in slices_of(file.header)] if holds_image(header) else []
    plane, spacing = _plane_and_spacing([one for one in places if one is not None])
    no_image = _no_image(shown, places)
    fault = next((faults[key] for key in (uid, *{file.path.parent for file in files}) if key in faults), None)
    return FoundSeries(
        uid=uid,
        study=study,
        files=tuple(sorted(file.path for file in files)),
        folder=Path(os.path.commonpath([file.path.parent for file in files])),
        number=_whole(header, "SeriesNumber"),
        modality=_text(header, "Modality"),
        description=_text(header, "SeriesDescription"),
        names=" ".join(_text(header, name) for name in ("SeriesDescription", "ProtocolName", "SequenceName")),
        body_part=_text(header, "BodyPartExamined").upper(),
        derived="DERIVED" in (header.get("ImageType") or ()),
        echo_time=_number(header, "EchoTime"),
        repetition_time=_number(header, "RepetitionTime"),
        diffusion=bool(_number(header, "DiffusionBValue")),
        channels=int(_number(header, "SamplesPerPixel") or 1),
        instance=str(header.get("SOPInstanceUID") or "") if _is_photograph(header) else "",
        instance_number=_whole(header, "InstanceNumber"),
        slices=len(places),
        plane=plane,
        spacing=spacing,
        no_image=no_image,
        no_stack="" if no_image else _no_stack(header, [one for one in places if one is not None]),
        fault=fault,
    )


def _no_image(files: list[File], places: list[Slice | None]) -> str:
    """Of which kind a series is that no task takes; empty where it is an image of the patient."""
    header = files[0].header
    if not holds_image(header):
        return f"{_text(header, 'Modality') or 'its kind'} is no image"
    if all(map(is_scout, files)):
        return SCOUT
    placed = any(place is not None for place in places)  # converters write secondary captures that are
    if header.get("SOPClassUID") == SECONDARY_CAPTURE and header.get("Modality") not in PICTURES and not placed:
        return "secondary capture without a place: a picture of a screen or of a result"
    return ""


def _no_stack(header: Any, known: list[Slice]) -> str:
    """Why the images of a series are no stack of slices by their headers; empty where they may be one."""
    if "MOSAIC" in (header.get("ImageType") or ()):
        return "a mosaic: each image holds many slices as tiles; convert it, for instance with dcm2niix"
    if len(known) > 1:
        first = known[0]
        if max(np.abs(one.axes - first.axes).max() for one in known) > SAME_DIRECTION:
            return "its images lie in several directions"
        normal = np.cross(first.axes[:, 0], first.axes[:, 1])
        there = len({round(float(one.position @ normal) / REPEATED_MM) for one in known})
        if there < len(known):
            return why_repeated(len(known), there, first.position)
    return ""


def _plane_and_spacing(places: list[Slice]) -> tuple[str, tuple[float, ...]]:
    if not places:
        return "", ()
    axes = places[0].axes
    normal = np.cross(axes[:, 0], axes[:, 1])
    along = sorted(float(place.position @ normal) for place in places)
    between = float(np.median(np.diff(along))) if len(along) > 1 else places[0].thickness or 0.0
    spacing = (*places[0].step, *([between] if between > 0 else []))
    same = max(np.abs(place.axes - axes).max() for place in places) <= SAME_DIRECTION
    return PLANES[int(np.abs(normal).argmax())] if same else "", tuple(round(value, 3) for value in spacing)


def _text(header: Any, name: str) -> str:
    return " ".join(str(header.get(name) or "").split())


def _whole(header: Any, name: str) -> int | None:
    number = _number(header, name)
    return None if number is None else int(number)


def _number(header: Any, name: str) -> float | None:
    try:
        return float(header.get(name))
    except (TypeError, ValueError):
        return None
