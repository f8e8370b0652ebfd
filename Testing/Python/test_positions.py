"""Where the user points, in the scene's own nodes."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.scene.positions import crosshair_position, point_position, position_in_image
from scene_tools import add_transform


def test_the_crosshair_is_where_the_user_put_it(a_scene):
    with pytest.raises(InputError, match="no crosshair"):
        crosshair_position(a_scene)
    a_scene.AddNewNodeByClass("vtkMRMLCrosshairNode").SetCrosshairRAS(1.5, -2.0, 3.0)
    assert crosshair_position(a_scene) == (1.5, -2.0, 3.0)


def test_of_a_list_the_last_placed_point_counts(a_scene):
    points = a_scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "seeds")
    with pytest.raises(InputError, match="'seeds' has no point"):
        point_position(points)
    points.AddControlPoint(1, 2, 3)
    points.AddControlPoint(4, 5, 6)
    points.AddControlPoint(7, 8, 9)
    points.UnsetNthControlPointPosition(2)
    assert point_position(points) == (4, 5, 6)
    transform = add_transform(a_scene, points)
    assert point_position(points) == pytest.approx(
        (np.array([[0.8, -0.6, 0, 10], [0.6, 0.8, 0.2, -20], [0, 0, 1.1, 5]]) @ [4, 5, 6, 1]).tolist()
    )
    assert transform is points.GetParentTransformNode()


def test_only_a_non_linear_transform_changes_the_position(a_scene, a_volume_node):
    assert position_in_image(a_volume_node, (1, 2, 3)) == (1, 2, 3)
    add_transform(a_scene, a_volume_node)
    assert position_in_image(a_volume_node, (1, 2, 3)) == (1, 2, 3)
    bent = slicer.vtkMRMLBSplineTransformNode()
    grid = slicer.vtkOrientedBSplineTransform()
    coefficients = vtk.vtkImageData()
    coefficients.SetDimensions(5, 5, 5)
    coefficients.SetOrigin(-100, -100, -100)
    coefficients.SetSpacing(50, 50, 50)
    coefficients.AllocateScalars(vtk.VTK_DOUBLE, 3)
    coefficients.GetPointData().GetScalars().Fill(4.0)  # everything is moved by (4, 4, 4)
    grid.SetCoefficientData(coefficients)
    bent.SetAndObserveTransformToParent(grid)
    a_scene.AddNode(bent)
    a_volume_node.SetAndObserveTransformNodeID(bent.GetID())
    assert position_in_image(a_volume_node, (1, 2, 3)) == pytest.approx((-3, -2, -1), abs=1e-3)


@pytest.mark.parametrize("wrong", [(0, 0), "x", None, (0, 0, float("nan"))])
def test_what_is_no_position_is_named(a_volume_node, wrong):
    with pytest.raises(InputError, match="is no position; expected three finite numbers"):
        position_in_image(a_volume_node, wrong)
