"""A segmentation as a DICOM SEG object, written by Slicer's own exporter; here is what it needs and does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from vtkmodules.vtkCommonCore import reference

from ..data.errors import InputError
from ..scene.corrections import mark_corrections
from ..scene.label_maps import reference_volume
from ..scene.measure import measure

INSTANCES_ATTRIBUTE = "DICOM.instanceUIDs"
ALGORITHM_TYPE, ALGORITHM_NAME = "DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName"


def export_dicom(segmentation_node: slicer.vtkMRMLSegmentationNode, path: str | Path, exporter_class: Any) -> Path:
    """Write a DICOM SEG object that refers to the images the volume was loaded from.

    Args:
        segmentation_node: of a scene, with the volume it was made of.
        path: ``.dcm`` file to write.
        exporter_class: ``DICOMSegmentationExporter`` of the module ``DICOMSegmentationPlugin``: part of Slicer 5.12, in
            older versions of the QuantitativeReporting extension.

    Raises:
        InputError: something that DICOM needs is missing (see :func:`check_for_dicom`), or the exporter failed.
    """
    path = Path(path).absolute()
    if not path.parent.is_dir():
        raise InputError(f"folder '{path.parent}' does not exist; expected an existing folder. Create it first.")
    check_for_dicom(segmentation_node)
    mark_corrections(segmentation_node)
    exporter = exporter_class(segmentation_node)
    try:
        exporter.export(str(path.parent), path.name, {"SeriesDescription": segmentation_node.GetName()})
    except Exception as error:  # its errors are of many kinds, down to those of the program it starts
        raise InputError(f"'{path}' could not be written as DICOM SEG: {error}") from error
    finally:
        exporter.cleanup()
    return path


def check_for_dicom(segmentation_node: slicer.vtkMRMLSegmentationNode) -> None:
    """Ask for everything the exporter needs before it starts, so that it neither asks the user nor writes half.

    Raises:
        InputError: the image was not loaded from DICOM, a segment is empty, or one lacks its codes or algorithm.
    """
    volume_node, name = reference_volume(segmentation_node), segmentation_node.GetName()
    if not volume_node.GetAttribute(INSTANCES_ATTRIBUTE):
        raise InputError(
            f"'{volume_node.GetName()}' was not loaded from Slicer's DICOM database, which a DICOM SEG object refers "
            "to. Import the series in the DICOM module, load it from there and segment that, or export '.seg.nrrd'."
        )
    empty = [segment.name for segment in measure(segmentation_node).segments if not segment.voxels]
    if empty:
        raise InputError(f"'{name}' has empty segments ({', '.join(empty)}), which DICOM SEG cannot hold; remove them.")
    segmentation = segmentation_node.GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        missing = [tag for tag in (segment.GetTerminologyEntryTagName(), ALGORITHM_TYPE) if not _tag(segment, tag)]
        if _tag(segment, ALGORITHM_TYPE) not in ("", "MANUAL") and not _tag(segment, ALGORITHM_NAME):
            missing.append(ALGORITHM_NAME)
        if missing:
            raise InputError(
                f"segment '{segment.GetName()}' of '{name}' lacks {', '.join(missing)}; choose its terminology in the "
                "Segment Editor, or segment again."
            )


def _tag(segment: slicer.vtkSegment, name: str) -> str:
    value = reference("")
    return str(value) if segment.GetTag(name, value) else ""
