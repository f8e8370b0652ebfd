"""The module as Slicer lists it, and its logic as called from the Python console."""

from __future__ import annotations

import ast
import inspect
import json
import sys
import time
import unittest
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import slicer

from MedSegAttentionLib.checkpoints import catalogue
from MedSegAttentionLib.data.errors import Cancelled, DependencyError, InputError, UsageError
from MedSegAttentionLib.runner import in_process
from MedSegAttentionLib.runner.background import BackgroundRunner
from MedSegAttentionLib.scene.terminology import REGION_NAME, TERMINOLOGY_NAME
from MedSegAttentionLib.setup.sample_data import register_samples
from scene_tools import snapshot
from slicer_double.fakes import FakeRunner, add_noise, an_untrained_checkpoint, nodes_of

pytest_plugins = ["slicer_double.fixtures"]

MODULE = Path(__file__).resolve().parents[2] / "MedSegAttention"
HEAVY = {"torch", "monai", "SimpleITK", "safetensors", "scipy", "matplotlib", "PIL"}
STARTUP_ROOMS = ("data", "panel", "scene", "setup", "checkpoints/catalogue.py")


def test_the_module_describes_itself(a_module):
    parent = SimpleNamespace(path=str(MODULE / "MedSegAttention.py"))
    a_module.MedSegAttention(parent)
    assert (parent.title, parent.categories) == ("MedSegAttention", ["Segmentation"])
    assert parent.contributors
    assert "research use only" in parent.helpText.lower()
    assert "KLO-Net" in parent.acknowledgementText


def test_slicer_knows_our_codes_once_it_has_started(a_module, an_application):
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    slicer.modules.terminologies = SimpleNamespace(logic=lambda: logic)
    a_module.MedSegAttention(SimpleNamespace(path=str(MODULE / "MedSegAttention.py")))
    assert not logic.IsTerminologyContextLoaded(TERMINOLOGY_NAME)
    for function in an_application.at_startup:
        function()
    assert logic.IsTerminologyContextLoaded(TERMINOLOGY_NAME)
    regions = []
    logic.GetLoadedRegionContextNames(regions)
    assert REGION_NAME in regions


def test_the_samples_are_listed_once_slicer_has_started_and_nothing_is_downloaded(monkeypatch):
    listed = []

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(**source):
            listed.append(source)

    monkeypatch.setitem(sys.modules, "SampleData", SimpleNamespace(SampleDataLogic=SampleDataLogic))
    register_samples()
    assert [source["sampleName"] for source in listed] == ["Prostate MR", "Abdominal CT"]
    for source in listed:
        checksum = source["checksums"].removeprefix("SHA256:")
        assert len(bytes.fromhex(checksum)) == 32
        assert source["uris"].endswith(checksum)
    monkeypatch.setitem(sys.modules, "SampleData", None)
    register_samples()  # a Slicer without that module


def test_segment_takes_the_active_volume(a_logic, a_runner, a_scene, a_volume_node):
    result = a_logic.segment(task="abdomen")
    assert a_runner.calls[0]["volume"].name == "case 1"
    assert result.segmentationNode is nodes_of(a_scene, "vtkMRMLSegmentationNode")[0]
    assert list(result.attentionNodes) == ["tau_stage4"]
    assert result.attentionNodes["tau_stage4"].GetScene() is a_scene
    assert result.provenance == a_runner.result.provenance


def test_segment_hands_every_choice_on(a_logic, a_runner, a_volume_node):
    slices = []
    a_logic.segment(
        a_volume_node,
        task="abdomen",
        checkpoint="abdomen-ct-x",
        device="cpu",
        attention=["tau_stage4"],
        attentionGrid="input",
        axis="j",
        batchSize=2,
        force=True,
        testTimeFlips=True,
        progressCallback=slices.append,
    )
    (call,) = a_runner.calls
    settings = call["settings"]
    assert (call["task"], call["checkpoint"]) == ("abdomen", "abdomen-ct-x")
    assert (settings.device, settings.attention, settings.attention_grid) == ("cpu", ("tau_stage4",), "input")
    assert (settings.axis, settings.batch_size, settings.force) == ("j", 2, True)
    assert settings.test_time_flips
    assert [item.index for item in slices] == list(range(9))


def test_show_can_be_switched_off(a_logic, a_scene, a_volume_node):
    views = snapshot(a_scene)[2]
    a_logic.segment(a_volume_node, task="abdomen", show=False)
    assert snapshot(a_scene)[2] == views


@pytest.mark.parametrize(
    ("keywords", "error"),
    [({"device": "abacus"}, InputError), ({"isCancelled": lambda: True}, Cancelled)],
)
def test_a_failed_call_leaves_the_scene_as_it_was(a_logic, a_scene, a_volume_node, keywords, error):
    before = snapshot(a_scene)
    with pytest.raises(error):
        a_logic.segment(a_volume_node, task="abdomen", **keywords)
    assert snapshot(a_scene) == before


def test_without_waiting_a_handle_comes_back_and_the_caller_polls(a_logic, a_runner, a_scene, a_volume_node):
    a_runner.slices_per_poll, seen, ended = 4, [], []
    handle = a_logic.segment(
        a_volume_node, task="abdomen", wait=False, progressCallback=seen.append, finishedCallback=ended.append
    )
    assert (handle.isRunning, handle.progress.finished) == (True, 0)
    while handle.poll():
        assert ended == []
    assert [item.finished for item in seen] == [4, 8, 9]
    assert ended == [handle]
    assert handle.result().segmentationNode is nodes_of(a_scene, "vtkMRMLSegmentationNode")[0]
    assert handle.result().provenance["seconds"]["write"] > 0
    assert not handle.poll()
    assert ended == [handle]


def test_result_of_a_handle_waits(a_logic, a_runner, a_volume_node):
    a_runner.slices_per_poll = 4
    assert list(a_logic.segment(a_volume_node, task="abdomen", wait=False).result().attentionNodes) == ["tau_stage4"]


@pytest.mark.parametrize("how", ["discard", "keep"])
def test_a_handle_is_cancelled_by_callback_too(a_logic, a_runner, a_scene, a_volume_node, how):
    a_runner.slices_per_poll = 2
    handle = a_logic.segment(a_volume_node, task="abdomen", wait=False, isCancelled=lambda: True, onCancel=how)
    if how == "keep":
        assert handle.result().segmentationNode.GetAttribute("MedSegAttention.Partial") == "0-1"
        return
    with pytest.raises(Cancelled):
        handle.result()
    assert nodes_of(a_scene, "vtkMRMLSegmentationNode") == []


def test_closing_the_logic_ends_the_worker(a_logic, a_runner):
    a_logic.close()
    assert a_runner.closed
    a_logic.close()


def test_without_or_with_several_volumes_one_must_be_named(a_logic, a_scene):
    with pytest.raises(InputError, match="no volume"):
        a_logic.segment(task="abdomen")
    add_noise(a_scene, "one")
    add_noise(a_scene, "two")
    with pytest.raises(InputError, match="'one', 'two'"):
        a_logic.segment(task="abdomen")


def test_a_volume_that_left_the_scene_gets_no_result(a_logic, a_scene, a_volume_node):
    with pytest.raises(Cancelled, match="left the scene"):
        a_logic.segment(a_volume_node, task="abdomen", progressCallback=lambda _: a_scene.RemoveNode(a_volume_node))
    assert nodes_of(a_scene, "vtkMRMLSegmentationNode") == []


@pytest.mark.parametrize("wait", [True, False])
def test_what_can_never_work_is_told_before_the_run(wait, a_logic, a_runner, a_scene, a_volume_node):
    with pytest.raises(UsageError, match="onCancel 'kept' is not known; expected discard or keep"):
        a_logic.segment(a_volume_node, task="abdomen", wait=wait, onCancel="kept")
    a_scene.RemoveNode(a_volume_node)
    with pytest.raises(InputError, match="'case 1' is in no scene"):
        a_logic.segment(a_volume_node, task="abdomen", wait=wait)
    with pytest.raises(InputError, match="'case 1' is in no scene"):
        a_logic.attentionRow(a_volume_node, (0, 0, 0), "abdomen")
    assert a_runner.calls == []


def test_attention_row_is_shown_over_the_volume(a_logic, a_runner, a_scene, a_volume_node):
    node = a_logic.attentionRow(a_volume_node, [1.0, 2.0, 3.0], "abdomen", "stage4")
    (call,) = a_runner.calls
    assert (call["ras"], call["task"], call["map"]) == ((1.0, 2.0, 3.0), "abdomen", "stage4")
    assert node.GetAttribute("MedSegAttention.Map") == "tau_stage4"
    assert json.loads(node.GetAttribute("MedSegAttention.Provenance")) == a_runner.result.provenance
    assert {view[1] for view in snapshot(a_scene)[2]} == {node.GetID()}


def test_checkpoints_are_cards(a_logic):
    assert [card.id for card in a_logic.checkpoints()] == ["abdomen-ct-x", "abdomen-mr-x", "prostate-x"]


def test_without_torch_the_module_opens_and_says_what_is_missing(
    a_module, a_scene, a_volume_node, an_application, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "monai", None)
    logic = a_module.MedSegAttentionLogic()
    assert logic.missingPackages() == ["torch", "monai"]
    before = snapshot(a_scene)
    with pytest.raises(DependencyError, match="torch, monai"):
        logic.segment(a_volume_node)
    an_application.confirms = False
    widget = a_module.MedSegAttentionWidget()
    widget.setup()
    widget.ui.applyButton.click()
    ((function, text),) = an_application.shown
    assert function == "confirmOkCancelDisplay"
    assert "torch: " in text
    assert "monai: " in text
    widget.cleanup()
    widget.ui.inputVolumeSelector.setMRMLScene(None)
    a_scene.RemoveNode(logic.getParameterNode().parameterNode)
    assert snapshot(a_scene) == before


def test_starting_slicer_imports_nothing_heavy():
    files = [MODULE / "MedSegAttention.py"]
    for room in STARTUP_ROOMS:
        path = MODULE / "MedSegAttentionLib" / room
        files += [path] if path.is_file() else path.rglob("*.py")
    for path in files:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in getattr(node, "names", [])] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not {name.split(".")[0] for name in names} & HEAVY, path


def test_the_fake_runner_has_the_real_one_s_parameters(a_result):
    for name in ("run", "attention_row"):
        fake, real, background = (
            inspect.signature(getattr(runner, name)).parameters for runner in (FakeRunner, in_process, BackgroundRunner)
        )
        assert set(fake) == {*real, *background} - {"wanted"}  # what the worker alone gives


@pytest.fixture
def a_real_checkpoint(a_module, monkeypatch, tmp_path):
    """The only checkpoint installed; its network is real, small and untrained."""
    card = an_untrained_checkpoint(tmp_path / "prostate-small")
    monkeypatch.setattr(catalogue, "SHIPPED", tmp_path)
    monkeypatch.setattr(catalogue, "list_checkpoints", lambda: [card])
    monkeypatch.setattr("MedSegAttentionLib.logic.checkpoints.list_checkpoints", lambda: [card])
    return card


def test_the_test_inside_slicer_passes(a_module, a_scene, a_real_checkpoint):
    test = a_module.MedSegAttentionTest()  # its other part: test_self_test.py
    test.setUp()
    test.test_segment()
    assert len(nodes_of(a_scene, "vtkMRMLSegmentationNode")) == 1


def test_the_test_inside_slicer_is_skipped_without_torch(a_module, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(unittest.SkipTest, match="torch"):
        a_module.MedSegAttentionTest().runTest()


def test_apply_runs_a_real_network(a_module, a_scene, an_application, a_real_checkpoint):
    """The whole way, nothing faked but the window: the volume is unlike the training data, the user runs it anyway."""
    values = np.random.default_rng(0).integers(0, 999, (3, 24, 20)).astype(np.int16)
    volume_node = slicer.util.addVolumeFromArray(values, name="noise")
    widget = a_module.MedSegAttentionWidget()
    widget.setup()
    try:
        widget.ui.applyButton.click()
        while widget.panel.run.handle:
            an_application.processEvents()
            time.sleep(0.02)
        ((function, text),) = an_application.shown
        assert (function, "Run anyway?" in text) == ("confirmOkCancelDisplay", True)
        assert widget.ui.statusLabel.text.startswith("Finished: ")
    finally:
        widget.cleanup()
        widget.ui.inputVolumeSelector.setMRMLScene(None)
    (segmentation,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    assert segmentation.GetAttribute("MedSegAttention.Checkpoint") == "prostate-small"
    row = widget.logic.attentionRow(volume_node, (0.0, 0.0, 0.0), "prostate", "stage4", device="cpu", force=True)
    assert slicer.util.arrayFromVolume(row).max() > 0
