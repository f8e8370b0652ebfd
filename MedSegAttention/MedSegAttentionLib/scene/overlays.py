"""Attention to a scalar volume node that Slicer shows over the image.

What is shown is kept where Slicer keeps it and nowhere else: the overlay shown is the foreground of the slice views,
and its opacity is theirs. Colours, window, threshold and legend are in ``overlay_display``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from ..data.card import PROBABILITY, AttentionMap
from ..data.result import AttentionVolume
from .arrays import from_vtk, image_data, to_vtk
from .nodes import (
    MAP_ATTRIBUTE,
    PROVENANCE_ATTRIBUTE,
    follow,
    is_overlay,
    nodes_of_class,
    provenance_of,
    set_provenance,
)
from .overlay_display import RANGE_ATTRIBUTE, first_shown, refresh_legends, set_default_display, text_of
from .volumes import volume_image

VOLUME_ROLE = "MedSegAttention.Volume"
DEFAULT_OPACITY = 0.5


def write_attention(
    scene: slicer.vtkMRMLScene,
    attention: AttentionVolume,
    volume_node: slicer.vtkMRMLVolumeNode,
    provenance: dict[str, Any],
    ijk_to_ras: np.ndarray | None = None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add an attention map as a volume of its own, raw values on the map's own grid.

    Args:
        scene: of the volume.
        attention: ``ijk_to_ras`` in world coordinates, as those of :func:`~.volumes.volume_image`.
        volume_node: the image it explains; gives parent transform and place in the hierarchy.
        provenance: of the run, kept in the node's attributes.
        ijk_to_ras: ``[4, 4]`` of the image in the world when the map was computed, so that the map lies right on it
            where it was moved since; None where it was not.
    """
    now, matrix = volume_image(volume_node).ijk_to_ras, vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    local_from_world = from_vtk(matrix) @ np.linalg.inv(now if ijk_to_ras is None else ijk_to_ras)
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(scene.GetUniqueNameByString(f"{volume_node.GetName()} {attention.map.title}"))
    node.SetIJKToRASMatrix(to_vtk(local_from_world @ attention.ijk_to_ras))
    node.SetAndObserveImageData(image_data(attention.array.astype(np.float32, copy=False)))
    say_what_it_is(node, attention.map, volume_node)
    set_provenance(node, provenance)
    node = scene.AddNode(node)  # only now: who hears of a new node sees what it is
    follow(node, volume_node)
    node.CreateDefaultDisplayNodes()
    set_default_display(node, attention.map.title)
    return node


def say_what_it_is(
    node: slicer.vtkMRMLScalarVolumeNode, shown: AttentionMap, volume_node: slicer.vtkMRMLVolumeNode
) -> None:
    """Mark a volume as an attention map: which one, of what range and meaning, of which image."""
    node.SetAttribute(MAP_ATTRIBUTE, shown.name)
    node.SetAttribute(RANGE_ATTRIBUTE, text_of(*shown.range))
    node.SetDescription(shown.meaning)
    node.SetNodeReferenceID(VOLUME_ROLE, volume_node.GetID())


def overlays_of(
    scene: slicer.vtkMRMLScene,
    volume_node: slicer.vtkMRMLVolumeNode | None,
    segmentation_node: slicer.vtkMRMLSegmentationNode | None = None,
) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """The overlays of an image, in the order they were made.

    Args:
        scene: of all.
        volume_node: the image; None has no overlays.
        segmentation_node: with the overlays of its run alone, and the attention rows of any; None for all runs.
    """
    run = segmentation_node.GetAttribute(PROVENANCE_ATTRIBUTE) if segmentation_node else None
    return [
        node
        for node in nodes_of_class(scene, "vtkMRMLScalarVolumeNode")
        if is_overlay(node)
        and volume_node is not None
        and node.GetNodeReference(VOLUME_ROLE) is volume_node
        and (run in (None, node.GetAttribute(PROVENANCE_ATTRIBUTE)) or "attention_row" in provenance_of(node))
    ]


def probability_thresholds(segmentation_node: slicer.vtkMRMLSegmentationNode) -> dict[str, float]:
    """From which probability on a user let the maps of a run be shown: name of the map -> threshold.

    Maps that hide no more than at first are left out. The display nodes keep the values, and with them scenes.

    Args:
        segmentation_node: of the run.
    """
    run = segmentation_node.GetAttribute(PROVENANCE_ATTRIBUTE)
    found = {}
    for node in nodes_of_class(segmentation_node.GetScene(), "vtkMRMLScalarVolumeNode"):
        name = node.GetAttribute(MAP_ATTRIBUTE) or ""
        if run and name.startswith(PROBABILITY) and node.GetAttribute(PROVENANCE_ATTRIBUTE) == run:
            lowest = node.GetDisplayNode().GetLowerThreshold() if node.GetDisplayNode() else 0.0
            if lowest > first_shown(node):
                found[name] = round(lowest, 4)
    return found


def slice_views(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLSliceCompositeNode]:
    """What each slice view shows, the Red one first."""
    views = nodes_of_class(scene, "vtkMRMLSliceCompositeNode")
    return sorted(views, key=lambda view: view.GetLayoutName() != "Red")


def shown_overlay(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The overlay that lies over the image in the Red slice view, or else in the first view that has one."""
    shown = (scene.GetNodeByID(view.GetForegroundVolumeID() or "") for view in slice_views(scene))
    return next((node for node in shown if is_overlay(node)), None)


def show_overlay(
    scene: slicer.vtkMRMLScene,
    node: slicer.vtkMRMLVolumeNode | None,
    background_node: slicer.vtkMRMLVolumeNode,
    opacity: float = DEFAULT_OPACITY,
) -> None:
    """Show ``background_node``, and ``node`` over it, in every slice view; an overlay shown before goes.

    A view that was empty is fitted to the image, as Slicer does with the first volume loaded; others keep their zoom.

    Args:
        scene: of both.
        node: overlay; None leaves alone what else lies over the image.
        background_node: image.
        opacity: of the overlay, 0 to 1.
    """
    for view in slice_views(scene):
        was_empty = not view.GetBackgroundVolumeID()
        view.SetBackgroundVolumeID(background_node.GetID())
        shown = scene.GetNodeByID(view.GetForegroundVolumeID() or "")
        if node:
            view.SetForegroundVolumeID(node.GetID())
            view.SetForegroundOpacity(opacity)
        elif is_overlay(shown):
            view.SetForegroundVolumeID(None)
        if was_empty:
            _fit(view, background_node)
    refresh_legends(scene)


def hide_overlays(scene: slicer.vtkMRMLScene) -> None:
    """Take overlays out of the slice views; what else lies over an image there stays."""
    for view in slice_views(scene):
        if is_overlay(scene.GetNodeByID(view.GetForegroundVolumeID() or "")):
            view.SetForegroundVolumeID(None)
    refresh_legends(scene)


def remove_overlay(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLVolumeNode) -> None:
    """Remove an overlay with its display nodes, which would else stay in the scene unseen."""
    for part in [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]:
        scene.RemoveNode(part)
    scene.RemoveNode(node)
    refresh_legends(scene)


def overlay_opacity(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLVolumeNode) -> float:
    """Opacity, 0 to 1, in the first view that shows the overlay; the default where none does."""
    return next((view.GetForegroundOpacity() for view in _views_with(scene, node)), DEFAULT_OPACITY)


def set_overlay_opacity(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLVolumeNode, opacity: float) -> None:
    """Give the overlay an opacity, 0 to 1, in every view that shows it."""
    for view in _views_with(scene, node):
        view.SetForegroundOpacity(opacity)


def _views_with(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode) -> list[slicer.vtkMRMLSliceCompositeNode]:
    return [view for view in slice_views(scene) if view.GetForegroundVolumeID() == node.GetID()]


def _fit(view: slicer.vtkMRMLSliceCompositeNode, volume_node: slicer.vtkMRMLVolumeNode) -> None:
    """Show the whole image in a slice view, its middle in the middle.

    On the slice node itself: the logic of the view is the application's, and a second one would disturb it.
    """
    slice_node = slicer.vtkMRMLSliceLogic.GetSliceNode(view)
    if slice_node is None or volume_node.GetImageData() is None:
        return
    bounds = [0.0] * 6
    volume_node.GetRASBounds(bounds)
    low, high = np.array(bounds[::2]), np.array(bounds[1::2])
    to_ras = slice_node.GetSliceToRAS()
    axes = from_vtk(to_ras)[:3, :3]
    wide, tall = (np.abs(axes.T) @ (high - low))[:2]
    columns, rows = slice_node.GetDimensions()[:2]
    shape = columns / rows if rows else 1.0
    width = max(wide, tall * shape)
    slice_node.SetFieldOfView(width, width / shape, slice_node.GetFieldOfView()[2])
    for axis, middle in enumerate((low + high) / 2):
        to_ras.SetElement(axis, 3, middle)
    slice_node.SetXYZOrigin(0, 0, 0)
    slice_node.UpdateMatrices()
