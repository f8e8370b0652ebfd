"""Attention to a scalar volume node that Slicer shows over the image: coloured, thresholded, with a fixed range."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from ..data.card import AttentionMap
from ..data.result import AttentionVolume
from .arrays import image_data, to_vtk
from .colours import colour_node
from .nodes import MAP_ATTRIBUTE, follow, nodes_of_class, set_provenance, world_from_local


def write_attention(
    scene: slicer.vtkMRMLScene,
    attention: AttentionVolume,
    volume_node: slicer.vtkMRMLVolumeNode,
    provenance: dict[str, Any],
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add an attention map as a volume of its own, raw values on the map's own grid.

    Args:
        scene: of the volume.
        attention: ``ijk_to_ras`` in world coordinates, as those of :func:`~.volumes.volume_image`.
        volume_node: the image it explains; gives parent transform and place in the hierarchy.
        provenance: of the run, kept in the node's attributes.
    """
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{volume_node.GetName()} {attention.map.title}")
    node.SetIJKToRASMatrix(to_vtk(np.linalg.inv(world_from_local(volume_node)) @ attention.ijk_to_ras))
    node.SetAndObserveImageData(image_data(attention.array.astype(np.float32, copy=False)))
    node.SetAttribute(MAP_ATTRIBUTE, attention.map.name)
    set_provenance(node, provenance)
    node.SetDescription(attention.map.meaning)
    follow(node, volume_node)
    display_map(node, attention.map, float(attention.array.max()))
    return node


def display_map(node: slicer.vtkMRMLScalarVolumeNode, shown: AttentionMap, largest: float = 0.0) -> None:
    """Give a volume in a scene the colours, window, threshold and legend of an attention map.

    Args:
        node: holds its raw values.
        shown: which map it is.
        largest: of the values, where they may lie above the map's range.
    """
    node.CreateDefaultDisplayNodes()
    low, high = shown.range
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(colour_node(node.GetScene()).GetID())
    display.SetAutoWindowLevel(False)  # a window fitted to one image would make maps of two patients incomparable
    display.SetWindowLevelMinMax(low, high)
    display.SetAutoThreshold(False)
    # Hides nothing yet, above the window neither; raising the lower threshold leaves only the strong places.
    display.SetThreshold(low, max(high, largest))
    display.SetApplyThreshold(True)
    display.SetInterpolate(True)
    slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(node).SetTitleText(shown.title)


def show_overlay(
    scene: slicer.vtkMRMLScene,
    node: slicer.vtkMRMLVolumeNode | None,
    background_node: slicer.vtkMRMLVolumeNode,
    opacity: float = 0.5,
) -> None:
    """Show ``background_node``, and ``node`` over it (None leaves the foreground alone), in every slice view.

    A view that was empty is fitted to the image, as Slicer does with the first volume loaded; others keep their zoom.

    Args:
        scene: of both.
        node: overlay.
        background_node: image.
        opacity: of the overlay, 0 to 1.
    """
    for view in nodes_of_class(scene, "vtkMRMLSliceCompositeNode"):
        was_empty = not view.GetBackgroundVolumeID()
        view.SetBackgroundVolumeID(background_node.GetID())
        if node:
            view.SetForegroundVolumeID(node.GetID())
            view.SetForegroundOpacity(opacity)
        if was_empty:
            _fit(scene, view)


def _fit(scene: slicer.vtkMRMLScene, view: slicer.vtkMRMLSliceCompositeNode) -> None:
    slice_node = slicer.vtkMRMLSliceLogic.GetSliceNode(view)
    if slice_node is None:
        return
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLScene(scene)
    logic.SetSliceNode(slice_node)  # which also finds the view's composite node
    logic.FitSliceToBackground()
    logic.SetMRMLScene(None)
