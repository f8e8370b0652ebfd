"""One segment of a result: seen or not, called what, largest where."""

from __future__ import annotations

import numpy as np
import slicer
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from .arrays import from_vtk, image_array
from .measure import BINARY_LABELMAP, image_to_world, slice_axis
from .nodes import world_from_local
from .positions import Position


def is_segment_shown(node: slicer.vtkMRMLSegmentationNode, segment_id: str) -> bool:
    """Whether slice and 3-D views show a segment."""
    display = node.GetDisplayNode()
    return bool(display and display.GetVisibility() and display.GetSegmentVisibility(segment_id))


def show_segment(node: slicer.vtkMRMLSegmentationNode, segment_id: str, shown: bool) -> None:
    """Show or hide one segment; the segmentation as a whole is shown with it."""
    node.CreateDefaultDisplayNodes()
    if shown:
        node.GetDisplayNode().SetVisibility(True)
    node.GetDisplayNode().SetSegmentVisibility(segment_id, shown)


def rename_segment(node: slicer.vtkMRMLSegmentationNode, segment_id: str, name: str) -> None:
    """Call a segment ``name``; an empty one changes nothing."""
    if name.strip():
        node.GetSegmentation().GetSegment(segment_id).SetName(name.strip())


def largest_place(node: slicer.vtkMRMLSegmentationNode, segment_id: str) -> Position | None:
    """Where a segment is largest: the voxel nearest to its middle in the slice that holds most of it, in the world.

    None where it has no voxel.
    """
    segment = node.GetSegmentation().GetSegment(segment_id)
    labelmap = segment.GetRepresentation(BINARY_LABELMAP)
    if labelmap is None or 0 in labelmap.GetDimensions() or labelmap.GetPointData().GetScalars() is None:
        return None
    axis = slice_axis(node, labelmap)
    slices = np.moveaxis(image_array(labelmap) == segment.GetLabelValue(), 2 - axis, 0)
    counts = slices.sum((1, 2))
    if not counts.any():
        return None
    number = int(counts.argmax())
    places = np.argwhere(slices[number])
    place = places[((places - places.mean(0)) ** 2).sum(1).argmin()]
    index = np.insert(place, 2 - axis, number)[::-1] + np.array(labelmap.GetExtent()[::2])
    return tuple((world_from_local(node) @ image_to_world(labelmap) @ [*index, 1.0])[:3])


def slice_place(volume_node: slicer.vtkMRMLVolumeNode, axis: int, number: int) -> Position:
    """The middle of a slice of an image, in the world.

    Args:
        volume_node: the image.
        axis: 0, 1 or 2 for i, j or k: what slices are numbered along.
        number: from 0.
    """
    index = (np.array(volume_node.GetImageData().GetDimensions()) - 1) / 2
    index[axis] = number
    matrix = vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return tuple((world_from_local(volume_node) @ from_vtk(matrix) @ [*index, 1.0])[:3])
