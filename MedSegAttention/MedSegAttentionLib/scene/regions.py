"""A region of interest of the scene as indices of an image."""

from __future__ import annotations

import numpy as np
import slicer
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from ..data.errors import InputError
from .arrays import from_vtk
from .nodes import world_from_local

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""(first, last) index along i, j and k."""


def box_of(region: slicer.vtkMRMLMarkupsROINode, volume_node: slicer.vtkMRMLVolumeNode) -> Box:
    """The voxels whose middles lie in a region; of one that is turned against the image, those in the box around it.

    Raises:
        InputError: the region has no size, or holds no voxel of the image.
    """
    name, size = region.GetName(), np.array(region.GetSize())
    if region.GetNumberOfControlPoints() == 0 or not size.all():
        raise InputError(f"region '{name}' has no size; expected a box. Draw it in the slice views, or choose None.")
    matrix = vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    ijk_from_world = np.linalg.inv(world_from_local(volume_node) @ from_vtk(matrix))
    corners = np.array(np.meshgrid(*([-0.5, 0.5],) * 3)).reshape(3, -1) * size[:, None]
    world = from_vtk(region.GetObjectToWorldMatrix()) @ np.vstack([corners, np.ones(8)])
    indices = (ijk_from_world @ world)[:3]
    count = np.array(volume_node.GetImageData().GetDimensions())
    first = np.maximum(np.ceil(indices.min(1) - 1e-6), 0).astype(int)
    last = np.minimum(np.floor(indices.max(1) + 1e-6), count - 1).astype(int)
    if (first > last).any():
        raise InputError(
            f"region '{name}' holds no voxel of '{volume_node.GetName()}'; expected a box over the image. Move it "
            "there, or choose None."
        )
    return tuple((int(low), int(high)) for low, high in zip(first, last, strict=True))


def lay_around(region: slicer.vtkMRMLMarkupsROINode, volume_node: slicer.vtkMRMLVolumeNode) -> None:
    """Give a region the place and size of the whole image, for the user to draw its sides inwards."""
    bounds = [0.0] * 6
    volume_node.GetRASBounds(bounds)
    low, high = np.array(bounds[::2]), np.array(bounds[1::2])
    region.SetCenterWorld(*((low + high) / 2))
    region.SetSize(*(high - low))
