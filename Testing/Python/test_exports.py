"""Label maps, segmentation files and DICOM SEG out of a scene; SimpleITK and slicerio say what is in the files."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicerio
import vtk

from conftest import CLASSES, DIRECTIONS, a_result_on, an_image, some_labels
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.output.dicom_export import check_for_dicom, export_dicom
from MedSegAttentionLib.output.exports import export_segmentation
from MedSegAttentionLib.scene.label_maps import label_map, latest_segmentation
from MedSegAttentionLib.scene.volumes import add_volume, volume_image
from MedSegAttentionLib.scene.writing import write_result
from scene_tools import add_transform, snapshot
from sitk_tools import matrix_of


def written(scene: slicer.vtkMRMLScene, image=None) -> slicer.vtkMRMLSegmentationNode:
    image = an_image() if image is None else image
    return write_result(scene, a_result_on(image), add_volume(scene, image)).segmentation


def a_grid(change: str) -> np.ndarray:
    matrix = an_image("oblique").ijk_to_ras.copy()
    if change == "left-handed":
        matrix[:3, 0] *= -1
    elif change == "sheared":
        matrix[:3, 0] += 0.3 * matrix[:3, 1]
    return matrix


@pytest.mark.parametrize("kind", sorted(DIRECTIONS))
def test_a_nifti_label_map_lies_exactly_on_the_image(kind, a_scene, tmp_path):
    image = an_image(kind)
    node = written(a_scene, image)
    before = snapshot(a_scene)
    assert export_segmentation(node, tmp_path / "x.nii.gz") == [tmp_path / "x.nii.gz", tmp_path / "x.json"]
    assert snapshot(a_scene) == before
    read = sitk.ReadImage(str(tmp_path / "x.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), some_labels())
    np.testing.assert_allclose(matrix_of(read), image.ijk_to_ras, atol=1e-5)  # the format keeps 32 bits
    beside = json.loads((tmp_path / "x.json").read_text())
    assert {item["name"]: item["value"] for item in beside["segments"]} == {"liver": 1, "left kidney": 2, "polyp": 5}
    assert beside["checkpoint"] == "abdomen-ct-klo-net"


def test_a_label_map_takes_no_record_of_a_batch_from_its_case(a_scene, tmp_path):
    node = written(a_scene)
    export_segmentation(node, tmp_path / "x.nii.gz")
    export_segmentation(node, tmp_path / "x.nii.gz")  # its own may be replaced
    for text in ('{"files": ["y.seg.nrrd"], "segments": []}', "[1]", "notes"):
        (tmp_path / "y.json").write_text(text)
        with pytest.raises(InputError, match=r"y\.json' is there and was written by no export"):
            export_segmentation(node, tmp_path / "y.nii")
        assert (tmp_path / "y.json").read_text() == text
        assert not (tmp_path / "y.nii").exists()


def test_a_left_handed_grid_survives_and_a_sheared_one_is_refused(a_scene, tmp_path):
    image = replace(an_image(), ijk_to_ras=a_grid("left-handed"))
    assert np.linalg.det(image.ijk_to_ras) * np.linalg.det(an_image("oblique").ijk_to_ras) < 0
    export_segmentation(written(a_scene, image), tmp_path / "x.nii")
    np.testing.assert_allclose(matrix_of(sitk.ReadImage(str(tmp_path / "x.nii"))), image.ijk_to_ras, atol=1e-5)
    sheared = written(a_scene, replace(an_image(), ijk_to_ras=a_grid("sheared")))
    with pytest.raises(InputError, match=r"sheared grid.*\.seg\.nrrd"):
        export_segmentation(sheared, tmp_path / "y.nii.gz")
    assert not list(tmp_path.glob("y*"))
    export_segmentation(sheared, tmp_path / "y.seg.nrrd")
    found = np.asarray(slicerio.read_segmentation(str(tmp_path / "y.seg.nrrd"))["voxels"])
    assert sorted(np.unique(found)) == [0, 1, 2, 5]


def test_a_segmentation_file_keeps_names_values_and_algorithm(a_scene, tmp_path):
    (path,) = export_segmentation(written(a_scene), tmp_path / "x.seg.nrrd")
    segments = slicerio.read_segmentation(str(path))["segments"]
    assert [(item["name"], item["labelValue"]) for item in segments] == [("liver", 1), ("left kidney", 2), ("polyp", 5)]
    for item in segments:
        tags = item.get("tags", {})
        assert tags["DICOM.SegmentAlgorithmType"] == "AUTOMATIC"
        assert "MedSegAttention" in tags["DICOM.SegmentAlgorithmName"]


def test_files_are_in_the_image_s_own_coordinates(a_scene, tmp_path):
    image = an_image("oblique")
    volume_node = add_volume(a_scene, image)
    add_transform(a_scene, volume_node)
    result = a_result_on(volume_image(volume_node))
    node = write_result(a_scene, result, volume_node).segmentation
    export_segmentation(node, tmp_path / "x.nii.gz")
    np.testing.assert_allclose(matrix_of(sitk.ReadImage(str(tmp_path / "x.nii.gz"))), image.ijk_to_ras, atol=1e-5)


def test_values_of_segments_a_user_drew_are_counted(a_scene):
    node = written(a_scene)
    extra = slicer.vtkSegment()
    extra.SetName("mine")
    extra.SetLabelValue(1)
    node.GetSegmentation().AddSegment(extra)
    assert label_map(node).values == {"liver": 1, "left kidney": 2, "polyp": 3, "mine": 4}
    np.testing.assert_array_equal(label_map(node).array == 3, some_labels() == 5)
    extra.SetName("liver")
    with pytest.raises(InputError, match="one name"):
        label_map(node)


def test_what_cannot_be_exported_is_said(a_scene, tmp_path):
    with pytest.raises(InputError, match="holds no segmentation"):
        latest_segmentation(a_scene)
    node = written(a_scene)
    a_scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "by hand")
    assert latest_segmentation(a_scene) is node
    for name, words in (("x.stl", "another ending"), ("no/folder/x.nii.gz", "does not exist")):
        with pytest.raises(InputError, match=words):
            export_segmentation(node, tmp_path / name)
    a_scene.RemoveNode(node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()))
    with pytest.raises(InputError, match="is not in the scene"):
        export_segmentation(node, tmp_path / "x.nii.gz")
    with pytest.raises(InputError, match="expected a segmentation"):
        export_segmentation(a_scene.GetFirstNodeByClass("vtkMRMLSliceNode"), tmp_path / "x.nii.gz")
    assert not list(tmp_path.iterdir())


class Exporter:
    """Stands for Slicer's exporter, which needs its DICOM database: asks the segments what that one asks them."""

    made: list[Exporter] = []  # noqa: RUF012 - one test

    def __init__(self, segmentation_node: slicer.vtkMRMLSegmentationNode) -> None:
        self.node, self.cleaned, self.segments = segmentation_node, False, []
        self.made.append(self)

    def export(self, folder: str, name: str, metadata: dict[str, str]) -> None:
        segmentation, logic = self.node.GetSegmentation(), slicer.vtkSlicerTerminologiesModuleLogic()
        for segment_id in segmentation.GetSegmentIDs():
            segment, entry = segmentation.GetSegment(segment_id), slicer.vtkSlicerTerminologyEntry()
            tags = {}
            for tag in ("DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName", "TerminologyEntry"):
                value = vtk.reference("")
                assert segment.GetTag(tag, value)
                tags[tag] = str(value)
            logic.DeserializeTerminologyEntry(tags["TerminologyEntry"], entry)
            codes = [entry.GetCategoryObject().GetCodeValue(), entry.GetTypeObject().GetCodeValue()]
            self.segments.append((segment.GetName(), tags["DICOM.SegmentAlgorithmType"], codes))
        self.call = SimpleNamespace(folder=folder, name=name, metadata=metadata)

    def cleanup(self) -> None:
        self.cleaned = True


def test_dicom_gets_codes_algorithm_and_no_empty_segment(a_scene, tmp_path):
    node = written(a_scene)
    image = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    image.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    assert export_dicom(node, tmp_path / "x.dcm", Exporter) == tmp_path / "x.dcm"
    exporter = Exporter.made[-1]
    assert (exporter.call.folder, exporter.call.name) == (str(tmp_path), "x.dcm")
    assert exporter.call.metadata == {"SeriesDescription": node.GetName()}
    assert exporter.cleaned
    assert exporter.segments == [
        (label.name, "AUTOMATIC", [label.category.value, label.type.value]) for label in CLASSES[:3]
    ]


def test_dicom_is_refused_before_the_exporter_starts(a_scene, tmp_path):
    node = written(a_scene)
    with pytest.raises(InputError, match="DICOM database"):
        export_dicom(node, tmp_path / "x.dcm", None)
    image = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    image.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    segment = node.GetSegmentation().GetSegment("liver")
    for tag in ("DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName", "TerminologyEntry"):
        value = vtk.reference("")
        segment.GetTag(tag, value)
        segment.RemoveTag(tag)
        with pytest.raises(InputError, match=f"'liver'.*lacks {tag}"):
            check_for_dicom(node)
        segment.SetTag(tag, str(value))
    check_for_dicom(node)
    empty = slicer.vtkSegment()
    empty.SetName("nothing")
    node.GetSegmentation().AddSegment(empty)
    with pytest.raises(InputError, match=r"empty segments \(nothing\)"):
        check_for_dicom(node)


def test_an_exporter_that_fails_is_one_clear_error_and_cleans_up(a_scene, tmp_path):
    class Failing(Exporter):
        def export(self, *_arguments) -> None:
            raise RuntimeError("itkimage2segimage failed")

    node = written(a_scene)
    node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()).SetAttribute("DICOM.instanceUIDs", "1.2.3")
    with pytest.raises(InputError, match="itkimage2segimage failed"):
        export_dicom(node, tmp_path / "x.dcm", Failing)
    assert Failing.made[-1].cleaned


def test_a_result_with_nothing_found_has_a_label_map_of_zeros_and_no_dicom(a_scene, tmp_path):
    image = an_image()
    nothing = replace(a_result_on(image), labels=np.zeros_like(some_labels()))
    node = write_result(a_scene, nothing, add_volume(a_scene, image)).segmentation
    export_segmentation(node, tmp_path / "x.nii.gz")
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "x.nii.gz"))).any()
    node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()).SetAttribute("DICOM.instanceUIDs", "1.2.3")
    with pytest.raises(InputError, match="empty segments"):
        check_for_dicom(node)
