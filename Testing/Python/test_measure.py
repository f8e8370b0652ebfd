"""Volumes and slice counts of segments, against counts made with numpy on the label array."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import slicer
import vtk

from conftest import CLASSES, DIRECTIONS, a_result_on, an_image, geometry, some_labels
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.data.result import VolumeResult
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.scene.arrays import image_data, to_vtk
from MedSegAttentionLib.scene.measure import BINARY_LABELMAP, measure
from MedSegAttentionLib.scene.segmentation import is_surface_shown, show_surface, write_segmentation
from MedSegAttentionLib.scene.volumes import add_volume, volume_image
from scene_tools import add_transform, world_matrix

VALUES = {"liver": 1, "left kidney": 2, "polyp": 5}


def segmented(scene, image: VolumeImage, labels: np.ndarray, moved: bool = False, **provenance):
    """Volume node and segmentation of it."""
    volume_node = add_volume(scene, image)
    if moved:
        add_transform(scene, volume_node)
    result = VolumeResult("case", labels, volume_image(volume_node).ijk_to_ras, CLASSES, {}, provenance)
    return volume_node, write_segmentation(scene, result, volume_node)


def slices_with(mask: np.ndarray, axis: int) -> int:
    others = tuple(dimension for dimension in range(3) if dimension != 2 - axis)
    return int(mask.any(axis=others).sum())


@pytest.mark.parametrize("kind", DIRECTIONS)
@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("axis", "ijk")
def test_sizes_are_those_that_numpy_counts(a_scene, kind, moved, axis):
    labels = some_labels()
    volume_node, node = segmented(a_scene, an_image(kind), labels, moved, slice_axis=axis)
    measured = measure(node)
    voxel = abs(np.linalg.det(world_matrix(volume_node)[:3, :3])) / 1000
    assert (measured.unit, measured.transform) == ("mL", "linear" if moved else "none")
    assert measured.slice_count == an_image(kind).size["ijk".index(axis)]
    assert measured.not_found == ("spleen",)
    assert [segment.name for segment in measured.segments] == list(VALUES)
    for segment, label in zip(measured.segments, CLASSES, strict=False):
        mask = labels == VALUES[segment.name]
        assert segment.voxels == mask.sum()
        assert segment.size == pytest.approx(mask.sum() * voxel, rel=1e-9)
        assert segment.slices == slices_with(mask, "ijk".index(axis))
        assert segment.colour == label.colour


@pytest.mark.parametrize(("kind", "axis"), [("plain", 2), ("oblique", 2), ("permuted", 1)])
def test_without_a_record_of_the_run_slices_are_the_axial_ones(a_scene, kind, axis):
    _, node = segmented(a_scene, an_image(kind), some_labels())
    assert measure(node).segments[0].slices == slices_with(some_labels() == 1, axis)


def test_a_non_linear_transform_is_said_and_left_out(a_scene):
    volume_node, node = segmented(a_scene, an_image(), some_labels())
    before = measure(node)
    grid = slicer.vtkOrientedGridTransform()
    displacements = image_data(np.random.default_rng(0).random((4, 4, 4, 3)) * 9)
    grid.SetDisplacementGridData(displacements)
    transform = a_scene.AddNewNodeByClass("vtkMRMLGridTransformNode")
    transform.SetAndObserveTransformToParent(grid)
    for moved in (volume_node, node):
        moved.SetAndObserveTransformNodeID(transform.GetID())
    assert measure(node).transform == "non-linear"
    assert measure(node).segments == before.segments


def test_what_the_user_drew_counts_too(a_scene):
    """A segment that overlaps others lies in a label map of its own, cropped to what it holds."""
    _, node = segmented(a_scene, an_image("oblique"), some_labels(), slice_axis="k")
    drawn = image_data(np.ones((3, 4, 5), dtype=np.int16), slicer.vtkOrientedImageData())
    inner = geometry("oblique") @ np.array([[1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 1, 4], [0, 0, 0, 1.0]])
    drawn.SetImageToWorldMatrix(to_vtk(inner))
    segment = slicer.vtkSegment()
    segment.SetName("spleen")
    segment.AddRepresentation(BINARY_LABELMAP, drawn)
    node.GetSegmentation().AddSegment(segment)
    measured = measure(node)
    assert (measured.segments[3].voxels, measured.segments[3].slices, measured.slice_count) == (60, 3, 9)
    assert measured.segments[0].voxels == (some_labels() == 1).sum()
    assert measured.not_found == ()


def test_nothing_found_lists_every_class(a_scene):
    _, node = segmented(a_scene, an_image(), np.zeros_like(some_labels()))
    measured = measure(node)
    assert measured.not_found == tuple(label.name for label in CLASSES)
    assert {(segment.voxels, segment.size, segment.slices) for segment in measured.segments} == {(0, 0.0, 0)}
    node.GetSegmentation().RemoveAllSegments()
    assert measure(node).segments == ()


def a_slice(array: np.ndarray, spacing: float) -> VolumeImage:
    return VolumeImage(array, np.diag([-spacing, -spacing, 4.0, 1.0]), "picture")


@pytest.mark.parametrize(
    ("channels", "spacing", "file_name", "unit", "size"),
    [
        (1, 0.5, "", "mm2", 56 * 0.25),
        (1, 0.5, "slice.nrrd", "mm2", 56 * 0.25),
        (1, 1.0, "", "pixels", 56),  # what readers put where a file has no spacing
        (1, 0.35, "photo.JPG", "pixels", 56),  # 72 dots an inch of paper
        (3, 0.35, "", "pixels", 56),
    ],
)
def test_a_single_slice_has_an_area_and_no_volume(a_scene, channels, spacing, file_name, unit, size):
    labels = some_labels()[1:2]
    array = np.zeros(labels.shape + ((3,) if channels == 3 else ()), np.uint8)
    volume_node, node = segmented(a_scene, a_slice(array, spacing), labels, slice_axis="k")
    if file_name:
        storage = a_scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
        storage.SetFileName(file_name)
        volume_node.SetAndObserveStorageNodeID(storage.GetID())
    measured = measure(node)
    assert (measured.unit, measured.slice_count, measured.segments[0].slices) == (unit, 1, 1)
    assert measured.segments[0].size == pytest.approx(size)


def test_a_stack_of_photographs_has_no_millilitres(a_scene):
    array = np.zeros((*some_labels().shape, 3), np.uint8)
    volume_node, node = segmented(a_scene, VolumeImage(array, geometry("plain")), some_labels(), slice_axis="k")
    assert (measure(node).unit, measure(node).segments[0].size) == ("voxels", (some_labels() == 1).sum())
    a_scene.RemoveNode(volume_node)
    assert measure(node).unit == "voxels"


@pytest.mark.parametrize(
    ("provenance", "unit"), [({"display_window": [0, 9]}, "mL"), ({"display_window": None}, "voxels")]
)
def test_when_the_image_is_gone_the_record_of_the_run_decides(a_scene, provenance, unit):
    volume_node, node = segmented(a_scene, an_image(), some_labels(), slice_axis="k", **provenance)
    a_scene.RemoveNode(volume_node)
    assert measure(node).unit == unit


def test_without_a_label_map_it_says_what_to_do(a_scene):
    _, node = segmented(a_scene, an_image(), some_labels())
    show_surface(node, True)
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.RemoveBinaryLabelmapRepresentation()
    with pytest.raises(InputError, match="no binary label map"):
        measure(node)


def test_surfaces_come_and_go_and_the_label_map_stays(a_scene):
    result = a_result_on(an_image())
    node = write_segmentation(a_scene, replace(result, attention={}), add_volume(a_scene, an_image()))
    assert not is_surface_shown(node)
    show_surface(node, True)
    assert is_surface_shown(node)
    surface = vtk.vtkPolyData()
    node.GetClosedSurfaceRepresentation("liver", surface)
    enclosed = vtk.vtkMassProperties()
    enclosed.SetInputData(surface)
    assert enclosed.GetVolume() / 1000 == pytest.approx(measure(node).segments[0].size, rel=0.35)  # corners are rounded
    show_surface(node, False)
    assert not is_surface_shown(node)
    assert measure(node).segments[0].voxels == (some_labels() == 1).sum()
