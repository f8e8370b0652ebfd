"""Where two segmentations differ, as a segmentation over the image."""

from __future__ import annotations

import numpy as np
import slicer

from ..data.comparison import ONLY_FIRST, ONLY_SECOND, OTHER_CLASS, Comparison
from .label_maps import reference_volume
from .nodes import follow, nodes_of_class
from .segmentation import BINARY_LABELMAP, labelmap

ATTRIBUTE = "MedSegAttention.Disagreement"
COLOURS = {ONLY_FIRST: (0.94, 0.40, 0.07), ONLY_SECOND: (0.22, 0.70, 1.0), OTHER_CLASS: (1.0, 0.95, 0.15)}


def write_disagreement(
    scene: slicer.vtkMRMLScene, comparison: Comparison, first: slicer.vtkMRMLSegmentationNode
) -> slicer.vtkMRMLSegmentationNode:
    """Add a segmentation with a segment for each way to differ, in place of the one of an earlier comparison.

    It is no result, so no list of segmentations offers it.

    Args:
        scene: of all.
        comparison: of ``first`` with another, on the grid of its image.
        first: gives image, transform and place in the hierarchy.
    """
    remove_disagreement(scene)
    volume_node, (a, b) = reference_volume(first), comparison.names
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GetUniqueNameByString(f"{a} against {b}"))
    node.SetAttribute(ATTRIBUTE, "1")
    node.SetHideFromEditors(True)
    follow(node, volume_node)
    shared = labelmap(comparison.disagreement, volume_node)
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
    names = {ONLY_FIRST: f"only in {a}", ONLY_SECOND: f"only in {b}", OTHER_CLASS: "another class"}
    for value in np.unique(comparison.disagreement[comparison.disagreement > 0]).tolist():
        segment = slicer.vtkSegment()
        segment.SetName(names[value])
        segment.SetColor(*COLOURS[value])
        segment.SetLabelValue(value)
        segment.AddRepresentation(BINARY_LABELMAP, shared)
        segmentation.AddSegment(segment)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetVisibility3D(False)
    node.GetDisplayNode().SetOpacity2DFill(0.8)
    return node


def disagreement_of(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLSegmentationNode | None:
    """What :func:`write_disagreement` added last, while it is in the scene."""
    nodes = nodes_of_class(scene, "vtkMRMLSegmentationNode")
    return next((node for node in nodes if node.GetAttribute(ATTRIBUTE)), None)


def remove_disagreement(scene: slicer.vtkMRMLScene) -> None:
    """Take it out of the scene, with its display."""
    if (node := disagreement_of(scene)) is not None:
        display = node.GetDisplayNode()
        scene.RemoveNode(node)
        if display is not None and scene.IsNodePresent(display):  # the application takes it out with its node
            scene.RemoveNode(display)
