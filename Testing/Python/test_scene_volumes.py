from __future__ import annotations

import gc

import numpy as np
import pytest
import slicer
import vtk

from conftest import DIRECTIONS, an_image, geometry
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.scene.application import headless_scene
from MedSegAttentionLib.scene.nodes import nodes_of_class
from MedSegAttentionLib.scene.overlays import show_overlay
from MedSegAttentionLib.scene.volumes import active_volume, add_volume, volume_image
from MedSegAttentionLib.scene.writing import write_result
from scene_tools import add_transform, world_matrix


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_volume_goes_in_and_comes_out_unchanged(a_scene, kind):
    image = an_image(kind)
    back = volume_image(add_volume(a_scene, image))
    np.testing.assert_array_equal(back.array, image.array)
    np.testing.assert_allclose(back.ijk_to_ras, image.ijk_to_ras, atol=1e-12)
    assert (back.name, back.modality, back.array.dtype) == ("case 1", "CT", np.int16)


def test_array_is_a_view_of_the_node(a_volume_node):
    image = volume_image(a_volume_node)
    a_volume_node.GetImageData().SetScalarComponentFromDouble(3, 2, 1, 0, -77)
    assert image.array[1, 2, 3] == -77


def test_view_outlives_the_scene():
    scene = headless_scene()
    array = volume_image(add_volume(scene, an_image())).array
    del scene
    gc.collect()
    np.testing.assert_array_equal(array, an_image().array)


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_picture_becomes_a_vector_volume(a_scene, channels):
    array = np.random.default_rng(0).integers(0, 255, (1, 6, 5, channels), dtype=np.uint8)
    node = add_volume(a_scene, VolumeImage(array, geometry("plain")))
    assert node.GetClassName() == "vtkMRMLVectorVolumeNode"
    back = volume_image(node)
    np.testing.assert_array_equal(back.array, array)
    assert back.modality is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.array([True, False]), np.uint8),
        (np.array([-5, 7], dtype=np.int64), np.int32),
        (np.array([0, 2**40], dtype=np.uint64), np.float64),
        (np.array([0.5, 1], dtype=np.float16), np.float32),
        (np.array([1, 2], dtype=">i2"), np.int16),
    ],
)
def test_number_types_vtk_lacks_become_the_nearest_that_holds_the_values(a_scene, given, kept):
    back = volume_image(add_volume(a_scene, VolumeImage(given.reshape(1, 1, 2), np.eye(4)))).array
    assert back.dtype == kept
    np.testing.assert_array_equal(back.ravel(), given.astype(float))


def test_complex_voxels_are_refused_and_add_no_node(a_scene):
    before = a_scene.GetNumberOfNodes()
    with pytest.raises(InputError, match="complex"):
        add_volume(a_scene, VolumeImage(np.zeros((2, 2, 2), dtype=complex), np.eye(4)))
    assert a_scene.GetNumberOfNodes() == before


def test_linear_parent_transform_is_applied(a_scene, a_volume_node):
    outer = add_transform(a_scene, a_volume_node)
    add_transform(a_scene, outer)  # two levels
    np.testing.assert_allclose(volume_image(a_volume_node).ijk_to_ras, world_matrix(a_volume_node), atol=1e-9)
    assert not np.allclose(volume_image(a_volume_node).ijk_to_ras, an_image().ijk_to_ras)


def test_non_linear_parent_transform_leaves_the_local_geometry(a_scene, a_volume_node):
    spline = vtk.vtkThinPlateSplineTransform()
    points, moved = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in np.ndindex(2, 2, 2):
        points.InsertNextPoint(np.array(corner) * 20.0)
        moved.InsertNextPoint(np.array(corner) * 20.0 + np.array([0, 0, 5 * corner[0] * corner[1]]))
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(moved)
    spline.SetBasisToR()
    transform = a_scene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    transform.SetAndObserveTransformToParent(spline)
    a_volume_node.SetAndObserveTransformNodeID(transform.GetID())
    np.testing.assert_allclose(volume_image(a_volume_node).ijk_to_ras, an_image().ijk_to_ras)


def test_node_without_voxels_is_named(a_scene):
    node = a_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty one")
    with pytest.raises(InputError, match="'empty one' holds no voxels"):
        volume_image(node)
    with pytest.raises(InputError, match="expected a volume node, got nothing"):
        volume_image(None)


def test_the_only_volume_is_active(a_scene, a_volume_node, a_result):
    written = write_result(a_scene, a_result, a_volume_node, show=False)  # our overlay is no candidate
    assert active_volume(a_scene) is a_volume_node
    (red,) = (n for n in nodes_of_class(a_scene, "vtkMRMLSliceCompositeNode") if n.GetLayoutName() == "Red")
    red.SetBackgroundVolumeID(written.attention["tau_stage4"].GetID())  # nor where it is looked at by itself
    assert active_volume(a_scene) is a_volume_node


def test_red_view_decides_between_several(a_scene, a_volume_node):
    second = add_volume(a_scene, an_image())
    second.SetName("case 2")
    with pytest.raises(InputError, match="'case 1', 'case 2'"):
        active_volume(a_scene)
    show_overlay(a_scene, None, second)
    assert active_volume(a_scene) is second


def test_another_view_does_not_decide(a_scene, a_volume_node):
    second = add_volume(a_scene, an_image())
    for n in range(a_scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        view = a_scene.GetNthNodeByClass(n, "vtkMRMLSliceCompositeNode")
        if view.GetLayoutName() == "Green":
            view.SetBackgroundVolumeID(second.GetID())
    with pytest.raises(InputError, match="Red slice view shows none"):
        active_volume(a_scene)


def test_no_volume_is_an_error(a_scene):
    with pytest.raises(InputError, match="holds no volume"):
        active_volume(a_scene)


def test_scene_is_freed_with_its_logics():
    released = []
    scene = headless_scene()
    scene.AddObserver(vtk.vtkCommand.DeleteEvent, lambda *_: released.append(True))
    assert scene.GetNodeByID("vtkMRMLColorTableNodeGrey") is not None
    assert isinstance(scene.GetDataIOManager(), slicer.vtkDataIOManager)
    del scene
    gc.collect()
    assert released


def test_a_scene_starts_and_ends_without_a_word(capfd):
    """The wheel lacks colour and terminology files that Slicer's logics look for; users must not see that."""
    scene = headless_scene()
    del scene
    gc.collect()
    assert capfd.readouterr() == ("", "")
