"""Run as a program of its own, so that Slicer's window stays alive: labels in, one closed surface a label out.

``python surface_process.py FOLDER``. It needs numpy and VTK alone. FOLDER holds ``labels.npy`` ``[K, J, I]`` uint8 and
``request.json``: ``{"values": [label, ...], "matrix": 16 numbers, index to mm, "smoothing": 0 to 1}``; a file
``LABEL.vtp`` is written for each.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from vtkmodules.util import numpy_support
from vtkmodules.vtkCommonDataModel import vtkImageData, vtkPolyData
from vtkmodules.vtkCommonExecutionModel import vtkAlgorithm
from vtkmodules.vtkCommonTransforms import vtkTransform
from vtkmodules.vtkFiltersCore import vtkPolyDataNormals, vtkWindowedSincPolyDataFilter
from vtkmodules.vtkFiltersGeneral import vtkDiscreteFlyingEdges3D, vtkTransformPolyDataFilter
from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter


def main(folder: Path) -> None:
    """Make all surfaces that the request names."""
    labels = np.load(folder / "labels.npy")
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    for value in request["values"]:
        surface = closed_surface(labels == value, np.reshape(request["matrix"], (4, 4)), request["smoothing"])
        writer = vtkXMLPolyDataWriter()
        writer.SetInputData(surface)
        writer.SetFileName(str(folder / f"{value}.vtp"))
        writer.SetDataModeToAppended()
        writer.EncodeAppendedDataOff()
        writer.Write()


def closed_surface(mask: np.ndarray, matrix: np.ndarray, smoothing: float) -> vtkPolyData:
    """The smoothed surface around a mask, closed also where the mask ends at the border.

    Args:
        mask: ``[K, J, I]`` bool.
        matrix: ``[4, 4]`` from (i, j, k) to mm.
        smoothing: from 0 (none) to 1, as the factor of Slicer's Segmentations module.
    """
    places = np.argwhere(mask)
    low = places.min(0) if len(places) else np.zeros(3, dtype=int)
    high = places.max(0) + 1 if len(places) else np.ones(3, dtype=int)
    inside = mask[tuple(slice(*ends) for ends in zip(low, high, strict=True))]
    padded = np.pad(inside, 1).astype(np.uint8)
    image = vtkImageData()
    image.SetDimensions(*padded.shape[::-1])
    image.SetOrigin(*(float(first - 1) for first in low[::-1]))
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(padded.ravel(), deep=True))
    edges = vtkDiscreteFlyingEdges3D()
    edges.SetInputData(image)
    edges.ComputeScalarsOff()
    edges.ComputeGradientsOff()
    edges.ComputeNormalsOff()
    edges.SetValue(0, 1)
    last = _moved(_smoothed(edges, smoothing) if smoothing > 0 else edges, matrix)
    normals = vtkPolyDataNormals()
    normals.SetInputConnection(last.GetOutputPort())
    normals.SplittingOff()
    normals.ConsistencyOn()
    normals.AutoOrientNormalsOn()
    normals.Update()
    return normals.GetOutput()


def _smoothed(source: vtkAlgorithm, smoothing: float) -> vtkAlgorithm:
    smoother = vtkWindowedSincPolyDataFilter()
    smoother.SetInputConnection(source.GetOutputPort())
    smoother.SetNumberOfIterations(round(20 + 40 * smoothing))
    smoother.SetPassBand(10.0 ** (-4 * smoothing))
    smoother.BoundarySmoothingOff()
    smoother.FeatureEdgeSmoothingOff()
    smoother.NonManifoldSmoothingOn()
    smoother.NormalizeCoordinatesOn()
    return smoother


def _moved(source: vtkAlgorithm, matrix: np.ndarray) -> vtkAlgorithm:
    transform, mover = vtkTransform(), vtkTransformPolyDataFilter()
    transform.SetMatrix(matrix.ravel().tolist())
    mover.SetTransform(transform)
    mover.SetInputConnection(source.GetOutputPort())
    return mover


if __name__ == "__main__":
    main(Path(sys.argv[1]))
