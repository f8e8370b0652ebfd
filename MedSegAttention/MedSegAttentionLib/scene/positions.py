"""Places the user points at, as the positions that inference takes."""

from __future__ import annotations

import math

import slicer

from ..data.errors import InputError
from .nodes import nodes_of_class

Position = tuple[float, float, float]
"""RAS, mm."""


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
