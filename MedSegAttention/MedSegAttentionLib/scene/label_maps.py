"""A segmentation of the scene as label numbers on its image's grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
from vtkmodules.vtkCommonCore import vtkIntArray, vtkStringArray
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from ..data.comparison import NamedLabels
from ..data.errors import InputError
from .arrays import from_vtk, image_array
from .measure import has_real_spacing
from .nodes import PROVENANCE_ATTRIBUTE, nodes_of_class, world_from_local
from .segmentation import source_volume


@dataclass(frozen=True)
class LabelMap:
    """Segments as numbers.

    Attributes:
        array: ``[K, J, I]`` uint8; 0 is background.
        ijk_to_ras: ``[4, 4]`` in the segmentation's own coordinates: a transform above it is not applied.
        values: segment name -> its number in ``array``, in the order of the segmentation.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray
    values: dict[str, int]


def reference_volume(segmentation_node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLVolumeNode:
    """The image a segmentation was made of.

    Raises:
        InputError: no segmentation, or its image is no longer in the scene.
    """
    if not isinstance(segmentation_node, slicer.vtkMRMLSegmentationNode):
        raise InputError(f"expected a segmentation node, got {segmentation_node!r}. Choose a segmentation.")
    volume = source_volume(segmentation_node)
    if volume is None:
        raise InputError(
            f"the image of '{segmentation_node.GetName()}' is not in the scene; its grid is needed. Load the image, or "
            "choose it as source geometry in the Segmentations module."
        )
    return volume


def label_map(
    segmentation_node: slicer.vtkMRMLSegmentationNode, volume_node: slicer.vtkMRMLVolumeNode | None = None
) -> LabelMap:
    """The segments on the grid of their image, or of another; where two overlap the later one wins.

    Each keeps the label value of its class. Segments a user added may share one: then all are counted 1, 2, ...

    Raises:
        InputError: see :func:`reference_volume`; no segment, more than a byte can number, or two of one name.
    """
    volume_node = volume_node or reference_volume(segmentation_node)
    segmentation = segmentation_node.GetSegmentation()
    ids = list(segmentation.GetSegmentIDs())
    if not 0 < len(ids) < 256:
        raise InputError(f"'{segmentation_node.GetName()}' has {len(ids)} segments; expected 1 to 255.")
    segments = [segmentation.GetSegment(segment_id) for segment_id in ids]
    names = [segment.GetName() for segment in segments]
    if len(set(names)) != len(names):
        raise InputError(f"two segments of '{segmentation_node.GetName()}' have one name; expected different names.")
    values = [segment.GetLabelValue() for segment in segments]
    if len(set(values)) != len(values) or any(not 0 < value < 256 for value in values):
        values = list(range(1, len(segments) + 1))
    matrix = vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    array, ijk_to_ras = merged_labels(segmentation_node, volume_node, matrix, ids, values), from_vtk(matrix)
    return LabelMap(array, ijk_to_ras, dict(zip(names, values, strict=True)))


def labels_to_compare(
    first: slicer.vtkMRMLSegmentationNode, second: slicer.vtkMRMLSegmentationNode
) -> tuple[NamedLabels, NamedLabels]:
    """Two segmentations on the grid of the image of the first.

    Raises:
        InputError: see :func:`label_map`; or they lie under different transforms.
    """
    volume_node = reference_volume(first)
    if not np.allclose(world_from_local(first), world_from_local(second)):
        raise InputError(
            f"'{first.GetName()}' and '{second.GetName()}' lie under different transforms; expected the same. Harden "
            "the transforms in the Transforms module."
        )
    maps = [label_map(node, volume_node) for node in (first, second)]
    spacing, sizes = np.linalg.norm(maps[0].ijk_to_ras[:3, :3], axis=0), volume_node.GetImageData().GetDimensions()
    in_plane = tuple(float(step) for step, size in zip(spacing, sizes, strict=True) if size > 1)
    has_scale = has_real_spacing(first, 1 in sizes, in_plane)
    return tuple(
        NamedLabels(node.GetName(), item.array, item.ijk_to_ras, item.values, has_scale)
        for node, item in zip((first, second), maps, strict=True)
    )


def latest_segmentation(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLSegmentationNode:
    """The segmentation that a run added last.

    Raises:
        InputError: there is none.
    """
    made = [
        node for node in nodes_of_class(scene, "vtkMRMLSegmentationNode") if node.GetAttribute(PROVENANCE_ATTRIBUTE)
    ]
    if not made:
        raise InputError("the scene holds no segmentation by MedSegAttention; segment a volume first.")
    return made[-1]


def merged_labels(
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLVolumeNode,
    ijk_to_ras: vtkMatrix4x4,
    ids: list[str],
    values: list[int],
) -> np.ndarray:
    """``[K, J, I]`` uint8: some segments as numbers on the grid of an image; where two overlap the later one wins."""
    grid, merged = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    grid.SetDimensions(volume_node.GetImageData().GetDimensions())
    grid.SetImageToWorldMatrix(ijk_to_ras)
    names, numbers = vtkStringArray(), vtkIntArray()
    for segment_id, value in zip(ids, values, strict=True):
        names.InsertNextValue(segment_id)
        numbers.InsertNextValue(value)
    segmentation_node.CreateBinaryLabelmapRepresentation()  # does nothing where it is there
    segmentation_node.GenerateMergedLabelmapForAllSegments(
        merged, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY, grid, names, numbers
    )
    return image_array(merged).astype(np.uint8)
