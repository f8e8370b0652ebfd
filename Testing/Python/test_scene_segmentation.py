from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import slicer
import slicerio
import vtk

from conftest import CLASSES, DIRECTIONS, a_result_on, an_image
from MedSegAttentionLib import __version__
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.output.files import save_node
from MedSegAttentionLib.scene.segmentation import write_segmentation
from MedSegAttentionLib.scene.terminology import (
    REGION_FILE,
    REGION_NAME,
    TERMINOLOGY_FILE,
    TERMINOLOGY_NAME,
    terminology_entry,
)
from MedSegAttentionLib.scene.volumes import add_volume
from scene_tools import add_transform, segments_at, world_matrix

PRESENT = CLASSES[:3]
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def tag(segment, name: str) -> str:
    value = vtk.reference("")
    assert segment.GetTag(name, value), name
    return str(value)


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_labels_are_exact_on_the_grid_of_the_volume(a_scene, kind):
    image = an_image(kind)
    volume_node = add_volume(a_scene, image)
    result = a_result_on(image)
    found = segments_at(write_segmentation(a_scene, result, volume_node), volume_node)
    assert list(found) == [label.name for label in PRESENT]
    for label in PRESENT:
        np.testing.assert_array_equal(found[label.name], result.labels == label.value, err_msg=label.name)


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_file_says_the_same_to_an_independent_reader(a_scene, tmp_path, kind):
    image = an_image(kind)
    result = a_result_on(image)
    node = write_segmentation(a_scene, result, add_volume(a_scene, image))
    file = slicerio.read_segmentation(str(save_node(node, tmp_path / "case.seg.nrrd")))
    for label in PRESENT:
        segment = slicerio.segment_from_name(file, label.name)
        np.testing.assert_allclose(segment["color"], np.array(label.colour) / 255, atol=1e-5)
        codes = segment["terminology"]
        assert codes["contextName"] == TERMINOLOGY_NAME
        assert codes["category"] == [label.category.scheme, label.category.value, label.category.meaning]
        assert codes["type"] == [label.type.scheme, label.type.value, label.type.meaning]
        ijk = np.argwhere(file["voxels"] == segment["labelValue"])
        expected = np.argwhere(result.labels == label.value)[:, ::-1]
        np.testing.assert_allclose(
            in_world(LPS @ file["ijkToLPS"], ijk), in_world(image.ijk_to_ras, expected), atol=1e-6
        )
    assert slicerio.segment_from_name(file, "left kidney")["terminology"]["typeModifier"][1] == "7771000"
    assert slicerio.segment_from_name(file, "polyp")["terminology"]["anatomicRegion"][1] == "71854001"


def in_world(matrix: np.ndarray, ijk: np.ndarray) -> np.ndarray:
    """World positions of voxels, in an order of their own."""
    positions = ijk @ matrix[:3, :3].T + matrix[:3, 3]
    return positions[np.lexsort(positions.round(4).T)]


def test_segments_carry_what_dicom_export_needs(a_scene, a_volume_node, a_result):
    node = write_segmentation(a_scene, a_result, a_volume_node)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == len(PRESENT)
    assert segmentation.GetNumberOfLayers() == 1  # one shared label map
    for number in range(len(PRESENT)):
        segment = segmentation.GetNthSegment(number)
        assert tag(segment, "DICOM.SegmentAlgorithmType") == "AUTOMATIC"
        assert tag(segment, "DICOM.SegmentAlgorithmName") == f"MedSegAttention {__version__} abdomen-ct-klo-net"
    assert node.GetName() == "case 1 abdomen-ct-klo-net"
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is a_volume_node
    assert node.GetAttribute("MedSegAttention.AbsentClasses") == "spleen"
    assert node.GetAttribute("MedSegAttention.Partial") is None
    assert node.GetDisplayNode() is not None


def test_partial_run_is_marked(a_scene, a_volume_node, a_partial_result):
    node = write_segmentation(a_scene, a_partial_result, a_volume_node)
    assert node.GetAttribute("MedSegAttention.Partial") == "2-6"


def test_nothing_found_leaves_an_empty_segment_for_each_class(a_scene, a_volume_node, a_result):
    node = write_segmentation(a_scene, replace(a_result, labels=np.zeros_like(a_result.labels)), a_volume_node)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 4
    assert not any(mask.any() for mask in segments_at(node, a_volume_node).values())
    assert node.GetAttribute("MedSegAttention.AbsentClasses") == "liver, left kidney, polyp, spleen"


def test_segments_follow_the_transform_of_the_volume(a_scene, a_volume_node, a_result):
    transform = add_transform(a_scene, a_volume_node)
    node = write_segmentation(a_scene, a_result, a_volume_node)
    assert node.GetParentTransformNode() is transform
    found = segments_at(node, a_volume_node)
    np.testing.assert_array_equal(found["liver"], a_result.labels == 1)
    world = world_matrix(a_volume_node)
    for k, j, i in np.random.default_rng(1).integers(0, a_result.labels.shape, (60, 3)):
        assert label_at_world(node, (world @ [i, j, k, 1])[:3]) == a_result.labels[k, j, i]


def label_at_world(node, point) -> float:
    """What a click at a place in the world hits, found through MRML's own transforms."""
    local = [0.0, 0.0, 0.0]
    node.TransformPointFromWorld(point, local)
    labelmap = node.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    to_index = vtk.vtkMatrix4x4()
    labelmap.GetWorldToImageMatrix(to_index)
    index = np.array(to_index.MultiplyPoint((*local, 1))[:3])
    np.testing.assert_allclose(index, index.round(), atol=1e-6)
    return labelmap.GetScalarComponentAsDouble(*index.round().astype(int).tolist(), 0)


def test_labels_of_another_size_are_refused(a_scene, a_volume_node, a_result):
    with pytest.raises(InputError, match=r"shape \[9, 20, 23\] do not fit volume 'case 1'; expected \[9, 20, 24\]"):
        write_segmentation(a_scene, replace(a_result, labels=a_result.labels[:, :, 1:]), a_volume_node)


def test_a_value_without_a_class_is_refused(a_scene, a_volume_node, a_result):
    labels = a_result.labels.copy()
    labels[0, 5, 5] = 42
    with pytest.raises(InputError, match=r"\[42\] belong to no class"):
        write_segmentation(a_scene, replace(a_result, labels=labels), a_volume_node)


def test_all_segments_share_one_copy_of_the_labels(a_scene, a_volume_node, a_result):
    segmentation = write_segmentation(a_scene, a_result, a_volume_node).GetSegmentation()
    first, *others = [segmentation.GetNthSegment(n).GetRepresentation("Binary labelmap") for n in range(len(PRESENT))]
    assert all(other is first for other in others)


def test_terminology_files_hold_just_the_agreed_codes():
    contexts = json.loads(TERMINOLOGY_FILE.read_text()), json.loads(REGION_FILE.read_text())
    assert contexts[0]["SegmentationCategoryTypeContextName"] == TERMINOLOGY_NAME
    assert contexts[1]["AnatomicContextName"] == REGION_NAME
    assert codes_in(contexts) == {
        *("123037004", "41216001", "10200004", "78961009", "28231008", "15776009", "69695003", "15825003"),
        *("64033007", "7771000", "24028007", "49755003", "52988006", "41329004", "39937001", "71854001"),
    }


def codes_in(tree) -> set[str]:
    if isinstance(tree, dict):
        own = {tree["CodeValue"]} if "CodeValue" in tree else set()
        return own.union(*(codes_in(branch) for branch in tree.values()))
    return set().union(*(codes_in(branch) for branch in tree)) if isinstance(tree, (list, tuple)) else set()


def test_slicer_loads_the_terminology_and_finds_our_entries_in_it(capfd):
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    assert logic.LoadTerminologyFromFile(str(TERMINOLOGY_FILE)) == TERMINOLOGY_NAME
    assert logic.LoadRegionContextFromFile(str(REGION_FILE)) == REGION_NAME
    for label in CLASSES:
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.DeserializeTerminologyEntry(terminology_entry(label), entry)
        found = slicer.vtkSlicerTerminologyType()
        category = slicer.vtkSlicerTerminologyCategory()
        assert logic.GetNthCategoryInTerminology(
            TERMINOLOGY_NAME, 0 if label.category == CLASSES[0].category else 1, category
        )
        names = []
        for number in range(logic.GetNumberOfTypesInTerminologyCategory(TERMINOLOGY_NAME, category)):
            logic.GetNthTypeInTerminologyCategory(TERMINOLOGY_NAME, category, number, found)
            names.append((found.GetCodeValue(), found.GetCodeMeaning()))
        assert (entry.GetTypeObject().GetCodeValue(), entry.GetTypeObject().GetCodeMeaning()) in names
    assert "ERR" not in capfd.readouterr().err
