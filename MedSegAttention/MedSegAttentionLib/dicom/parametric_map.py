"""An attention map as a DICOM Parametric Map."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.labels import Code
from ..data.result import AttentionVolume, VolumeResult
from .naming import PRIVATE_SCHEME, common, concept, finish, short
from .sources import SourceImages

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
LONGEST_LABEL = 16
BODY = Code("SCT", "38266002", "Entire body")
"""Of context group 4 of the standard: where a map is about several organs."""


def parametric_map_object(images: SourceImages, result: VolumeResult, attention: AttentionVolume, number: int) -> Any:
    """A map on its own grid, which is coarser than that of its source, with its meaning and without a unit.

    Args:
        images: the source; must have a place in the patient.
        result: of the run.
        attention: one of its maps.
        number: of the map among those of the result, from 0.

    Returns:
        ``highdicom.pm.ParametricMap``, float32. Not written yet.
    """
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap

    item, provenance = attention.map, result.provenance
    uids = [header.SOPInstanceUID for header in images.headers]
    low, high = map(float, item.range)
    dataset = ParametricMap(
        images.headers,
        np.ascontiguousarray(attention.array, np.float32),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_mapping(attention)],
        voi_lut_transformations=[VOILUTTransformation(window_center=(low + high) / 2, window_width=high - low)],
        content_label="ATTENTION",
        content_creator_name="MedSegAttention",
        content_description=short(item.title),
        **_place(attention.ijk_to_ras, len(attention.array)),
        **common(images.headers[0], provenance, uids, item.name, 3 + number, provenance["settings"]["attention_grid"]),
    )
    dataset.ImageComments = item.meaning[:10240]
    dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_anatomy(result)]
    return finish(dataset, [*uids, item.name])


def _anatomy(result: VolumeResult) -> Any:
    """What the frames show: optional, but dcmqi ends without it."""
    from pydicom import Dataset

    shown = {label.region or label.type for label in result.classes}
    anatomy = Dataset()
    anatomy.FrameLaterality = "U"
    anatomy.AnatomicRegionSequence = [concept(shown.pop() if len(shown) == 1 else BODY)]
    return anatomy


def _mapping(attention: AttentionVolume) -> Any:
    from highdicom.pm import RealWorldValueMapping
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    item = attention.map
    return RealWorldValueMapping(
        lut_label=short(item.name, LONGEST_LABEL),
        lut_explanation=short(item.meaning),
        unit=codes.UCUM.NoUnits,
        value_range=tuple(map(float, item.range)),
        quantity_definition=CodedConcept(item.name, PRIVATE_SCHEME, short(item.title)),
    )


def _place(ijk_to_ras: np.ndarray, count: int) -> dict[str, Any]:
    """The grid of a map, plane by plane, so that a sheared one is kept too."""
    from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence

    matrix = RAS_TO_LPS @ ijk_to_ras
    along = matrix[:3, :3]
    width, height = np.linalg.norm(along[:, :2], axis=0)
    normal = np.cross(along[:, 0] / width, along[:, 1] / height)
    distance = abs(float(normal @ along[:, 2]))
    orientation = [*(along[:, 0] / width), *(along[:, 1] / height)]
    return {
        "pixel_measures": PixelMeasuresSequence(
            pixel_spacing=[float(height), float(width)], slice_thickness=distance, spacing_between_slices=distance
        ),
        "plane_orientation": PlaneOrientationSequence("PATIENT", [float(value) for value in orientation]),
        "plane_positions": [
            PlanePositionSequence("PATIENT", [float(value) for value in matrix[:3, 3] + number * along[:, 2]])
            for number in range(count)
        ],
    }
