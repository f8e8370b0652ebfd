"""Clicking Apply and Cancel, on real MRML; Slicer's window and widgets are a test double, the network is a fake."""

from __future__ import annotations

import gc
import time
import weakref

import pytest
import slicer

from MedSegAttentionLib.data.errors import ContractWarning, InputError, RunError
from MedSegAttentionLib.logic.segment_handle import SegmentHandle
from MedSegAttentionLib.scene.nodes import is_overlay
from MedSegAttentionLib.scene.preview import PREVIEW_ATTRIBUTE
from scene_tools import snapshot
from slicer_double.fakes import add_noise, nodes_of

pytest_plugins = ["slicer_double.fixtures"]


@pytest.fixture
def a_widget(a_volume_node, open_module):
    """The open module with one volume in the scene, set to the abdomen."""
    widget = open_module()
    widget.ui.taskComboBox.setCurrentIndex(3)
    return widget


@pytest.fixture
def before_apply(a_widget, a_scene):
    """The scene before ``a_slow_run``, which a test must name after this."""
    return snapshot(a_scene)


@pytest.fixture
def a_slow_run(a_widget, a_runner, monkeypatch):
    """Click Apply; the handle does one slice a poll, and only when the test polls."""
    monkeypatch.setattr("qt.QTimer.singleShot", lambda *_: None)
    a_runner.slices_per_poll = 1
    a_widget.ui.applyButton.click()
    return a_widget.panel.run.handle


def poll_until(run, finished):
    while run.progress.finished < finished:
        assert run.poll()


def poll_to_the_end(run):
    while run.poll():
        pass


def test_apply_writes_segmentation_and_overlays(a_widget, a_scene, a_runner, a_volume_node, an_application):
    ui = a_widget.ui
    ui.deviceComboBox.setCurrentIndex(3)
    ui.axisComboBox.setCurrentIndex(2)
    ui.checkpointComboBox.setCurrentIndex(2)
    ui.applyButton.click()
    (call,) = a_runner.calls
    assert call["settings"].axis == "j"
    assert (call["task"], call["checkpoint"], call["volume"].name) == ("abdomen", "abdomen-mr-x", "case 1")
    assert (call["settings"].device, call["settings"].attention, call["settings"].force) == ("cpu", True, False)
    (segmentation,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    overlays = [n for n in nodes_of(a_scene, "vtkMRMLScalarVolumeNode") if n.GetAttribute("MedSegAttention.Map")]
    assert [node.GetAttribute("MedSegAttention.Map") for node in overlays] == ["tau_stage4"]
    assert ui.statusLabel.text == f"Finished: {segmentation.GetName()}, 1 overlays."
    (warning,) = a_runner.result.provenance["warnings"]
    assert ui.resultNotesLabel.text.count(warning) == 1  # said once, where the result is
    assert an_application.shown == []
    assert (ui.applyButton.text, ui.applyButton.enabled) == ("Apply", True)
    assert ui.inputsWidget.enabled


def test_two_runs_are_told_apart_and_the_earlier_one_is_hidden(a_widget, a_scene):
    a_widget.ui.applyButton.click()
    a_widget.ui.applyButton.click()
    first, second = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    assert (first.GetName(), second.GetName()) == ("case 1 abdomen-ct-klo-net", "case 1 abdomen-ct-klo-net_1")
    assert [bool(node.GetDisplayNode().GetVisibility()) for node in (first, second)] == [False, True]
    maps = [node.GetName() for node in nodes_of(a_scene, "vtkMRMLScalarVolumeNode") if is_overlay(node)]
    assert len(set(maps)) == len(maps) == 2


def test_attention_can_be_switched_off(a_widget, a_runner):
    a_widget.ui.showAttentionCheckBox.click()
    a_widget.ui.applyButton.click()
    assert a_runner.calls[0]["settings"].attention is False


def test_flips_reach_the_run(a_widget, a_runner):
    a_widget.ui.taskComboBox.setCurrentIndex(0)
    a_widget.ui.testTimeFlipsCheckBox.click()
    a_widget.ui.applyButton.click()
    assert a_runner.calls[0]["settings"].test_time_flips is True


def test_progress_is_shown_while_slices_come(a_widget, a_slow_run):
    ui, seen = a_widget.ui, []
    assert (ui.applyButton.text, ui.inputsWidget.enabled) == ("Cancel", False)
    while a_slow_run.isRunning:
        seen.append((ui.progressBar.value, ui.progressBar.maximum, ui.statusLabel.text, ui.progressBar.isHidden()))
        a_slow_run.poll()
    assert seen[0] == (1, 9, "Slice 1 of 9, about 16 s left", False)
    assert seen[-1] == (9, 9, "Slice 9 of 9", False)
    assert ui.progressBar.isHidden()
    assert ui.applyButton.text == "Apply"


def test_the_event_loop_alone_brings_a_run_to_its_end(a_widget, a_runner, a_scene, an_application):
    a_runner.slices_per_poll = 4
    a_widget.ui.applyButton.click()
    assert a_widget.panel.run.handle.isRunning
    while a_widget.panel.run.handle:
        an_application.processEvents()
        time.sleep(0.01)
    assert a_widget.ui.statusLabel.text.startswith("Finished: ")


def test_a_preview_fills_up_and_is_replaced_by_the_result(a_scene, a_slow_run, a_runner, monkeypatch):
    monkeypatch.setattr("MedSegAttentionLib.scene.live.PREVIEW_SECONDS", 0.0)
    poll_until(a_slow_run, 4)
    (preview,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    assert preview.GetAttribute(PREVIEW_ATTRIBUTE) == "1"
    shown = slicer.util.arrayFromSegmentInternalBinaryLabelmap(preview, "liver")
    assert (shown[:4] == a_runner.result.labels[:4]).all()
    assert not shown[4:].any()
    poll_to_the_end(a_slow_run)
    (segmentation,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    assert segmentation is not preview
    assert segmentation.GetAttribute(PREVIEW_ATTRIBUTE) is None


def test_a_preview_that_fails_ends_and_the_run_goes_on(a_scene, a_slow_run, monkeypatch, caplog):
    monkeypatch.setattr("MedSegAttentionLib.scene.live.PREVIEW_SECONDS", 0.0)
    monkeypatch.setattr("MedSegAttentionLib.scene.live.Preview.update", lambda *_: 1 / 0)
    poll_until(a_slow_run, 4)
    assert nodes_of(a_scene, "vtkMRMLSegmentationNode") == []
    assert caplog.text.count("no further preview") == 1
    poll_to_the_end(a_slow_run)
    assert len(nodes_of(a_scene, "vtkMRMLSegmentationNode")) == 1


def test_an_attention_map_is_no_input(a_widget, a_scene):
    ui = a_widget.ui
    ui.applyButton.click()
    (overlay,) = [node for node in nodes_of(a_scene, "vtkMRMLScalarVolumeNode") if is_overlay(node)]
    ui.inputVolumeSelector.setCurrentNode(overlay)
    assert not ui.applyButton.enabled
    assert "attention map" in ui.applyButton.toolTip
    with pytest.raises(InputError, match="is an attention map"):
        a_widget.logic.segment(overlay, task="abdomen")


def test_the_result_of_the_image_before_is_shown_no_longer(a_widget, a_scene, a_volume_node):
    ui, parameters = a_widget.ui, a_widget.logic.getParameterNode()
    ui.applyButton.click()
    result = parameters.result
    ui.inputVolumeSelector.setCurrentNode(None)
    ui.inputVolumeSelector.setCurrentNode(a_volume_node)
    assert parameters.result is result
    ui.inputVolumeSelector.setCurrentNode(add_noise(a_scene, "another patient"))
    assert parameters.result is None
    parameters.result = result  # the user may still look at it
    assert parameters.result is result


def test_cancel_before_the_first_slice_asks_nothing(a_widget, a_scene, a_runner, an_application, monkeypatch):
    before = snapshot(a_scene)
    monkeypatch.setattr("qt.QTimer.singleShot", lambda *_: None)
    a_runner.slices_per_poll = 0
    a_widget.ui.applyButton.click()
    a_widget.ui.applyButton.click()
    assert an_application.shown == []
    assert snapshot(a_scene) == before
    assert a_widget.ui.statusLabel.text == "Cancelled; the scene is as it was."


def test_cancel_and_discard_leaves_the_scene_as_it_was(
    a_widget, a_scene, before_apply, a_slow_run, an_application, a_runner
):
    ui = a_widget.ui
    poll_until(a_slow_run, 3)
    ui.applyButton.click()
    question = "Remove the slices that are finished (3)? No keeps them."
    assert an_application.shown == [("confirmYesNoDisplay", question)]
    assert ui.statusLabel.text == "Cancelled; the scene is as it was."
    a_slow_run.poll()
    assert snapshot(a_scene) == before_apply
    a_runner.slices_per_poll = 99
    ui.applyButton.click()  # and the next run is not cancelled
    assert len(nodes_of(a_scene, "vtkMRMLSegmentationNode")) == 1


def test_cancel_and_keep_leaves_one_partial_segmentation(a_widget, a_scene, a_slow_run, an_application):
    poll_until(a_slow_run, 3)
    an_application.confirms = False  # as when the question is closed without an answer
    a_widget.ui.applyButton.click()
    assert a_widget.ui.statusLabel.text == "Stopping after this slice..."
    assert not a_widget.ui.applyButton.enabled
    poll_to_the_end(a_slow_run)
    (segmentation,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    assert segmentation.GetAttribute("MedSegAttention.Partial") == "0-3"
    assert a_widget.ui.applyButton.text == "Apply"


def test_a_run_that_ends_while_the_user_is_asked_stays_ended(
    a_widget, a_scene, a_slow_run, an_application, monkeypatch
):
    poll_until(a_slow_run, 3)

    def answer_late(*_arguments, **_keywords):
        poll_to_the_end(a_slow_run)
        return False

    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", answer_late)
    a_widget.ui.applyButton.click()
    assert len(nodes_of(a_scene, "vtkMRMLSegmentationNode")) == 1
    assert a_widget.ui.statusLabel.text.startswith("Finished: ")


@pytest.mark.parametrize(
    "error",
    [InputError("'case 1' has NaN."), RunError("the worker ended.", "its last words"), RuntimeError("bad luck")],
)
def test_an_error_is_shown_and_the_scene_is_as_it_was(a_widget, a_scene, a_runner, an_application, error):
    before = snapshot(a_scene)
    a_runner.errors = [error]
    a_widget.ui.applyButton.click()
    ((function, text),) = an_application.shown
    assert function == "errorDisplay"
    assert str(error) in text
    assert snapshot(a_scene) == before
    assert a_widget.ui.statusLabel.text == "Failed; the scene is as it was."
    assert a_widget.ui.applyButton.text == "Apply"


@pytest.mark.parametrize("confirms", [True, False])
def test_a_volume_unlike_the_training_data_runs_only_if_the_user_wants(
    a_widget, a_scene, a_runner, an_application, confirms
):
    before = snapshot(a_scene)
    a_runner.errors = [ContractWarning("'case 1' looks like MR.")]
    an_application.confirms = confirms
    a_widget.ui.applyButton.click()
    ((function, text),) = an_application.shown
    assert function == "confirmOkCancelDisplay"
    assert text == "'case 1' looks like MR.\n\nRun anyway?"
    assert [call["settings"].force for call in a_runner.calls] == ([False, True] if confirms else [False])
    assert (snapshot(a_scene) == before) is not confirms


def test_closing_the_scene_during_a_run_stops_it(a_widget, a_scene, a_slow_run):
    poll_until(a_slow_run, 2)
    a_scene.Clear(False)
    assert not a_slow_run.isRunning
    assert nodes_of(a_scene, "vtkMRMLSegmentationNode") == []
    assert a_widget.ui.statusLabel.text == "Cancelled; the scene is as it was."
    assert not a_widget.ui.applyButton.enabled


def test_a_run_that_was_cancelled_is_forgotten_with_its_scene(a_widget, a_scene, a_slow_run):
    poll_until(a_slow_run, 2)
    a_widget.ui.applyButton.click()
    assert a_widget.ui.statusLabel.text == "Cancelled; the scene is as it was."
    a_scene.Clear(False)
    assert a_widget.ui.statusLabel.text == "Choose an input volume"


def test_removing_the_volume_during_a_run_stops_it(a_widget, a_scene, a_volume_node, a_slow_run):
    poll_until(a_slow_run, 2)
    a_scene.RemoveNode(a_volume_node)
    assert not a_slow_run.poll()
    assert nodes_of(a_scene, "vtkMRMLScalarVolumeNode") == []
    assert nodes_of(a_scene, "vtkMRMLSegmentationNode") == []
    assert a_widget.ui.statusLabel.text == "Cancelled; the scene is as it was."


def test_a_run_goes_on_when_another_module_is_shown(a_widget, a_scene, a_slow_run):
    poll_until(a_slow_run, 2)
    a_widget.exit()
    poll_until(a_slow_run, 5)
    a_widget.enter()
    assert a_widget.ui.applyButton.text == "Cancel"
    a_widget.exit()
    poll_to_the_end(a_slow_run)
    assert len(nodes_of(a_scene, "vtkMRMLSegmentationNode")) == 1
    a_widget.enter()
    assert a_widget.ui.applyButton.enabled


def test_reloading_during_a_run_stops_it_and_touches_no_widget(a_widget, a_scene, a_slow_run, a_runner):
    ui = a_widget.ui
    poll_until(a_slow_run, 2)
    a_widget.cleanup()
    assert not a_slow_run.poll()
    assert nodes_of(a_scene, "vtkMRMLSegmentationNode") == []
    assert ui.progressBar.value == 2
    assert a_runner.closed  # and with it the worker process


def test_fifty_runs_leave_no_observer_and_no_handle(a_widget, a_scene, a_runner):
    handles = []
    observers = str(a_scene).count("Command:")
    for n in range(50):
        a_runner.slices_per_poll = 3
        a_runner.errors = [RuntimeError("bad luck")] if n % 5 == 0 else []
        a_widget.ui.applyButton.click()
        if run := a_widget.panel.run.handle:
            assert str(a_scene).count("Command:") > observers  # so that the count below can tell
            handles.append(weakref.ref(run))
            run.cancel() if n % 5 == 1 else poll_to_the_end(run)
        for node in nodes_of(a_scene, "vtkMRMLSegmentationNode") + nodes_of(a_scene, "vtkMRMLScalarVolumeNode"):
            if node.GetAttribute("MedSegAttention.Provenance"):
                a_scene.RemoveNode(node)
        del run
    assert str(a_scene).count("Command:") == observers
    assert len(nodes_of(a_scene, "vtkMRMLVolumeNode")) == 1
    assert len(handles) == 40
    time.sleep(2 * SegmentHandle.POLL_MILLISECONDS / 1000)
    slicer.app.processEvents()  # the last of Qt's single shots
    gc.collect()
    assert [handle for handle in handles if handle() is not None] == []


def test_every_sentence_of_the_panel_can_be_translated(a_widget, a_slow_run, an_application):
    poll_to_the_end(a_slow_run)
    for text in ("Apply", "Cancel", "Automatic", "Abdomen", "Slice {number} of {count}"):
        assert text in an_application.translated
    assert slicer.app is an_application
