"""Closed surfaces made by another process, on real MRML."""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import vtk

from conftest import DIRECTIONS, a_result_on, an_image
from MedSegAttentionLib.scene.segmentation import is_surface_shown, write_segmentation
from MedSegAttentionLib.scene.surface_process import closed_surface
from MedSegAttentionLib.scene.surfaces import SurfaceMaker
from MedSegAttentionLib.scene.volumes import add_volume


def volume_of(surface: vtk.vtkPolyData) -> float:
    properties = vtk.vtkMassProperties()
    properties.SetInputData(surface)
    return properties.GetVolume()


def wait_for(maker: SurfaceMaker) -> None:
    end = time.monotonic() + 60
    while maker.poll():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("kind", list(DIRECTIONS))
def test_a_surface_lies_around_its_voxels(a_scene, kind):
    """The volume inside is that of the voxels less a little of their edges; left-handed grids face outwards too."""
    image = an_image(kind)
    labels = np.zeros((9, 20, 24), np.uint8)
    labels[1:8, 3:15, 4:20] = 1
    node = write_segmentation(a_scene, replace(a_result_on(image), labels=labels), add_volume(a_scene, image))
    node.GetSegmentation().SetConversionParameter("Smoothing factor", "0.0")
    wait_for(SurfaceMaker(node, sys.executable))
    assert is_surface_shown(node)
    surface = node.GetSegmentation().GetSegment("liver").GetRepresentation("Closed surface")
    voxels = labels.sum() * abs(np.linalg.det(image.ijk_to_ras[:3, :3]))
    assert 0.95 * voxels < volume_of(surface) <= voxels  # positive: normals point outwards
    middle = image.ijk_to_ras @ [11.5, 8.5, 4.0, 1.0]
    assert np.allclose(np.reshape(surface.GetBounds(), (3, 2)).mean(1), middle[:3], atol=0.01)


def test_a_segment_at_the_border_is_closed_and_smoothing_keeps_its_size():
    mask = np.ones((6, 6, 6), bool)
    rough, smooth = closed_surface(mask, np.eye(4), 0.0), closed_surface(mask, np.eye(4), 0.5)
    edges = vtk.vtkFeatureEdges()
    edges.SetInputData(rough)
    edges.FeatureEdgesOff()
    edges.ManifoldEdgesOff()
    edges.Update()
    assert edges.GetOutput().GetNumberOfCells() == 0
    assert volume_of(smooth) == pytest.approx(volume_of(rough), rel=0.2)


def test_a_process_that_fails_leaves_the_segmentation_as_it_was(a_scene, a_result, a_volume_node, caplog):
    node = write_segmentation(a_scene, a_result, a_volume_node)
    maker = SurfaceMaker(node, sys.executable)
    folder = maker._folder
    maker._processes[0].kill()
    wait_for(maker)
    assert not is_surface_shown(node)
    assert not folder.exists()
    assert "no surfaces" in caplog.text
