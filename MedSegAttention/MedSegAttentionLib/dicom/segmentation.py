"""Labels as a DICOM Segmentation."""

from __future__ import annotations

from typing import Any

from ..data.labels import Label
from ..data.result import VolumeResult
from .naming import common, concept, finish, identification, short
from .sources import SourceImages

KINDS = ("binary", "labelmap")
"""A plane of bits for each segment, which every reader knows; or one plane of label values, smaller and newer."""


def segmentation_object(images: SourceImages, result: VolumeResult, kind: str) -> Any:
    """The labels of a result on the grid of its source.

    Frames without any segment are left out; where nothing was found at all, all are there. Label maps are compressed by
    run lengths, which DCMTK and what is built on it unpack; its JPEG-LS it does not, for segmentations.

    Args:
        images: the source.
        result: with labels on its grid.
        kind: one of :data:`KINDS`.

    Returns:
        ``highdicom.seg.Segmentation``; segment numbers are label values. Not written yet.
    """
    from highdicom.seg import Segmentation
    from pydicom.uid import ExplicitVRLittleEndian, RLELossless

    uids = [header.SOPInstanceUID for header in images.headers]
    provenance = result.provenance
    dataset = Segmentation(
        images.headers,
        images.arranged(result.labels),
        segmentation_type=kind.upper(),
        segment_descriptions=[_description(label, provenance) for label in result.classes],
        transfer_syntax_uid=RLELossless if kind == "labelmap" else ExplicitVRLittleEndian,
        content_label="SEGMENTATION",
        content_description=short(provenance["task"]),
        content_creator_name="MedSegAttention",
        **common(images.headers[0], provenance, uids, "SEG", 1, kind),
    )
    if not images.has_place:
        dataset.PatientOrientation = images.headers[0].get("PatientOrientation") or ""
    return finish(dataset, uids)


def _description(label: Label, provenance: dict[str, Any]) -> Any:
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription

    description = SegmentDescription(
        label.value,
        short(label.name),
        concept(label.category),
        concept(label.type),
        "AUTOMATIC",
        identification(provenance),
        anatomic_regions=[concept(label.region)] if label.region else None,
        display_color=CIELabColor.from_rgb(*label.colour),
    )
    for code, sequence, name in (
        (label.type_modifier, "SegmentedPropertyTypeCodeSequence", "SegmentedPropertyTypeModifierCodeSequence"),
        (label.region_modifier, "AnatomicRegionSequence", "AnatomicRegionModifierSequence"),
    ):
        if code and sequence in description:
            setattr(description[sequence].value[0], name, [concept(code)])
    return description
