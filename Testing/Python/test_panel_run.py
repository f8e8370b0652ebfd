"""Clicking Apply and Cancel, on real MRML; Slicer's window and widgets are a test double, the network is a fake."""

from __future__ import annotations

import pytest
import slicer

from MedSegAttentionLib.data.errors import ContractWarning, InputError
from slicer_double.fakes import nodes_of, scene_content

pytest_plugins = ["slicer_double.fixtures"]


@pytest.fixture
def a_widget(a_volume_node, open_module):
    """The open module with one volume in the scene, set to the abdomen."""
    widget = open_module()
    widget.ui.taskComboBox.setCurrentIndex(3)
    return widget


def test_apply_writes_segmentation_and_overlays(a_widget, a_scene, a_runner, a_volume_node, an_application):
    ui = a_widget.ui
    ui.deviceComboBox.setCurrentIndex(3)
    ui.checkpointComboBox.setCurrentIndex(2)
    ui.applyButton.click()
    (call,) = a_runner.calls
    assert (call["task"], call["checkpoint"], call["volume"].name) == ("abdomen", "abdomen-mr-x", "case 1")
    assert (call["settings"].device, call["settings"].attention, call["settings"].force) == ("cpu", True, False)
    (segmentation,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    overlays = [n for n in nodes_of(a_scene, "vtkMRMLScalarVolumeNode") if n.GetAttribute("MedSegAttention.Map")]
    assert [node.GetAttribute("MedSegAttention.Map") for node in overlays] == ["tau_stage4"]
    status, *warnings = ui.statusLabel.text.splitlines()
    assert status == f"Finished: {segmentation.GetName()}, 1 attention maps."
    assert warnings == a_runner.result.provenance["warnings"] != []
    assert an_application.shown == []
    assert (ui.applyButton.text, ui.applyButton.enabled) == ("Apply", True)
    assert ui.inputsCollapsibleButton.enabled


def test_attention_can_be_switched_off(a_widget, a_runner):
    a_widget.ui.showAttentionCheckBox.click()
    a_widget.ui.applyButton.click()
    assert a_runner.calls[0]["settings"].attention is False


def test_progress_is_shown_while_slices_come(a_widget, an_application):
    ui, seen = a_widget.ui, []
    an_application.during_events = lambda: seen.append(
        (ui.progressBar.value, ui.progressBar.maximum, ui.applyButton.text, ui.inputsCollapsibleButton.enabled)
    )
    ui.applyButton.click()
    assert seen[0][0] == 0
    assert seen[1:] == [(n, 9, "Cancel", False) for n in range(1, 10)]
    assert ui.progressBar.isHidden()


def test_cancel_leaves_the_scene_as_it_was(a_widget, a_scene, an_application):
    ui, before = a_widget.ui, scene_content(a_scene)
    texts = []

    def click_at_the_third_slice():
        if ui.progressBar.value == 3:
            ui.applyButton.click()
            texts.append((ui.statusLabel.text, ui.applyButton.enabled))

    an_application.during_events = click_at_the_third_slice
    ui.applyButton.click()
    assert texts == [("Stopping after this slice...", False)]
    assert scene_content(a_scene) == before
    assert ui.statusLabel.text == "Cancelled; the scene is as it was."
    an_application.during_events = None
    ui.applyButton.click()  # and the next run is not cancelled
    assert len(nodes_of(a_scene, "vtkMRMLSegmentationNode")) == 1


def test_events_during_events_do_not_nest(a_widget, an_application):
    depth = []

    def handler_that_comes_back():
        depth.append("in")
        a_widget.panel._handleEvents()

    an_application.during_events = handler_that_comes_back
    a_widget.ui.applyButton.click()
    assert len(depth) == 10


@pytest.mark.parametrize("error", [InputError("'case 1' has NaN."), RuntimeError("out of luck")])
def test_an_error_is_shown_and_the_scene_is_as_it_was(a_widget, a_scene, a_runner, an_application, error):
    before = scene_content(a_scene)
    a_runner.errors = [error]
    a_widget.ui.applyButton.click()
    ((function, text),) = an_application.shown
    assert function == "errorDisplay"
    assert str(error) in text
    assert scene_content(a_scene) == before
    assert a_widget.ui.statusLabel.text == "Failed; the scene is as it was."
    assert a_widget.ui.applyButton.text == "Apply"


@pytest.mark.parametrize("confirms", [True, False])
def test_a_volume_unlike_the_training_data_runs_only_if_the_user_wants(
    a_widget, a_scene, a_runner, an_application, confirms
):
    before = scene_content(a_scene)
    a_runner.errors = [ContractWarning("'case 1' looks like MR.")]
    an_application.confirms = confirms
    a_widget.ui.applyButton.click()
    ((function, text),) = an_application.shown
    assert function == "confirmOkCancelDisplay"
    assert text == "'case 1' looks like MR.\n\nRun anyway?"
    assert [call["settings"].force for call in a_runner.calls] == ([False, True] if confirms else [False])
    assert (scene_content(a_scene) == before) is not confirms


def test_closing_the_scene_during_a_run_stops_it(a_widget, a_scene, an_application):
    def close_at_the_second_slice():
        if a_widget.ui.progressBar.value == 2:
            a_scene.Clear(False)

    an_application.during_events = close_at_the_second_slice
    a_widget.ui.applyButton.click()
    assert nodes_of(a_scene, "vtkMRMLSegmentationNode") == []
    assert a_widget.ui.statusLabel.text == "Cancelled; the scene is as it was."
    assert not a_widget.ui.applyButton.enabled


def test_removing_the_volume_during_a_run_writes_nothing(a_widget, a_scene, a_volume_node, an_application):
    def remove_at_the_end():
        if a_widget.ui.progressBar.value == 9:
            a_scene.RemoveNode(a_volume_node)

    an_application.during_events = remove_at_the_end
    a_widget.ui.applyButton.click()
    assert nodes_of(a_scene, "vtkMRMLScalarVolumeNode") == []
    assert nodes_of(a_scene, "vtkMRMLSegmentationNode") == []
    assert a_widget.ui.statusLabel.text == "Cancelled; the scene is as it was."


def test_a_run_goes_on_when_another_module_is_shown(a_widget, a_scene, an_application):
    def leave_at_the_second_slice():
        if a_widget.ui.progressBar.value == 2:
            a_widget.exit()

    an_application.during_events = leave_at_the_second_slice
    a_widget.ui.applyButton.click()
    assert len(nodes_of(a_scene, "vtkMRMLSegmentationNode")) == 1
    an_application.during_events = None
    a_widget.enter()
    assert a_widget.ui.applyButton.enabled


def test_reloading_during_a_run_stops_it_and_touches_no_widget(a_widget, a_scene, an_application):
    before, ui = scene_content(a_scene), a_widget.ui

    def reload_at_the_second_slice():
        if ui.progressBar.value == 2 and not a_widget.panel._closed:
            a_widget.cleanup()

    an_application.during_events = reload_at_the_second_slice
    ui.applyButton.click()
    assert scene_content(a_scene) == before
    assert ui.progressBar.value == 2


def test_every_sentence_of_the_panel_can_be_translated(a_widget, an_application):
    a_widget.ui.applyButton.click()
    for text in ("Apply", "Cancel", "Automatic", "Abdomen", "Slice {number} of {count}"):
        assert text in an_application.translated
    assert slicer.app is an_application
