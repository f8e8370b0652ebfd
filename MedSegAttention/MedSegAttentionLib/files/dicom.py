"""DICOM series: what a folder holds, and one series as a volume. Headers by pydicom, voxels by SimpleITK.

One rule for all objects, files of one slice each or one file of many frames: every slice says where it lies, each place
is there once, and together they are a straight stack with one distance. Anything else is refused with its reason.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..data.errors import InputError
from ..data.volume import VolumeImage
from .faults import cut_short, damaged, no_image
from .geometry import LPS_TO_RAS, matrix_of, quiet_itk
from .names import KINDS, is_image, stem_of

logger = logging.getLogger(__name__)
NO_IMAGE = ("SEG", "SR", "PR", "RTSTRUCT", "RTPLAN", "RTDOSE", "KO", "REG", "FID", "RWV", "DOC", "PLAN", "SM_ANN")
"""Modalities of objects that lie beside images and are none."""
PICTURES = ("XC", "ES", "DMS", "OP", "GM", "SM", "OT")
"""Modalities of photographs, which need no place in the patient."""
VOXEL_TAGS = tuple(bytes.fromhex(tag) for tag in ("e07f1000", "e07f0800", "e07f0900", "7fe00010"))
SHORTEST_TAG, LONGEST_TAG, TAIL = 8, 12, 1 << 20
SEQUENCE_END = bytes.fromhex("feffdde0")
"""What closes compressed voxels; looked for in the last bytes of a file."""
SIBLINGS = 20
"""Files looked at to tell a slice of a series from a picture of its own."""
REPEATED_MM = 0.001
"""Slices of a series that are closer than this are at one place."""
MISPLACED = 1 / 3
"""Share of the distance of slices by which one may lie elsewhere than the volume says."""
GAP = 1.75
"""Times the usual distance of slices from which on one is missing."""


@dataclass(frozen=True)
class File:
    """A DICOM file.

    Attributes:
        path: where it is.
        header: what stands before the voxels.
        end: byte at which the header ends and the voxels begin.
    """

    path: Path
    header: Any
    end: int


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
        return self.files[0].header.get("Modality") or None


@dataclass(frozen=True)
class Slice:
    """One slice as its header has it.

    Attributes:
        position: LPS mm of its first voxel.
        axes: ``[3, 2]``: directions along a row and along a column, unit vectors in LPS.
        step: mm between columns and between rows.
    """

    position: np.ndarray
    axes: np.ndarray
    step: tuple[float, float]


def series_in(folder: Path) -> tuple[Series, ...]:
    """The series of images in ``folder`` itself, in the order of their UIDs.

    Raises:
        InputError: a file among those of a series cannot be read.
    """
    return _series_in(folder, tuple(sorted((path.name, path.stat().st_mtime_ns) for path in folder.iterdir())))


@lru_cache(maxsize=8)
def _series_in(folder: Path, _names: tuple[tuple[str, int], ...]) -> tuple[Series, ...]:
    found: dict[str, dict[str, File]] = {}
    broken: list[tuple[Path, str]] = []
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.name.startswith(".") or path.name.upper() == "DICOMDIR" or is_image(path):
            continue
        file = _opened(path, broken)
        if file is None or file.header.get("Modality") in NO_IMAGE or "Rows" not in file.header:
            continue
        uid = str(file.header.get("SeriesInstanceUID", "") or "unknown")
        found.setdefault(uid, {}).setdefault(str(file.header.get("SOPInstanceUID", path.name)), file)
    suffixes = {file.path.suffix.lower() for files in found.values() for file in files.values()}
    for path, reason in broken:
        if path.suffix.lower() in suffixes:
            raise damaged(path, reason)
    return tuple(Series(uid, _without_scouts(list(files.values()))) for uid, files in sorted(found.items()))


def _opened(path: Path, broken: list[tuple[Path, str]]) -> File | None:
    """A DICOM file; None for what is none, which is noted if it should be one."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        with warnings.catch_warnings(), path.open("rb") as stream:
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(stream, stop_before_pixels=True)
            end = stream.tell()
        kind = header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID")
        if "Rows" in header or (kind and "Image Storage" not in kind.name):
            return File(path, header, end)
        broken.append((path, "its header is not whole"))
    except InvalidDicomError as error:
        broken.append((path, str(error).split(".")[0]))
    except Exception as error:  # whatever a damaged file makes of a parser
        broken.append((path, f"{type(error).__name__}: {error}"))
    return None


def _without_scouts(files: list[File]) -> tuple[File, ...]:
    images = [file for file in files if "LOCALIZER" not in (file.header.get("ImageType") or ())]
    return tuple(images or files)


def has_series(folder: Path) -> bool:
    """Whether ``folder`` itself holds files of a DICOM series."""
    return bool(series_in(folder))


def read_series(folder: Path, wanted: str | None = None) -> VolumeImage:
    """Read the one series of ``folder``, or the one whose UID is ``wanted``.

    Raises:
        InputError: none, several, damaged, or no straight stack of slices.
    """
    known = series_in(folder)
    if not known:
        raise InputError(f"folder '{folder}' holds no image; expected {KINDS}.")
    chosen = [series for series in known if wanted in (None, series.uid)]
    if len(chosen) != 1:
        raise InputError(
            f"folder '{folder}' holds {len(known)} DICOM series; expected exactly one. Give the folder of one series."
        )
    return _read(chosen[0], f"folder '{folder}'", stem_of(folder))


def read_dicom_file(path: Path) -> VolumeImage:
    """Read one DICOM file: a slice, a photograph, or a volume of many frames."""
    broken: list[tuple[Path, str]] = []
    file = _opened(path, broken)
    if file is None and path.suffix.lower() in (".dcm", ".ima") and path.read_bytes()[128:132] == b"DICM":
        raise damaged(path, broken[0][1])
    if file is None or "Rows" not in file.header:
        raise no_image(path, broken[0][1] if broken else "it holds no image")
    volume = _read(Series("", (file,)), f"'{path}'", stem_of(path))
    if len(volume.array) == 1 and volume.has_scale and _has_sibling(file):
        doubt = f"'{path.name}' is one slice of a series; give its folder, '{path.parent}', to have the whole of it."
        return replace(volume, doubts=(doubt,))
    return volume


def _has_sibling(file: File) -> bool:
    """Whether another file beside this one, of the first that are looked at, belongs to its series."""
    uid = file.header.get("SeriesInstanceUID")
    others = (path for path in sorted(file.path.parent.iterdir()) if path.is_file() and path != file.path)
    alike = (path for path in others if path.suffix == file.path.suffix and not path.name.startswith("."))
    opened = (_opened(path, []) for path in islice(alike, SIBLINGS))
    return bool(uid) and any(other and other.header.get("SeriesInstanceUID") == uid for other in opened)


def _read(series: Series, named: str, name: str) -> VolumeImage:
    files, modality = series.files, series.modality
    for file in files:
        _check_whole(file)
    slices = [found for file in files for found in _slices(file.header)]
    if modality in PICTURES and len(files) == 1 and None in slices:
        return VolumeImage(_voxels(files), LPS_TO_RAS.copy(), name, modality, has_scale=False)
    if None in slices:
        raise InputError(
            f"{named} holds {len(slices)} slices, of which {slices.count(None)} do not say where they lie or how large "
            "their voxels are (ImagePositionPatient, ImageOrientationPatient, PixelSpacing); expected all. Export the "
            "series again with its geometry."
        )
    if len(sizes := {(file.header.Rows, file.header.Columns) for file in files}) > 1:
        raise InputError(f"{named} holds slices of {len(sizes)} sizes, {sorted(sizes)}; expected one.")
    order, matrix = _stack(slices, named)
    voxels = _voxels(files)
    ordered = voxels if (np.diff(order) == 1).all() else voxels[order]
    return VolumeImage(ordered, LPS_TO_RAS @ matrix, name, modality)


def _check_whole(file: File) -> None:
    """Raise :class:`InputError` unless all voxels are there."""
    path, header, size = file.path, file.header, file.path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(file.end)
        if stream.read(LONGEST_TAG)[:4] not in VOXEL_TAGS:
            raise damaged(path, "it has no voxels")
        if header.file_meta.TransferSyntaxUID.is_compressed:
            stream.seek(max(file.end, size - TAIL))
            if SEQUENCE_END not in stream.read():
                raise damaged(path, "its compressed voxels end too early")
            return
    frames = int(header.get("NumberOfFrames", 1) or 1)
    bits = frames * header.Rows * header.Columns * int(header.get("SamplesPerPixel", 1)) * int(header.BitsAllocated)
    if size - file.end - SHORTEST_TAG < bits // 8:
        raise cut_short(path, bits // 8, size - file.end - LONGEST_TAG)


def _slices(header: Any) -> Iterator[Slice | None]:
    """Each slice of an object; None for one without a place."""
    frames = int(header.get("NumberOfFrames", 1) or 1)
    if "PerFrameFunctionalGroupsSequence" not in header:
        yield from [_slice(header, header, header)] if frames == 1 else [None] * frames
        return
    shared = header.get("SharedFunctionalGroupsSequence") or [{}]
    for groups in header.PerFrameFunctionalGroupsSequence:
        parts = []
        for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"):
            sequence = groups.get(name) or shared[0].get(name)
            parts.append(sequence[0] if sequence else {})
        yield _slice(*parts)


def _slice(position: Any, orientation: Any, measures: Any) -> Slice | None:
    place, directions = position.get("ImagePositionPatient"), orientation.get("ImageOrientationPatient")
    step = measures.get("PixelSpacing")
    if place is None or directions is None or step is None or (len(place), len(directions), len(step)) != (3, 6, 2):
        return None
    axes = np.array(directions, float).reshape(2, 3).T
    lengths = np.linalg.norm(axes, axis=0)
    if not lengths.all() or not min(float(value) for value in step) > 0:
        return None
    return Slice(np.array(place, float), axes / lengths, (float(step[1]), float(step[0])))


def _stack(slices: Sequence[Slice], named: str) -> tuple[np.ndarray, np.ndarray]:
    """Order of the slices along their normal, and the LPS matrix of the volume; raises unless they are one stack."""
    first = slices[0]
    if max(np.abs(other.axes - first.axes).max() for other in slices) > 1e-3 or any(
        not np.allclose(other.step, first.step, rtol=1e-3) for other in slices
    ):
        raise InputError(f"{named} holds slices of different directions or voxel sizes; expected one stack.")
    normal = np.cross(first.axes[:, 0], first.axes[:, 1])
    positions = np.array([one.position for one in slices])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    if len(slices) == 1:
        thickness = 1.0
        columns = np.column_stack([first.axes * first.step, normal * thickness])
        return order, matrix_of(columns, positions[0])
    steps = np.diff(positions @ normal)
    if steps.min() < REPEATED_MM:
        raise InputError(
            f"{named} holds {len(positions)} slices at {1 + int((steps >= REPEATED_MM).sum())} places "
            "(several times or weightings in one series); expected one slice at each place. Load the series in Slicer, "
            "which splits it, or give a folder with one of them."
        )
    along = (positions[-1] - positions[0]) / (len(positions) - 1)
    places = positions[0] + np.arange(len(positions))[:, None] * normal * (along @ normal)
    off = float(np.linalg.norm(positions - places, axis=1).max())
    if off > MISPLACED * (along @ normal) or steps.max() > GAP * np.median(steps):
        raise InputError(
            f"the slices of {named} ({steps.min():.2f} to {steps.max():.2f} mm apart) lie up to {off:.1f} mm from "
            "where a volume with one distance has them; expected a straight stack. Slices may be missing, or the gantry"
            " was tilted: get the series again, or load it in Slicer, which can correct it."
        )
    return order, matrix_of(np.column_stack([first.axes * first.step, normal * (along @ normal)]), positions[0])


def _voxels(files: Sequence[File]) -> np.ndarray:
    """``[K, J, I]`` or ``[K, J, I, C]``, real values, in the order of ``files`` and of their frames."""
    parts = []
    for file in files:
        try:
            with quiet_itk():
                image = sitk.ReadImage(str(file.path), imageIO="GDCMImageIO")
        except RuntimeError as error:
            raise damaged(file.path, str(error).strip().splitlines()[-1]) from error
        array = sitk.GetArrayFromImage(image)
        parts.append(array if image.GetDimension() == 3 else array[None])
    return np.concatenate(parts)
