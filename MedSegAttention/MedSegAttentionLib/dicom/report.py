"""What was measured in a result as a DICOM Structured Report of template TID 1500."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.labels import Label
from ..data.result import VolumeResult
from .naming import MANUFACTURER, PRIVATE_SCHEME, algorithm, common, concept, derived_uid, finish, object_uid, short
from .sources import SourceImages

EXPECTED = (
    ("expected_dice", "Expected Dice coefficient"),
    ("expected_low", "Expected Dice coefficient, lower end of its interval"),
    ("expected_high", "Expected Dice coefficient, upper end of its interval"),
)
"""Private code and meaning of what has no standard one."""


def report_object(images: SourceImages, result: VolumeResult, segmentation: Any) -> Any:
    """Volume (or area, of a single slice), number of slices and expected Dice of each segment, found or not.

    Args:
        images: the source.
        result: what is reported.
        segmentation: the Segmentation of the same result, which the report refers to.

    Returns:
        ``highdicom.sr.Comprehensive3DSR`` with a measurement group for each class. Not written yet.
    """
    from highdicom.sr import Comprehensive3DSR, MeasurementReport, ObservationContext
    from pydicom.sr.codedict import codes

    uids = [header.SOPInstanceUID for header in images.headers]
    device = derived_uid("device", result.provenance["weights_sha256"])
    measured = {item["value"]: item for item in result.found()}
    groups = [_group(label, measured[label.value], images, result, segmentation) for label in result.classes]
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(device, result.provenance)),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=groups,
        title=codes.cid7021.ImagingMeasurementReport,
    )
    dataset = Comprehensive3DSR(
        [*images.headers, segmentation],
        content[0],
        is_complete=True,
        is_final=False,
        **common(images.headers[0], result.provenance, uids, "SR", 2, segmentation.SOPInstanceUID),
    )
    return finish(dataset, uids)


def _observer(device: str, provenance: dict[str, Any]) -> Any:
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
    from pydicom.sr.codedict import codes

    return ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=device,
            name=short(provenance["checkpoint"]),
            manufacturer_name=MANUFACTURER,
            model_name=short(f"{provenance['checkpoint']} {provenance['checkpoint_version']}"),
            serial_number=provenance["weights_sha256"],
        ),
    )


def _group(label: Label, found: dict[str, Any], images: SourceImages, result: VolumeResult, segmentation: Any) -> Any:
    from highdicom import sr

    uids = [header.SOPInstanceUID for header in images.headers]
    known = algorithm(result.provenance)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=sr.ReferencedSegment(
            segmentation.SOPClassUID,
            segmentation.SOPInstanceUID,
            segment_number=label.value,
            source_series=sr.SourceSeriesForSegmentation(images.headers[0].SeriesInstanceUID),
        ),
        tracking_identifier=sr.TrackingIdentifier(
            uid=object_uid(result.provenance, uids, "segment", label.value), identifier=short(label.name)
        ),
        finding_category=concept(label.category),
        finding_type=concept(label.type),
        algorithm_id=sr.AlgorithmIdentification(
            known["name"], known["version"], [f"{name}={value}" for name, value in known["parameters"].items()]
        ),
        finding_sites=[_site(label)] if label.region or label.type_modifier else None,
        measurements=_measurements(label, found, images, result),
    )


def _site(label: Label) -> Any:
    """Where it is: the region of a lesion, or the organ with its side."""
    from highdicom.sr import FindingSite

    side = label.region_modifier if label.region else label.type_modifier
    return FindingSite(concept(label.region or label.type), laterality=concept(side) if side else None)


def _measurements(label: Label, found: dict[str, Any], images: SourceImages, result: VolumeResult) -> list[Any]:
    from highdicom.sr import CodedConcept, Measurement
    from pydicom.sr.codedict import codes

    slices = int((result.labels == label.value).any(axis=(1, 2)).sum())
    if found["ml"] is not None:
        size = Measurement(
            name=codes.SCT.Volume,
            value=found["ml"],
            unit=codes.UCUM.CubicCentimeter,
            method=codes.DCM.SumOfSegmentedVoxelMethodForVolume,
        )
    elif images.has_place:
        steps = np.linalg.norm(result.ijk_to_ras[:3, :3], axis=0)
        across = [step for step, count in zip(steps, result.labels.shape[::-1], strict=True) if count > 1]
        area = found["voxels"] * float(np.prod(across))
        size = Measurement(name=codes.SCT.Area, value=round(area, 4), unit=codes.UCUM.SquareMillimeter)
    else:
        pixels = CodedConcept("{pixels}", "UCUM", "pixels")
        size = Measurement(name=codes.SCT.Area, value=found["voxels"], unit=pixels)
    frames = CodedConcept("{slices}", "UCUM", "slices")
    expected = [
        Measurement(name=CodedConcept(name, PRIVATE_SCHEME, words), value=value, unit=codes.UCUM.NoUnits)
        for (name, words), value in zip(EXPECTED, _expected(found), strict=False)
    ]
    return [size, Measurement(name=codes.DCM.NumberOfFrames, value=slices, unit=frames), *expected]


def _expected(found: dict[str, Any]) -> list[float]:
    """The Dice to expect, and the ends of its interval; nothing where the checkpoint cannot tell."""
    if found["expected_dice"] is None:
        return []
    return [found["expected_dice"], *(found["expected_dice_interval"] or ())]
