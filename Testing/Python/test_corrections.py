"""What a person changes in a result is known, told, asked for, and can be made anew; on real MRML."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import slicer
import vtk

from conftest import DIRECTIONS, a_result_on, an_image, some_labels
from MedSegAttentionLib.data.volume import AXIS_NAMES
from MedSegAttentionLib.scene.corrections import corrected_slices, mark_corrections
from MedSegAttentionLib.scene.label_maps import label_map
from MedSegAttentionLib.scene.merging import merge_slices
from MedSegAttentionLib.scene.positions import slice_in_view
from MedSegAttentionLib.scene.volumes import add_volume
from MedSegAttentionLib.scene.writing import write_result
from slicer_double.fakes import nodes_of

pytest_plugins = ["slicer_double.fixtures"]


def paint(node, segment_id: str, k: int, rows: slice, columns: slice, value: int = 1) -> None:
    """As Segment Editor does: a new, cropped label map of that segment alone."""
    volume_node = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    array = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume_node).copy()
    array[k, rows, columns] = value
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, segment_id, volume_node)


def tag(node, segment_id: str) -> str:
    text = vtk.reference("")
    node.GetSegmentation().GetSegment(segment_id).GetTag("DICOM.SegmentAlgorithmType", text)
    return str(text)


@pytest.fixture
def logics(monkeypatch, a_scene):
    """What slicer.util needs to write into a segment."""
    segmentations, volumes = slicer.vtkSlicerSegmentationsModuleLogic(), slicer.vtkSlicerVolumesLogic()
    for logic in (segmentations, volumes):
        logic.SetMRMLScene(a_scene)
    modules = {"volumes": volumes, "segmentations": segmentations}
    from types import SimpleNamespace

    holders = {name: SimpleNamespace(logic=lambda logic=logic: logic) for name, logic in modules.items()}
    old = getattr(slicer, "modules", None)
    monkeypatch.setattr(slicer, "modules", SimpleNamespace(**vars(old or SimpleNamespace()), **holders), raising=False)
    monkeypatch.setattr(slicer, "mrmlScene", a_scene, raising=False)
    yield
    for logic in (segmentations, volumes):
        logic.SetMRMLScene(None)


@pytest.fixture
def a_node(a_scene, a_volume_node, a_result, logics):
    told = replace(a_result, provenance=a_result.provenance | {"slice_axis": "k", "task": "abdomen"})
    return write_result(a_scene, told, a_volume_node).segmentation


def test_a_fresh_result_has_no_corrections_and_looks_change_nothing(a_node):
    assert corrected_slices(a_node) == []
    segment = a_node.GetSegmentation().GetSegment("liver")
    segment.SetName("my liver")
    segment.SetColor(1, 0, 0)
    a_node.CreateClosedSurfaceRepresentation()
    assert corrected_slices(a_node) == []
    assert mark_corrections(a_node) == []
    assert tag(a_node, "liver") == "AUTOMATIC"


def test_what_is_painted_and_erased_is_known_by_its_slices(a_node):
    paint(a_node, "liver", 7, slice(0, 3), slice(0, 3))
    assert corrected_slices(a_node) == [7]
    paint(a_node, "liver", 2, slice(3, 4), slice(4, 5), value=0)
    assert corrected_slices(a_node) == [2, 7]
    assert mark_corrections(a_node) == [2, 7]
    assert tag(a_node, "left kidney") == "SEMIAUTOMATIC"
    paint(a_node, "liver", 7, slice(0, 3), slice(0, 3), value=0)
    paint(a_node, "liver", 2, slice(3, 4), slice(4, 5))
    assert corrected_slices(a_node) == []  # as the network made it
    mark_corrections(a_node)
    assert tag(a_node, "liver") == "AUTOMATIC"


def test_a_shift_within_a_slice_and_a_new_segment_are_corrections(a_node):
    segmentation = a_node.GetSegmentation()
    new = segmentation.AddEmptySegment("bleeding", "bleeding")
    assert corrected_slices(a_node) == []
    paint(a_node, new, 8, slice(1, 3), slice(1, 3))
    assert corrected_slices(a_node) == [8]


@pytest.mark.parametrize("axis", AXIS_NAMES)
@pytest.mark.parametrize("kind", ["permuted", "oblique"])
def test_slices_are_numbered_along_the_axis_of_the_run(a_scene, logics, kind, axis):
    image = an_image(kind)
    result = a_result_on(image)
    result = replace(result, provenance=result.provenance | {"slice_axis": axis})
    node = write_result(a_scene, result, add_volume(a_scene, image)).segmentation
    paint(node, "liver", 7, slice(2, 3), slice(5, 6))
    assert corrected_slices(node) == [{"i": 5, "j": 2, "k": 7}[axis]]


def test_corrections_survive_the_scene_file(a_node, a_scene, tmp_path):
    paint(a_node, "liver", 7, slice(0, 3), slice(0, 3))
    path = tmp_path / "scene.mrb"
    assert a_scene.WriteToMRB(str(path))
    a_scene.Clear(False)
    assert a_scene.ReadFromMRB(str(path))
    (node,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    assert corrected_slices(node) == [7]


def anew(a_node, a_result, slices: range) -> np.ndarray:
    """Merge a run that found a spleen and no kidney; gives what it found."""
    labels = some_labels()
    labels[labels == 2] = 0
    labels[slices.start : slices.stop, 10:12, 10:12] = 7
    volume_node = a_node.GetNodeReference(a_node.GetReferenceImageGeometryReferenceRole())
    merge_slices(a_node, volume_node, replace(a_result, labels=labels), 2, slices)
    return labels


def test_slices_made_anew_replace_corrections_there_and_keep_the_rest(a_node, a_result):
    paint(a_node, "liver", 7, slice(0, 3), slice(0, 3))
    paint(a_node, "liver", 2, slice(15, 16), slice(4, 5))
    own = a_node.GetSegmentation().AddEmptySegment("mark", "mark")
    paint(a_node, own, 6, slice(0, 2), slice(0, 2))
    before = label_map(a_node)
    labels = anew(a_node, a_result, range(6, 8))
    after = label_map(a_node)
    value = after.values
    np.testing.assert_array_equal(after.array[7] == value["spleen"], labels[7] == 7)
    assert not (after.array[7] == value["liver"]).any()  # the correction is gone
    for name in ("liver", "left kidney"):
        kept = [k for k in range(9) if k not in (6, 7)]
        np.testing.assert_array_equal(after.array[kept] == value[name], before.array[kept] == before.values[name])
    assert not (after.array[6:8] == value["left kidney"]).any()
    assert int((after.array == value["mark"]).sum()) == 4  # a segment of the user's own stays
    assert corrected_slices(a_node) == [2, 6]  # slice 6 holds that segment
    assert json.loads(a_node.GetAttribute("MedSegAttention.RedoneSlices")) == [6, 7]


def test_a_class_with_no_voxel_left_loses_its_segment(a_node, a_result):
    a_node.CreateClosedSurfaceRepresentation()
    anew(a_node, a_result, range(9))
    ids = set(a_node.GetSegmentation().GetSegmentIDs())
    assert ids == {"liver", "polyp", "spleen"}
    assert a_node.GetAttribute("MedSegAttention.AbsentClasses") == "left kidney"
    assert not a_node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert corrected_slices(a_node) == []


@pytest.mark.parametrize("kind", list(DIRECTIONS))
def test_the_slice_in_view_is_known_whatever_the_grid(a_scene, kind):
    image = an_image(kind)
    volume_node = add_volume(a_scene, image)
    red = a_scene.GetNodeByID("vtkMRMLSliceNodeRed")
    for axis, number in ((2, 3), (0, 20), (1, 7)):
        place = (np.array([24, 20, 9]) - 1) / 2
        place[axis] = number
        directions = image.ijk_to_ras[:3, :3] / np.linalg.norm(image.ijk_to_ras[:3, :3], axis=0)
        columns = [directions[:, other] for other in range(3) if other != axis] + [directions[:, axis]]
        matrix = vtk.vtkMatrix4x4()
        for column, direction in enumerate(columns):
            for row in range(3):
                matrix.SetElement(row, column, direction[row])
        for row, value in enumerate((image.ijk_to_ras @ [*place, 1])[:3]):
            matrix.SetElement(row, 3, value)
        red.GetSliceToRAS().DeepCopy(matrix)
        red.UpdateMatrices()
        assert slice_in_view(a_scene, volume_node, axis) == number
