"""Places the user points at, as the positions that inference takes."""

from __future__ import annotations

import math

import numpy as np
import slicer
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from ..data.errors import InputError
from .arrays import from_vtk
from .nodes import nodes_of_class, world_from_local

Position = tuple[float, float, float]
"""RAS, mm."""
MOST_TILTED = math.cos(math.radians(5))
"""Of a slice view against the slices of an image: as a cosine."""


def crosshair_position(scene: slicer.vtkMRMLScene) -> Position:
    """Where the crosshair of the slice views stands, in the world.

    Raises:
        InputError: the scene has no crosshair.
    """
    crosshair = next(iter(nodes_of_class(scene, "vtkMRMLCrosshairNode")), None)
    if crosshair is None:
        raise InputError("the scene has no crosshair; expected one. Hold Shift and move the mouse over a slice view.")
    return tuple(crosshair.GetCrosshairRAS())


def point_position(points: slicer.vtkMRMLMarkupsNode) -> Position:
    """The point of a list that was placed last, in the world.

    Raises:
        InputError: no point has been placed.
    """
    for index in reversed(range(points.GetNumberOfControlPoints())):
        if points.GetNthControlPointPositionStatus(index) == slicer.vtkMRMLMarkupsNode.PositionDefined:
            return tuple(points.GetNthControlPointPositionWorld(index))
    raise InputError(f"'{points.GetName()}' has no point; expected at least one. Place a point in a slice view.")


def jump_to(scene: slicer.vtkMRMLScene, world: Position) -> None:
    """Let every slice view show the plane through a place; what is shown around it stays as it is."""
    for node in nodes_of_class(scene, "vtkMRMLSliceNode"):
        node.JumpSliceByOffsetting(*world)


def slice_in_view(scene: slicer.vtkMRMLScene, volume_node: slicer.vtkMRMLVolumeNode, axis: int) -> int | None:
    """Number of the slice of an image that a slice view shows; None where none shows one.

    Of views that cut the image along ``axis`` (within 5 degrees) the first of the layout counts, Red before all.

    Args:
        scene: of the views.
        volume_node: the image.
        axis: 0, 1 or 2 for i, j or k: what slices are numbered along.
    """
    views = sorted(nodes_of_class(scene, "vtkMRMLSliceNode"), key=lambda view: view.GetLayoutName() != "Red")
    shown = [view for view in views if view.IsMappedInLayout()] or views
    return next((n for view in shown if (n := slice_of_view(view, volume_node, axis)) is not None), None)


def slice_of_view(view: slicer.vtkMRMLSliceNode, volume_node: slicer.vtkMRMLVolumeNode, axis: int) -> int | None:
    """As :func:`slice_in_view`, of one view."""
    matrix = vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    world = world_from_local(volume_node) @ from_vtk(matrix)
    plane = from_vtk(view.GetSliceToRAS())
    across = np.delete(world[:3, :3], axis, 1)
    normal = np.cross(*across.T)
    cosine = abs(normal @ plane[:3, 2]) / (np.linalg.norm(normal) * np.linalg.norm(plane[:3, 2]))
    if cosine < MOST_TILTED:
        return None
    middle = (np.array(volume_node.GetImageData().GetDimensions()) - 1) / 2
    middle[axis] = 0
    # Where the line through the middles of all slices meets the plane.
    start, step = (world @ [*middle, 1.0])[:3], world[:3, axis]
    number = round(float((plane[:3, 3] - start) @ plane[:3, 2] / (step @ plane[:3, 2])))
    return number if 0 <= number < volume_node.GetImageData().GetDimensions()[axis] else None


def position_in_image(volume_node: slicer.vtkMRMLVolumeNode, world: Position) -> Position:
    """A place of the world in the coordinates of :func:`~.volumes.volume_image`.

    They are the world's, but for a volume under a non-linear transform, whose image keeps its own coordinates.

    Raises:
        InputError: ``world`` is not three finite numbers.
    """
    position = _three_numbers(world)
    transform = volume_node.GetParentTransformNode()
    if transform is None or transform.IsTransformToWorldLinear():
        return position
    local = [0.0, 0.0, 0.0]
    volume_node.TransformPointFromWorld(position, local)
    return tuple(local)


def _three_numbers(world: Position) -> Position:
    try:
        right, anterior, superior = (float(value) for value in world)
    except (TypeError, ValueError):
        right = anterior = superior = math.nan
    if not all(map(math.isfinite, (right, anterior, superior))):
        raise InputError(f"{world!r} is no position; expected three finite numbers (RAS, mm), such as (0, 0, 0).")
    return right, anterior, superior
