"""A scene that is saved opens so that it can be read: window, slice, overlay, legend, surfaces; on real MRML."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conftest import DIRECTIONS, a_result_on, an_image, geometry, some_labels
from MedSegAttentionLib.data.case import FileChoice
from MedSegAttentionLib.output.case_files import save_files
from MedSegAttentionLib.scene.application import headless_scene
from MedSegAttentionLib.scene.overlay_display import legend
from MedSegAttentionLib.scene.overlays import overlay_opacity, shown_overlay
from MedSegAttentionLib.scene.readable import fullest_place, set_display_window
from MedSegAttentionLib.scene.segmentation import is_surface_shown
from MedSegAttentionLib.scene.volumes import add_volume
from MedSegAttentionLib.scene.writing import write_result
from slicer_double.fakes import nodes_of


@pytest.fixture
def reopened(tmp_path):
    """The scene that a run with ``--scene`` leaves, opened again."""
    image = an_image("anisotropic")
    result = a_result_on(image)
    result = replace(result, provenance=result.provenance | {"display_window": [50.0, 250.0], "slice_axis": "k"})
    scene = headless_scene()
    save_files(scene, add_volume(scene, image), result, tmp_path / "case", FileChoice(scene=True))
    again = headless_scene()
    assert again.ReadFromMRB(str(tmp_path / "case.mrb"))
    yield again
    again.Clear(True)
    scene.Clear(True)


def test_a_saved_scene_opens_with_window_slice_overlay_legend_and_surfaces(reopened):
    (image,) = [node for node in nodes_of(reopened, "vtkMRMLScalarVolumeNode") if node.GetName() == "case 1"]
    display = image.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (50, 250)
    assert not display.GetAutoWindowLevel()
    (segmentation,) = nodes_of(reopened, "vtkMRMLSegmentationNode")
    assert is_surface_shown(segmentation)
    overlay = shown_overlay(reopened)
    assert overlay_opacity(reopened, overlay) == pytest.approx(0.3)
    assert legend(overlay).GetVisibility()
    # Slices 0 and 1 hold two classes (5 and, from 1 on, 1): slice 1 shows most.
    place = geometry("anisotropic") @ [0, 0, 1, 1]
    assert reopened.GetNodeByID("vtkMRMLSliceNodeRed").GetSliceOffset() == pytest.approx(place[2])


def test_views_keep_the_names_and_colours_of_the_application(reopened):
    """A scene brings its views along: without these their bars would be grey and nameless in the application."""
    for name, label in (("Red", "R"), ("Green", "G"), ("Yellow", "Y")):
        view = reopened.GetNodeByID(f"vtkMRMLSliceNode{name}")
        assert view.GetLayoutLabel() == label
        assert view.GetLayoutColor() == pytest.approx(getattr(view, f"Get{name}Color")(), abs=1e-5)


def test_the_3d_view_looks_at_the_surfaces_from_the_front(reopened):
    (camera,) = nodes_of(reopened, "vtkMRMLCameraNode")
    (segmentation,) = nodes_of(reopened, "vtkMRMLSegmentationNode")
    bounds = np.zeros(6)
    segmentation.GetRASBounds(bounds)
    middle = bounds.reshape(3, 2).mean(1)
    assert np.allclose(camera.GetFocalPoint(), middle, atol=1e-3)
    away = np.array(camera.GetPosition()) - middle
    assert np.allclose(away[[0, 2]], 0, atol=1e-3)
    assert away[1] > np.ptp(bounds.reshape(3, 2), axis=1).max()
    assert camera.GetLayoutName() == "1"


@pytest.mark.parametrize("kind", list(DIRECTIONS))
def test_the_fullest_axial_slice_is_found_in_any_grid(kind):
    matrix, labels = geometry(kind), some_labels()
    axis = int(np.abs(matrix[2, :3]).argmax())
    index = np.linalg.inv(matrix) @ [*fullest_place(labels, matrix), 1]
    number = round(float(index[axis]))
    plane = np.moveaxis(labels, 2 - axis, 0)[number]
    most = max(len(np.unique(other[other > 0])) for other in np.moveaxis(labels, 2 - axis, 0))
    assert len(np.unique(plane[plane > 0])) == most
    assert fullest_place(np.zeros_like(labels), matrix) is None


def test_a_window_of_the_file_or_the_user_stays(a_scene, a_volume_node, a_result):
    display = a_volume_node.GetDisplayNode()
    told = replace(a_result, provenance=a_result.provenance | {"display_window": [50.0, 250.0]})
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(7, 9)
    write_result(a_scene, told, a_volume_node)
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (7, 9)
    display.SetAutoWindowLevel(True)
    set_display_window(a_volume_node, None)
    assert display.GetAutoWindowLevel()
    write_result(a_scene, told, a_volume_node)
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (50, 250)
