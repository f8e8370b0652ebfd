"""DICOM series: what a folder holds, and one series as a volume. Headers by pydicom, voxels by SimpleITK.

One rule for all objects, files of one slice each or one file of many frames: every slice says where it lies, each place
is there once, and together they are a stack with one distance (:mod:`.dicom_places`), of files that are whole
(:mod:`.dicom_voxels`). Anything else is refused with its reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..data.errors import InputError
from ..data.volume import VolumeImage
from .dicom_doubts import doubts_about
from .dicom_places import slices_of, stacked
from .dicom_source import source_of
from .dicom_voxels import LONGEST_TAG, File, check_whole, voxels_of
from .faults import damaged, no_image, not_opened
from .geometry import LPS_TO_RAS, shear_notes
from .names import KINDS, is_image, stem_of

NO_IMAGE = (
    "SEG",
    "SR",
    "PR",
    "RTSTRUCT",
    "RTPLAN",
    "RTDOSE",
    "RTRECORD",
    "KO",
    "REG",
    "FID",
    "RWV",
    "DOC",
    "PLAN",
    "ANN",
)
"""Modalities of objects that lie beside images and are none."""
NO_IMAGE_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
    "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
    "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
)
"""SOP classes of such objects that have rows and columns, and may have the modality of their image."""
PICTURES = ("XC", "ES", "DMS", "OP", "GM", "SM", "OT")
"""Modalities of photographs, which need no place in the patient."""
SIBLINGS = 20
"""Files looked at to tell a slice of a series from a picture of its own."""


@dataclass(frozen=True)
class Series:
    """A series of images in a folder.

    Attributes:
        uid: SeriesInstanceUID.
        files: its files, each once; those of scouts ("LOCALIZER") are left out where others are there.
    """

    uid: str
    files: tuple[File, ...]

    @property
    def modality(self) -> str | None:
        """DICOM Modality."""
        return str(self.files[0].header.get("Modality") or "") or None


def series_in(folder: Path) -> tuple[Series, ...]:
    """The series of images in ``folder`` itself, in the order of their UIDs.

    Raises:
        InputError: a file among those of a series cannot be read.
    """
    with warnings.catch_warnings():  # of pydicom, about values that are not as the standard wants them
        warnings.simplefilter("ignore")
        return _series_in(folder, tuple(sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())))


@lru_cache(maxsize=8)
def _series_in(folder: Path, _names: tuple[tuple[str, int], ...]) -> tuple[Series, ...]:
    found: dict[str, list[File]] = {}
    broken: list[tuple[Path, str | OSError]] = []
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.name.startswith(".") or path.name.upper() == "DICOMDIR" or is_image(path):
            continue
        file = glimpse(path, broken)
        if file is not None and holds_image(file.header):
            found.setdefault(str(file.header.get("SeriesInstanceUID", "") or "unknown"), []).append(file)
    suffixes = {suffix_of(file.path) for files in found.values() for file in files}
    for path, reason in broken:
        if suffix_of(path) in suffixes or says_it_is_dicom(path):
            raise damaged(path, reason)
    series = [Series(uid, _without_scouts(_without_copies(files))) for uid, files in sorted(found.items())]
    return tuple(one for one in series if not all(map(is_scout, one.files))) or tuple(series)


def suffix_of(path: Path) -> str:
    """Suffix of a name; nothing where it is the last number of a UID, or another one."""
    suffix = path.suffix.lower()
    return suffix if suffix.strip(".").isalpha() else ""


def says_it_is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do; not one that the system does not let one read."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def holds_image(header: Any) -> bool:
    """Whether a file is an image of the patient, not something that goes with one."""
    other = header.get("Modality") in NO_IMAGE or str(header.get("SOPClassUID", "")) in NO_IMAGE_CLASSES
    return "Rows" in header and not other


def glimpse(path: Path, broken: list[tuple[Path, str | OSError]], wanted: Sequence[str] | None = None) -> File | None:
    """A DICOM file without its voxels; None for what is none, which is noted if it should be one.

    Args:
        path: the file.
        broken: gets (path, reason).
        wanted: names of the elements to read; None for all.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        with path.open("rb") as stream:
            header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=wanted)
            end = stream.tell()
        kind = header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID")
        if "Rows" in header or (kind and "Image Storage" not in kind.name):
            return File(path, header, end)
        broken.append((path, "its header is not whole"))
    except InvalidDicomError as error:
        broken.append((path, str(error).split(".")[0]))
    except OSError as error:
        broken.append((path, error))
    except Exception as error:  # whatever a damaged file makes of a parser
        broken.append((path, f"{type(error).__name__}: {error}"))
    return None


def _without_copies(files: list[File]) -> list[File]:
    """Each file once; files of one SOPInstanceUID that differ all stay, for who anonymised them gave all the same."""
    kept: dict[str, list[File]] = {}
    for file in files:
        alike = kept.setdefault(str(file.header.get("SOPInstanceUID", file.path.name)), [])
        if not any(same_content(file, other) for other in alike):
            alike.append(file)
    return sorted((file for alike in kept.values() for file in alike), key=lambda file: file.path)


def same_content(first: File, second: File) -> bool:
    """Whether two files show the same voxels at the same place, whatever else their headers say."""
    if first.header.get("ImagePositionPatient") != second.header.get("ImagePositionPatient"):
        return False
    count = min(file.path.stat().st_size - file.end for file in (first, second)) - LONGEST_TAG
    return count > 0 and first.path.read_bytes()[-count:] == second.path.read_bytes()[-count:]


def is_scout(file: File) -> bool:
    """Whether it is one of the images that a scan is planned by."""
    return "LOCALIZER" in (file.header.get("ImageType") or ())


def _without_scouts(files: list[File]) -> tuple[File, ...]:
    return tuple(file for file in files if not is_scout(file)) or tuple(files)


def read_series(folder: Path) -> VolumeImage:
    """Read the one series of ``folder``.

    Raises:
        InputError: none, several, damaged, or no straight stack of slices.
    """
    known = series_in(folder)
    if not known:
        raise InputError(f"folder '{folder}' holds no image; expected {KINDS}.")
    if len(known) != 1:
        raise InputError(
            f"folder '{folder}' holds {len(known)} DICOM series; expected exactly one. Give the folder of one series."
        )
    return _read(known[0], f"folder '{folder}'", stem_of(folder))


def read_files(paths: Sequence[Path], named: str, name: str) -> VolumeImage:
    """Read the series that ``paths`` are: all of them, each image once, without scouts.

    Args:
        paths: of one series.
        named: what they are, for messages.
        name: of the volume.

    Raises:
        InputError: one is damaged or gone, or they are no straight stack of slices.
    """
    files = []
    for path in paths:
        broken: list[tuple[Path, str | OSError]] = []
        try:
            file = glimpse(path, broken)
        except OSError as error:
            raise not_opened(path, error) from error
        if file is None:
            raise damaged(path, broken[0][1] if broken else "it is no image any more")
        files.append(file)
    return _read(Series("", _without_scouts(_without_copies(files))), named, name)


def series_of_file(path: Path) -> str:
    """SeriesInstanceUID of a file; empty where it is no DICOM file, or has none."""
    file = glimpse(path, []) if path.is_file() and not is_image(path) else None
    return str(file.header.get("SeriesInstanceUID") or "") if file else ""


def open_whole(path: Path) -> File:
    """A DICOM file that holds an image; raises :class:`InputError` unless all its voxels are there."""
    broken: list[tuple[Path, str | OSError]] = []
    file = glimpse(path, broken)
    if file is None and says_it_is_dicom(path):
        raise damaged(path, broken[0][1])
    if file is None or "Rows" not in file.header:
        raise no_image(path, broken[0][1] if broken else "it holds no image")
    check_whole(file)
    return file


def read_dicom_file(path: Path) -> VolumeImage:
    """Read one DICOM file: a slice, a photograph, or a volume of many frames."""
    file = open_whole(path)
    volume = _read(Series("", (file,)), f"'{path}'", stem_of(path))
    if len(volume.array) == 1 and volume.has_scale and _has_sibling(file):
        doubt = f"'{path.name}' is one slice of a series; give its folder, '{path.parent}', to have the whole of it."
        return replace(volume, doubts=(*volume.doubts, doubt))
    return volume


def _has_sibling(file: File) -> bool:
    """Whether another file beside this one, of the first that are looked at, belongs to its series."""
    uid = file.header.get("SeriesInstanceUID")
    others = (path for path in sorted(file.path.parent.iterdir()) if path.is_file() and path != file.path)
    alike = (path for path in others if path.suffix == file.path.suffix and not path.name.startswith("."))
    opened = (glimpse(path, []) for path in islice(alike, SIBLINGS))
    return bool(uid) and any(other and other.header.get("SeriesInstanceUID") == uid for other in opened)


def _read(series: Series, named: str, name: str) -> VolumeImage:
    files, modality = series.files, series.modality
    for file in files:
        check_whole(file)
    slices = [found for file in files for found in slices_of(file.header)]
    if modality in PICTURES and len(files) == 1 and None in slices:
        voxels, source = voxels_of(files), source_of(files, range(len(slices)))
        return VolumeImage(voxels, LPS_TO_RAS.copy(), name, modality, has_scale=False, source=source)
    if None in slices:
        raise InputError(
            f"{named} holds {len(slices)} slices, of which {slices.count(None)} do not say where they lie or how large "
            "their voxels are (ImagePositionPatient, ImageOrientationPatient, PixelSpacing); expected all. Export the "
            "series again with its geometry."
        )
    if len(sizes := {(file.header.Rows, file.header.Columns) for file in files}) > 1:
        raise InputError(f"{named} holds slices of {len(sizes)} sizes, {sorted(sizes)}; expected one.")
    stack = stacked(slices, named)
    voxels = voxels_of(files)
    ordered = voxels if (np.diff(stack.order) == 1).all() else voxels[stack.order]
    matrix = LPS_TO_RAS @ stack.ijk_to_lps
    source = source_of(files, stack.order)
    doubts = (*stack.doubts, *doubts_about(files, voxels, modality, named))
    return VolumeImage(ordered, matrix, name, modality, notes=shear_notes(matrix), doubts=doubts, source=source)
