"""Between numpy and VTK: images and matrices."""

from __future__ import annotations

import numpy as np
from vtkmodules.util import numpy_support
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from ..data.errors import InputError


def image_data(array: np.ndarray, image: vtkImageData | None = None, share: bool = False) -> vtkImageData:
    """Copy ``[K, J, I]`` or ``[K, J, I, C]`` into a VTK image with unit spacing.

    Args:
        array: any number type; types VTK or Slicer's file formats lack become the nearest that holds the values.
        image: filled and returned when given (for instance a ``vtkOrientedImageData``), else a new one.
        share: use the array itself where its type and order allow, instead of a copy.

    Raises:
        InputError: not numbers (complex, text, objects).
    """
    image = vtkImageData() if image is None else image
    array = np.ascontiguousarray(_storable(array))
    channels = 1 if array.ndim == 3 else array.shape[3]
    scalars = numpy_support.numpy_to_vtk(array.reshape(-1, channels), deep=not share)
    scalars.SetName("ImageScalars")
    image.SetDimensions(*array.shape[2::-1])
    image.GetPointData().SetScalars(scalars)
    return image


def image_array(image: vtkImageData) -> np.ndarray:
    """View of a VTK image as ``[K, J, I]``, or ``[K, J, I, C]`` when a voxel has several components; no copy."""
    i, j, k = image.GetDimensions()
    scalars = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    return scalars.reshape((k, j, i) if scalars.ndim == 1 else (k, j, i, scalars.shape[1]))


def to_vtk(matrix: np.ndarray) -> vtkMatrix4x4:
    """``[4, 4]`` to a VTK matrix."""
    result = vtkMatrix4x4()
    result.DeepCopy(np.asarray(matrix, dtype=float).ravel().tolist())
    return result


def from_vtk(matrix: vtkMatrix4x4) -> np.ndarray:
    """VTK matrix to ``[4, 4]`` float64."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def _storable(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise InputError(f"voxels of type '{array.dtype}' cannot be shown; expected integers or real numbers.")
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:  # Slicer and NRRD readers refuse 64-bit integers
        small = np.iinfo(np.int32)
        return array.astype(np.int32 if small.min <= array.min() and array.max() <= small.max else np.float64)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    native = array.dtype.newbyteorder("=")
    return array.astype(np.float64 if native.itemsize > 8 else native, copy=False)
