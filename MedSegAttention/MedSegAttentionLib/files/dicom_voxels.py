"""The voxels of DICOM files: whether all are there, and their real values, by SimpleITK (GDCM)."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.errors import InputError
from .dicom_places import frame_count, group_of
from .faults import cut_short, damaged
from .geometry import quiet_libraries
from .jpeg import longer, what_lacks

VOXEL_TAGS = tuple(bytes.fromhex(tag) for tag in ("e07f1000", "e07f0800", "e07f0900", "7fe00010"))
SHORTEST_TAG, LONGEST_TAG, TAIL = 8, 12, 1 << 20
SEQUENCE_END = bytes.fromhex("feffdde0")
"""What closes compressed voxels; looked for in the last bytes of a file."""
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_OF_BYTES = ("1.2.840.10008.1.2.4.50",)
"""Transfer syntaxes of JPEG as photographs have it: GDCM reads a cut one without a word."""
JPEG_OF_WORDS = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (51, 57, 70))
"""Those of more bits or without loss, of which the same is true and which Pillow does not read."""
NOT_COMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", DEFLATED)
LITTLE_ENDIAN = NOT_COMPRESSED[:2]
JPEG_LS, JPEG_2000 = (tuple(f"1.2.840.10008.1.2.4.{number}" for number in pair) for pair in ((80, 81), (90, 91)))
KNOWN = (
    *NOT_COMPRESSED,
    *JPEG_OF_BYTES,
    *JPEG_OF_WORDS,
    *JPEG_LS,
    *JPEG_2000,
    "1.2.840.10008.1.2.5",
)
"""Transfer syntaxes that GDCM reads: also JPEG-LS, JPEG 2000 and RLE."""
START_OF_JPEG_LS, START_OF_JPEG_2000, SIGN_IN_JPEG_2000 = b"\xff\xf7", b"\xff\x4f\xff\x51", 42
"""Markers behind which a frame says its size and its kind of values; and how far behind."""
NOT_DECODED = ("Implicit Transfer Syntax", "Unknown exception", "Cannot read requested file")
"""What GDCM and SimpleITK say of voxels that they cannot decode."""
KNOWN_INSTEAD = {"1.2.840.10008.5.1.4.1.1.77.1.7": "1.2.840.10008.5.1.4.1.1.77.1.4"}
"""SOP classes that GDCM does not read, and one alike that it does: dermoscopic and other photographs."""
HALF_COLOUR = ("YBR_FULL_422", "YBR_PARTIAL_422")
"""Kinds of colour with half as many values of hue, where voxels are not compressed."""


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


def check_whole(file: File) -> None:
    """Raise :class:`InputError` unless all voxels are there, in a form that is read here."""
    path, header, size = file.path, file.header, file.path.stat().st_size
    if missing := [name for name in ("Rows", "Columns", "BitsAllocated") if not header.get(name)]:
        raise damaged(path, f"its header lacks {missing[0]}")
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax not in KNOWN:
        said = "not said" if syntax is None else syntax if syntax.name == syntax else f"{syntax.name}, {syntax}"
        raise InputError(
            f"'{path}' has its voxels in a form that is not read here (TransferSyntaxUID: {said}). Export the image "
            "again without compression, or convert it, for instance with dcmconv or gdcmconv --raw."
        )
    if "PixelRepresentation" not in header and header.BitsAllocated == 16:
        raise damaged(path, "its header does not say whether values have a sign (PixelRepresentation)")
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if groups is not None and len(groups) != frame_count(header):
        raise damaged(path, f"it describes {len(groups)} frames and has {frame_count(header)}")
    promised = _byte_count(header)
    if syntax == DEFLATED:
        _check_deflated(path, promised)
        return
    with path.open("rb") as stream:
        stream.seek(file.end)
        if stream.read(LONGEST_TAG)[:4] not in VOXEL_TAGS:
            raise damaged(path, "it has no voxels")
        if syntax not in NOT_COMPRESSED:
            stream.seek(max(file.end, size - TAIL))
            if SEQUENCE_END not in stream.read():
                raise damaged(path, "its compressed voxels end too early")
            if syntax in JPEG_OF_BYTES:
                _check_frames(path)
            _check_stream(file, syntax)
            return
    if size - file.end - SHORTEST_TAG < promised:
        raise cut_short(path, promised, size - file.end - LONGEST_TAG)
    if (there := _promised_by_tag(path, file.end)) is not None and there > promised + 1:  # one byte makes it even
        raise damaged(path, f"its voxels have {there} bytes where its header describes {promised}")


def _check_stream(file: File, syntax: str) -> None:
    """Raise :class:`InputError` where the first frame says something else than the header that GDCM goes by."""
    with file.path.open("rb") as stream:
        stream.seek(file.end)
        begin = stream.read(TAIL)
    if syntax in JPEG_LS and (place := begin.find(START_OF_JPEG_LS)) >= 0:
        size = struct.unpack(">HH", begin[place + 5 : place + 9])
        if size != (file.header.Rows, file.header.Columns):
            raise damaged(
                file.path,
                f"its frames have {size[0]} x {size[1]} pixels, and its header says {file.header.Rows} x "
                f"{file.header.Columns}",
            )
    if syntax in JPEG_2000 and (place := begin.find(START_OF_JPEG_2000)) >= 0:
        signed = begin[place + SIGN_IN_JPEG_2000 : place + SIGN_IN_JPEG_2000 + 1] >= b"\x80"
        if signed and not file.header.get("PixelRepresentation"):
            raise damaged(file.path, "its values have a sign, and its header says that they have none")


def _promised_by_tag(path: Path, end: int) -> int | None:
    """The length that stands before the voxels in a little-endian file; None where it cannot be told."""
    with path.open("rb") as stream:
        stream.seek(end)
        tag = stream.read(LONGEST_TAG)
    if tag[:4] != b"\xe0\x7f\x10\x00":
        return None
    place = slice(8, 12) if tag[4:6] in (b"OW", b"OB") else slice(4, 8)
    return int.from_bytes(tag[place], "little")


def stored_voxels(file: File) -> np.ndarray | None:
    """The voxels of 16 bits as they are in the file, without a sign, in one row; None of other files."""
    if file.header.file_meta.get("TransferSyntaxUID") not in LITTLE_ENDIAN or file.header.BitsAllocated != 16:
        return None
    with file.path.open("rb") as stream:
        stream.seek(file.end)
        tag = stream.read(LONGEST_TAG)
        stream.seek(file.end + (LONGEST_TAG if tag[4:6] in (b"OW", b"OB") else SHORTEST_TAG))
        return np.frombuffer(stream.read(_byte_count(file.header)), "<u2")


def _byte_count(header: Any) -> int:
    """Bytes of all voxels that are not compressed."""
    values = frame_count(header) * header.Rows * header.Columns * int(header.get("SamplesPerPixel", 1) or 1)
    if header.get("PhotometricInterpretation") in HALF_COLOUR:
        values = values * 2 // 3
    return values * int(header.BitsAllocated) // 8


def _check_frames(path: Path) -> None:
    """Raise :class:`InputError` where a JPEG in the file is cut, though it has an end marker."""
    import pydicom
    from pydicom.encaps import generate_frames

    dataset = pydicom.dcmread(path)
    for number, frame in enumerate(generate_frames(dataset.PixelData, number_of_frames=frame_count(dataset)), 1):
        if lacking := what_lacks(frame):
            raise damaged(path, f"frame {number}: {lacking}")


def _check_deflated(path: Path, promised: int) -> None:
    """The same of a file that is compressed as a whole, which must be read to know."""
    import pydicom

    try:
        there = len(pydicom.dcmread(path).get("PixelData", b""))
    except Exception as error:  # whatever half a stream makes of a parser
        raise damaged(path, error) from error
    if there < promised:
        raise cut_short(path, promised, there)


def voxels_of(files: Sequence[File]) -> np.ndarray:
    """``[K, J, I]`` or ``[K, J, I, C]``, real values, in the order of ``files`` and of their frames."""
    parts = [_rescaled(file.header, _read_as_known(file)) for file in files]
    if len(kinds := {part.shape[1:] for part in parts}) > 1:
        raise InputError(
            f"'{files[0].path.parent}' holds slices of {len(kinds)} kinds, some with colour; expected one kind."
        )
    return np.concatenate(parts)


def _read_as_known(file: File) -> np.ndarray:
    known = KNOWN_INSTEAD.get(str(file.header.get("SOPClassUID", "")))
    if known is None:
        array = _read(file)
    else:

        def as_known(dataset: Any) -> None:
            dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = known

        array = _read_changed(file, as_known)
    if file.header.file_meta.get("TransferSyntaxUID") in JPEG_OF_WORDS and _lacks_data(file, array):
        raise damaged(file.path, "its data end before the picture does")
    return array


def _lacks_data(file: File, array: np.ndarray) -> bool:
    """Whether more data behind those of each frame, which nobody looks at in a whole one, would become voxels."""
    from pydicom.encaps import encapsulate, generate_frames

    def with_more(dataset: Any) -> None:
        frames = [
            longer(frame) or frame
            for frame in generate_frames(dataset.PixelData, number_of_frames=frame_count(file.header))
        ]
        dataset.PixelData = encapsulate(frames)
        dataset["PixelData"].is_undefined_length = True

    return not np.array_equal(array, _read_changed(file, with_more))


def _read_changed(file: File, change: Callable[[Any], None]) -> np.ndarray:
    """What is read of a copy that was changed."""
    import pydicom

    with tempfile.TemporaryDirectory() as folder:
        dataset = pydicom.dcmread(file.path)
        change(dataset)
        dataset.save_as(copy := Path(folder) / "changed.dcm")
        return _read(file, copy)


def _read(file: File, copy: Path | None = None) -> np.ndarray:
    """Voxels of a file, or of its copy."""
    import SimpleITK as sitk

    try:
        with quiet_libraries():
            image = sitk.ReadImage(str(copy or file.path), imageIO="GDCMImageIO")
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        if any(said in reason for said in NOT_DECODED):
            form = file.header.file_meta.TransferSyntaxUID.name
            reason = f"its voxels cannot be decoded: {form}, {file.header.get('PhotometricInterpretation', '')}"
        raise damaged(file.path, reason) from error
    array = sitk.GetArrayFromImage(image)
    return array if image.GetDimension() == 3 else array[None]


def _rescaled(header: Any, frames: np.ndarray) -> np.ndarray:
    """The frames by their own slope and intercept: GDCM takes those of the first for all."""
    groups = header.get("PerFrameFunctionalGroupsSequence") or ()
    scales = np.array([_scale(group_of(header, group, "PixelValueTransformationSequence")) for group in groups])
    if len(scales) != len(frames) or (scales == scales[:1]).all():
        return frames
    stored = np.rint((frames - scales[0, 1]) / scales[0, 0])
    slopes, intercepts = (scales[:, n].reshape(-1, *[1] * (frames.ndim - 1)) for n in range(2))
    return (stored * slopes + intercepts).astype(np.float32)


def _scale(group: Any) -> tuple[float, float]:
    slope, intercept = group.get("RescaleSlope"), group.get("RescaleIntercept")
    return float(1 if slope is None else slope) or 1.0, float(intercept or 0)
