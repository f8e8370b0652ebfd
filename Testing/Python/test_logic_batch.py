"""``segmentBatch``, ``exportSegmentation`` and ``writeReport`` of the logic, with a real small network."""

from __future__ import annotations

import csv
import sys
from types import ModuleType

import numpy as np
import pytest
import SimpleITK as sitk

from command_tools import a_series
from conftest import geometry
from MedSegAttentionLib.data.errors import DependencyError, InputError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.runner import in_process
from MedSegAttentionLib.scene.volumes import add_volume
from scene_tools import add_transform, snapshot
from sitk_tools import matrix_of, to_sitk
from slicer_double.fakes import nodes_of
from small_checkpoint import write_checkpoint

pytest_plugins = ["slicer_double.fixtures"]


@pytest.fixture(scope="module")
def a_checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def batch(a_module, a_checkpoint):
    """``logic.segmentBatch`` with a checkpoint of known behaviour."""
    logic = a_module.MedSegAttentionLogic(in_process)
    return lambda *where, **keywords: logic.segmentBatch(
        *where, **{"checkpoint": a_checkpoint, "device": "cpu", "attention": False} | keywords
    )


def bright() -> np.ndarray:
    array = np.zeros((3, 40, 48), np.float32)
    array[1:, 10:20, 15:30] = 0.5
    return array


@pytest.fixture
def three_volumes(a_scene):
    """Two good ones of the same name, one under a transform, and one whose values are all the same."""
    nodes = [
        add_volume(a_scene, VolumeImage(array, geometry("oblique"), name))
        for name, array in (("T2: ax", bright()), ("flat", np.zeros((2, 40, 40), np.float32)), ("T2: ax", bright()))
    ]
    add_transform(a_scene, nodes[2])
    return nodes


def test_all_volumes_of_the_scene_go_to_files_and_leave_the_scene_alone(batch, a_scene, three_volumes, tmp_path):
    before, seen = snapshot(a_scene), []
    outcomes = batch(None, tmp_path / "out", nifti=True, report=True, progressCallback=seen.append)
    assert [outcome.status for outcome in outcomes] == ["segmented", "failed", "segmented"]
    assert "the same value" in str(outcomes[1].error)
    assert snapshot(a_scene) == before
    endings = (".json", ".nii.gz", ".png", ".report.pdf", ".report.png", ".seg.nrrd")
    wanted = [f"{stem}{ending}" for stem in ("T2_ ax", "T2_ ax_2") for ending in endings]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*wanted, "summary.csv"])
    for stem in ("T2_ ax", "T2_ ax_2"):  # in their own coordinates, transform or not
        for ending in (".nii.gz", ".seg.nrrd"):
            read = sitk.ReadImage(str(tmp_path / "out" / f"{stem}{ending}"))
            np.testing.assert_allclose(matrix_of(read), geometry("oblique"), atol=1e-5)
    assert (seen[-1].index, seen[-1].count, seen[-1].outcome.status) == (2, 3, "segmented")


@pytest.mark.parametrize("output", ["out", None])
def test_what_is_no_volume_fails_alone(batch, three_volumes, tmp_path, output):
    outcomes = batch(["T2", three_volumes[0]], output and tmp_path / output)
    assert [outcome.status for outcome in outcomes] == ["failed", "segmented"]
    assert "expected a volume node, got str" in str(outcomes[0].error)


def test_a_second_batch_skips_what_is_there(batch, three_volumes, tmp_path):
    batch(None, tmp_path / "out")
    again = batch(None, str(tmp_path / "out"))
    assert [outcome.status for outcome in again] == ["skipped", "failed", "skipped"]
    forced = batch(None, tmp_path / "out", force=True)
    assert [outcome.status for outcome in forced] == ["segmented"] * 3


def test_without_an_output_folder_results_go_into_the_scene(batch, a_scene, three_volumes):
    outcomes = batch(three_volumes[::2])
    assert [outcome.status for outcome in outcomes] == ["segmented"] * 2
    names = [node.GetName() for node in nodes_of(a_scene, "vtkMRMLSegmentationNode")]
    assert names == ["T2: ax prostate-klo-net", "T2: ax prostate-klo-net_1"]


def test_a_volume_that_leaves_the_scene_fails_alone(batch, a_scene, three_volumes, tmp_path):
    def remove_the_first(progress):
        if progress.slices and progress.index == 0:
            a_scene.RemoveNode(three_volumes[0])

    outcomes = batch(None, tmp_path, progressCallback=remove_the_first, force=True)
    assert [outcome.status for outcome in outcomes] == ["failed", "segmented", "segmented"]
    assert "left the scene" in str(outcomes[0].error)


def test_a_folder_gives_what_the_command_line_gives(batch, a_scene, tmp_path):
    (tmp_path / "in").mkdir()
    sitk.WriteImage(to_sitk(bright(), geometry("oblique")), str(tmp_path / "in" / "a.nrrd"))
    before = snapshot(a_scene)
    assert [outcome.status for outcome in batch(tmp_path / "in", tmp_path / "out")] == ["segmented"]
    assert snapshot(a_scene) == before
    with (tmp_path / "out" / "summary.csv").open(newline="") as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["a.nrrd"]


def test_where_results_cannot_go_is_said(batch, three_volumes, tmp_path):
    (tmp_path / "in").mkdir()
    sitk.WriteImage(to_sitk(bright(), geometry("oblique")), str(tmp_path / "in" / "a.nrrd"))
    for output in (None, "", tmp_path / "in"):
        with pytest.raises(InputError, match="another folder"):
            batch(tmp_path / "in", output)
    with pytest.raises(InputError, match="is no folder"):
        batch(tmp_path / "absent", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="nothing to segment"):
        batch(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="nothing to segment"):
        batch([], tmp_path / "out")


def test_the_folder_of_one_dicom_series_is_a_batch_of_one(batch, a_scene, tmp_path):
    a_series(tmp_path / "study", "study")
    (outcome,) = batch(tmp_path / "study", tmp_path / "out", force=True)
    assert (outcome.case, outcome.status, outcome.error) == ("study", "segmented", None)
    assert (tmp_path / "out" / "study.seg.nrrd").is_file()


def test_cancel_stops_the_batch_and_keeps_what_is_finished(batch, three_volumes, tmp_path):
    asked = []

    def is_cancelled() -> bool:
        asked.append(1)
        return len(asked) > 6  # one volume: once before it, once a slice

    outcomes = batch(None, tmp_path, isCancelled=is_cancelled, force=True)
    assert [outcome.status for outcome in outcomes] == ["segmented", "cancelled"]
    assert not list(tmp_path.glob(".unfinished*"))


def test_the_latest_result_is_exported_and_reported(a_logic, a_volume_node, tmp_path):
    with pytest.raises(InputError, match="segment a volume first"):
        a_logic.writeReport(None, tmp_path / "r.png")
    result = a_logic.segment(a_volume_node, task="abdomen")
    assert a_logic.latestSegmentation() is result.segmentationNode
    assert a_logic.exportSegmentation(None, tmp_path / "x.seg.nrrd") == [tmp_path / "x.seg.nrrd"]
    assert a_logic.exportSegmentation(result.segmentationNode, str(tmp_path / "x.nii.gz"))[0].is_file()
    assert a_logic.writeReport(None, str(tmp_path / "r.png")).is_file()


def test_dicom_needs_slicer_s_exporter(a_logic, a_volume_node, tmp_path, monkeypatch):
    a_logic.segment(a_volume_node, task="abdomen")
    with pytest.raises(DependencyError, match=r"Slicer 5\.12"):
        a_logic.exportSegmentation(None, tmp_path / "x.dcm")
    plugin = ModuleType("DICOMSegmentationPlugin")
    plugin.DICOMSegmentationExporter = object
    monkeypatch.setitem(sys.modules, "DICOMSegmentationPlugin", plugin)
    with pytest.raises(InputError, match="DICOM database"):
        a_logic.exportSegmentation(None, tmp_path / "x.dcm")
