"""A scene that is read at first sight: the window of the image, the slice with most to see, surfaces in 3-D."""

from __future__ import annotations

import numpy as np
import slicer

from .nodes import provenance_of
from .overlays import set_overlay_opacity, shown_overlay
from .positions import Position, jump_to
from .segmentation import show_surface

SCENE_OPACITY = 0.3
"""Of the overlay in a scene that is saved: the image is seen beneath it."""
VIEW_NAME = "1"
"""Layout name of the application's first 3-D view."""
DISTANCE = 3.0
"""Of the camera, as a multiple of half the size of what it looks at."""


def set_display_window(volume_node: slicer.vtkMRMLVolumeNode, window: tuple[float, float] | None) -> None:
    """Show an image with the grey values that the network was given, unless file or user chose others.

    Args:
        volume_node: the image; one whose window follows from its extremes has none of its own.
        window: (lowest, highest); None, as of photographs, changes nothing.
    """
    display = volume_node.GetDisplayNode()
    if window is None or not isinstance(display, slicer.vtkMRMLScalarVolumeDisplayNode):
        return
    if display.GetAutoWindowLevel() and window[1] > window[0]:
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(*window)


def make_readable(
    scene: slicer.vtkMRMLScene,
    volume_node: slicer.vtkMRMLVolumeNode,
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    labels: np.ndarray,
    ijk_to_world: np.ndarray,
) -> None:
    """Prepare a scene for being saved.

    Args:
        scene: of both nodes; its slice views show image and overlay already.
        volume_node: the image.
        segmentation_node: of a run on it; its window is in its provenance.
        labels: ``[K, J, I]`` of the run.
        ijk_to_world: ``[4, 4]``.
    """
    window = provenance_of(segmentation_node).get("display_window")
    set_display_window(volume_node, tuple(window) if window else None)
    overlay = shown_overlay(scene)
    if overlay is not None:
        set_overlay_opacity(scene, overlay, SCENE_OPACITY)
    place = fullest_place(labels, ijk_to_world)
    if place is None:
        return
    jump_to(scene, place)
    if 1 not in labels.shape:  # a single slice has no surface worth seeing
        show_surface(segmentation_node, True)
        _look_at(scene, segmentation_node)


def fullest_place(labels: np.ndarray, ijk_to_world: np.ndarray) -> Position | None:
    """The middle of what was found in the axial slice with most classes, of those the one with most voxels.

    None where nothing was found.
    """
    if not labels.any():
        return None
    axis = int(np.abs(ijk_to_world[2, :3]).argmax())  # index axis closest to head-feet
    planes = np.moveaxis(labels, 2 - axis, 0)
    content = [(len(np.unique(plane[plane > 0])), int(np.count_nonzero(plane))) for plane in planes]
    number = content.index(max(content))
    middle = np.argwhere(planes[number]).mean(0)
    index = np.insert(middle, 2 - axis, number)[::-1]
    return tuple((ijk_to_world @ [*index, 1.0])[:3])


def _look_at(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLSegmentationNode) -> None:
    """A 3-D view from the front that holds all surfaces, where the scene brings none of its own."""
    if scene.GetNumberOfNodesByClass("vtkMRMLCameraNode"):
        return
    view = slicer.vtkMRMLViewNode()
    view.SetName(f"View{VIEW_NAME}")
    view.SetSingletonTag(VIEW_NAME)
    view.SetLayoutName(VIEW_NAME)
    view.SetLayoutLabel(VIEW_NAME)
    view.SetLayoutColor(slicer.vtkMRMLViewNode.GetThreeDViewBlueColor())
    view.SetMappedInLayout(True)
    scene.AddNode(view)
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    low, high = np.array(bounds[::2]), np.array(bounds[1::2])
    camera = slicer.vtkMRMLCameraNode()
    camera.SetName("Camera")
    camera.SetLayoutName(VIEW_NAME)
    scene.AddNode(camera)
    middle, half = (low + high) / 2, np.linalg.norm(high - low) / 2
    camera.SetFocalPoint(*middle)
    camera.SetPosition(middle[0], middle[1] + DISTANCE * half, middle[2])  # A: the patient faces the viewer
    camera.SetViewUp(0, 0, 1)
