"""What a person changed in a result: known by a checksum of each slice, and told in every record of it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import slicer
from vtkmodules.vtkCommonCore import reference

from .arrays import image_array
from .measure import BINARY_LABELMAP, slice_axis
from .nodes import provenance_of

SUMS_ATTRIBUTE = "MedSegAttention.SliceSums"
REDONE_ATTRIBUTE = "MedSegAttention.RedoneSlices"
ALGORITHM_TAG = "DICOM.SegmentAlgorithmType"


def remember_slices(
    node: slicer.vtkMRMLSegmentationNode, slices: Iterable[int] | None = None, made: Collection[str] | None = None
) -> None:
    """Take the slices of a segmentation as they are now for what the network made.

    Args:
        node: that a run has written.
        slices: numbers of those that are new; None for all.
        made: IDs of the segments that the network made; None for all.
    """
    sums = slice_sums(node, made)
    if slices is not None:
        before, new = _remembered(node) or {}, set(slices)
        sums = {n: text for n, text in before.items() if n not in new} | {n: sums[n] for n in new if n in sums}
    node.SetAttribute(SUMS_ATTRIBUTE, json.dumps({str(number): sums[number] for number in sorted(sums)}))


def corrected_slices(node: slicer.vtkMRMLSegmentationNode) -> list[int]:
    """Numbers of the slices that are no longer what the network made; none for what no run has written."""
    before = _remembered(node)
    if before is None:
        return []
    now = slice_sums(node)
    return sorted(number for number in before.keys() | now.keys() if before.get(number) != now.get(number))


def told_of_corrections(node: slicer.vtkMRMLSegmentationNode) -> dict[str, Any]:
    """For records: ``corrected_by_hand`` and ``redone_slices``, numbers from 0; nothing where there is none."""
    told = {"corrected_by_hand": corrected_slices(node), "redone_slices": redone_slices(node)}
    return {key: numbers for key, numbers in told.items() if numbers}


def mark_corrections(node: slicer.vtkMRMLSegmentationNode) -> list[int]:
    """Say in the segments' tags whether a person had a hand in them (DICOM: SEMIAUTOMATIC); the slices concerned."""
    corrected, segmentation = corrected_slices(node), node.GetSegmentation()
    if _remembered(node) is not None:
        for segment_id in segmentation.GetSegmentIDs():
            segment = segmentation.GetSegment(segment_id)
            kind = "SEMIAUTOMATIC" if corrected else "AUTOMATIC"
            if segment.HasTag(ALGORITHM_TAG) and _tag(segment) not in ("MANUAL", kind):
                segment.SetTag(ALGORITHM_TAG, kind)
    return corrected


def redone_slices(node: slicer.vtkMRMLSegmentationNode) -> list[int]:
    """Numbers of the slices that a later run has made anew."""
    try:
        return [int(number) for number in json.loads(node.GetAttribute(REDONE_ATTRIBUTE) or "[]")]
    except (ValueError, TypeError):
        return []


def slice_sums(node: slicer.vtkMRMLSegmentationNode, only: Collection[str] | None = None) -> dict[int, str]:
    """Slice number -> checksum of which voxels each segment (of those with these IDs) holds there.

    Slices without any are left out.

    They depend neither on names and colours nor on how Slicer crops and shares its label maps.
    """
    segmentation, shared = node.GetSegmentation(), {}
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        labelmap = segment.GetRepresentation(BINARY_LABELMAP)
        filled = labelmap is not None and 0 not in labelmap.GetDimensions() and labelmap.GetPointData().GetScalars()
        if filled and (only is None or segment_id in only):
            shared.setdefault(labelmap, []).append((segment_id, segment.GetLabelValue()))
    sums: dict[int, int] = {}
    for labelmap, segments in shared.items():  # a slice at a time for all segments that share a label map
        axis, first = slice_axis(node, labelmap), labelmap.GetExtent()[::2]
        others = [first[other] for other in (2, 1, 0) if other != axis]  # as the remaining axes of [K, J, I] follow
        for place, plane in enumerate(np.moveaxis(image_array(labelmap), 2 - axis, 0)):
            found = set(np.unique(plane).tolist()) if plane.any() else ()
            for segment_id, value in segments:
                if value in found:
                    number = place + first[axis]
                    sums[number] = sums.get(number, 0) ^ _sum(segment_id, plane == value, others)
    return {number: f"{value:08x}" for number, value in sums.items()}


def _sum(segment_id: str, plane: np.ndarray, first: list[int]) -> int:
    """Of one segment in one slice: its voxels within the box around them, and where that box lies."""
    rows, columns = (np.flatnonzero(plane.any(axis)) for axis in (1, 0))
    box = plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    where = (segment_id, int(rows[0]) + first[0], int(columns[0]) + first[1], box.shape)
    return zlib.crc32(np.packbits(box).tobytes(), zlib.crc32(repr(where).encode()))


def _remembered(node: slicer.vtkMRMLSegmentationNode) -> dict[int, str] | None:
    try:
        sums = json.loads(node.GetAttribute(SUMS_ATTRIBUTE) or "null")
        return None if sums is None or not provenance_of(node) else {int(n): str(text) for n, text in sums.items()}
    except (ValueError, AttributeError):
        return None


def _tag(segment: slicer.vtkSegment) -> str:
    found = reference("")
    segment.GetTag(ALGORITHM_TAG, found)
    return str(found)
