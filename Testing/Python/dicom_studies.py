"""DICOM studies as scanners write them, built with pydicom: for what is read, written and sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DermoscopicPhotographyImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    VLEndoscopicImageStorage,
    VLPhotographicImageStorage,
)

CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage}
PICTURE_CLASSES = {
    "XC": VLPhotographicImageStorage,
    "ES": VLEndoscopicImageStorage,
    "DMS": DermoscopicPhotographyImageStorage,
}
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def header(sop_class: str, modality: str, uid: str, **values: Any) -> FileDataset:
    """Patient, study, series and equipment; ``values`` replace or add elements, None removes one."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, f"{uid}.1"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.update({})
    plain = {
        "SpecificCharacterSet": "ISO_IR 100",
        "SOPClassUID": sop_class,
        "SOPInstanceUID": f"{uid}.1",
        "StudyInstanceUID": "1.2.826.0.1.99",
        "SeriesInstanceUID": uid,
        "PatientName": "Müller^Ann",
        "PatientID": "PID-4711",
        "PatientBirthDate": "19600203",
        "PatientSex": "F",
        "StudyDate": "20240102",
        "StudyTime": "101112",
        "AcquisitionDate": "20240102",
        "AccessionNumber": "A17",
        "StudyID": "S1",
        "StudyDescription": "Abdomen",
        "ReferringPhysicianName": "Referrer^Doc",
        "Modality": modality,
        "SeriesNumber": 4,
        "Manufacturer": "A maker",
        "InstanceNumber": 1,
        "FrameOfReferenceUID": "1.2.826.0.1.99.77",
        "PositionReferenceIndicator": "",
        "Laterality": "",
        "PatientPosition": "HFS",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    }
    for name, value in (plain | values).items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _voxels(dataset: Dataset, array: np.ndarray) -> None:
    colour = array.ndim == 3
    dataset.Rows, dataset.Columns = array.shape[:2]
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    bits = array.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(array.dtype.kind == "i")
    dataset.PixelData = array.tobytes()


def _axes(ijk_to_ras: np.ndarray) -> tuple[np.ndarray, list[float], list[float]]:
    """In LPS the matrix, the directions of rows and columns, and the distances of rows and columns."""
    matrix = LPS @ ijk_to_ras
    steps = np.linalg.norm(matrix[:3, :2], axis=0)
    cosines = (matrix[:3, :2] / steps).T.ravel()
    return matrix, [float(f"{value:.10g}") for value in cosines], [float(steps[1]), float(steps[0])]


def a_study_series(
    folder: Path,
    array: np.ndarray,
    ijk_to_ras: np.ndarray,
    modality: str = "CT",
    uid: str = "1.2.826.0.1.99.4",
    **values: Any,
) -> list[Path]:
    """Write ``[K, J, I]`` int16 as one file a slice, in an order that is none by name; returns them by slice."""
    folder.mkdir(parents=True, exist_ok=True)
    matrix, cosines, spacing = _axes(ijk_to_ras)
    files = []
    for number, plane in enumerate(array):
        dataset = header(CLASSES[modality], modality, uid, **values)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{number + 1}"
        dataset.InstanceNumber = number + 1
        dataset.ImageOrientationPatient, dataset.PixelSpacing = cosines, spacing
        dataset.ImagePositionPatient = [float(f"{x:.10g}") for x in matrix[:3, 3] + number * matrix[:3, 2]]
        dataset.SliceThickness = float(f"{np.linalg.norm(matrix[:3, 2]):.10g}")
        if modality == "CT":
            dataset.RescaleSlope, dataset.RescaleIntercept, dataset.KVP = 1, 0, 120
        for name in ("PatientPosition", *(name for name, value in values.items() if value is None)):
            dataset.setdefault(name, "HFS") if name == "PatientPosition" else dataset.pop(name, None)
        _voxels(dataset, plane.astype(np.int16))
        path = folder / f"{(number * 7 + 3) % 101:03d}-{number}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        files.append(path)
    return files


def an_enhanced_series(
    path: Path, array: np.ndarray, ijk_to_ras: np.ndarray, order: list[int], per_frame: bool = False, **values: Any
) -> Path:
    """Write ``[K, J, I]`` int16 as one object of many frames, the n-th of which is slice ``order[n]``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    matrix, cosines, spacing = _axes(ijk_to_ras)
    dataset = header(EnhancedMRImageStorage, "MR", "1.2.826.0.1.99.5", SeriesNumber=5, **values)
    dataset.NumberOfFrames = len(array)

    def item(**parts: Any) -> list[Dataset]:
        group = Dataset()
        for name, value in parts.items():
            setattr(group, name, value)
        return [group]

    always = {
        "PlaneOrientationSequence": item(ImageOrientationPatient=cosines),
        "PixelMeasuresSequence": item(
            PixelSpacing=spacing, SliceThickness=float(f"{np.linalg.norm(matrix[:3, 2]):.10g}")
        ),
    }
    shared, groups = Dataset(), []
    for number in order:
        group = Dataset()
        position = [float(f"{x:.10g}") for x in matrix[:3, 3] + number * matrix[:3, 2]]
        group.PlanePositionSequence = item(ImagePositionPatient=position)
        groups.append(group)
    for where in groups if per_frame else [shared]:
        for name, value in always.items():
            setattr(where, name, value)
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], groups
    _voxels(dataset, array[order][0].astype(np.int16))
    dataset.PixelData = array[order].astype(np.int16).tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def a_photograph(path: Path, picture: np.ndarray, modality: str = "XC", **values: Any) -> Path:
    """Write ``[J, I, 3]`` uint8 as a photograph, which has no place in the patient."""
    path.parent.mkdir(parents=True, exist_ok=True)
    absent = {"FrameOfReferenceUID": None, "PositionReferenceIndicator": None, "PatientPosition": None}
    dataset = header(PICTURE_CLASSES[modality], modality, "1.2.826.0.1.99.6", SeriesNumber=6, **absent, **values)
    dataset.PatientOrientation = ""
    _voxels(dataset, picture)
    dataset.save_as(path, enforce_file_format=True)
    return path


def change(path: Path, **values: Any) -> Path:
    """Set elements of a file, or remove those whose value is None."""
    dataset = pydicom.dcmread(path)
    for name, value in values.items():
        dataset.pop(name, None) if value is None else setattr(dataset, name, value)
    dataset.save_as(path)
    return path
