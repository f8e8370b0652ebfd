"""Some slices of a result in place of what a segmentation holds there; all else stays."""

from __future__ import annotations

import json

import numpy as np
import slicer
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from ..data.labels import Label
from ..data.result import VolumeResult
from .colours import segment_colours
from .corrections import REDONE_ATTRIBUTE, redone_slices, remember_slices
from .label_maps import merged_labels
from .nodes import ABSENT_ATTRIBUTE
from .segmentation import BINARY_LABELMAP, SURFACE, add_segments, algorithm_name, labelmap


def merge_slices(
    node: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLVolumeNode,
    result: VolumeResult,
    axis: int,
    slices: range,
) -> None:
    """Let a result take the place of what a segmentation holds in some slices.

    Segments that the run knows nothing of, such as those a person has added, stay as they are. A class that is found
    now and had no segment gets one; one that has no voxel left loses its. Closed surfaces are removed: they are no
    longer true.

    Args:
        node: segmentation of an earlier run.
        volume_node: the image of both.
        result: of a run on those slices.
        axis: 0, 1 or 2 for i, j or k: what slices are numbered along.
        slices: numbers to replace.
    """
    segmentation, classes = node.GetSegmentation(), {label.name: label for label in result.classes}
    ids = [segment_id for segment_id in segmentation.GetSegmentIDs() if segment_id in classes]
    matrix = vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    array = np.zeros_like(result.labels)
    if ids:
        array = merged_labels(node, volume_node, matrix, ids, [classes[segment_id].value for segment_id in ids])
    old, new = (np.moveaxis(labels, 2 - axis, 0) for labels in (array, result.labels))
    old[slices.start : slices.stop] = new[slices.start : slices.stop]
    found = set(np.unique(array).tolist()) - {0}
    segmentation.RemoveRepresentation(SURFACE)
    _write(segmentation, labelmap(array, volume_node), [classes[i] for i in ids], result, found)
    absent = [label.name for label in result.classes if label.value not in found]
    node.SetAttribute(ABSENT_ATTRIBUTE, ", ".join(absent) or None)
    remember_slices(node, slices, made=classes)
    node.SetAttribute(REDONE_ATTRIBUTE, json.dumps(sorted({*redone_slices(node), *slices})))
    if node.GetDisplayNode():
        node.GetDisplayNode().Modified()  # slice views draw anew for this


def _write(
    segmentation: slicer.vtkSegmentation,
    shared: slicer.vtkOrientedImageData,
    there: list[Label],
    result: VolumeResult,
    found: set[int],
) -> None:
    for label in there:
        segment = segmentation.GetSegment(label.name)
        if label.value in found:
            segment.SetLabelValue(label.value)
            segment.AddRepresentation(BINARY_LABELMAP, shared)
        else:
            segmentation.RemoveSegment(label.name)
    missing = [label for label in result.classes if label.value in found and label not in there]
    add_segments(segmentation, missing, shared, algorithm_name(result), segment_colours(result.classes))
