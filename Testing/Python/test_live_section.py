"""The live toggle, by the widgets of the panel and the slice views of the scene; the network is a fake."""

from __future__ import annotations

import logging
import time

import pytest
import slicer

from MedSegAttentionLib.data.errors import ContractWarning
from MedSegAttentionLib.scene.preview import PREVIEW_ATTRIBUTE
from slicer_double.fakes import nodes_of

pytest_plugins = ["slicer_double.fixtures"]


@pytest.fixture
def a_widget(a_volume_node, open_module, a_scene, monkeypatch):
    monkeypatch.setattr("MedSegAttentionLib.logic.runs.LIVE_SECONDS", 0.0)
    widget = open_module()
    widget.ui.taskComboBox.setCurrentIndex(3)
    show(a_scene, a_volume_node, "Red", 4)
    return widget


def show(scene, volume_node, view: str, k: int) -> None:
    matrix = slicer.vtkMRMLSliceNode().GetSliceToRAS().__class__()
    volume_node.GetIJKToRASMatrix(matrix)
    scene.GetNodeByID(f"vtkMRMLSliceNode{view}").SetSliceOffset(matrix.MultiplyPoint((0, 0, k, 1))[2])


def turn(application, seconds: float = 0.2) -> None:
    """Let the event loop run."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        application.processEvents()
        time.sleep(0.005)


def done(widget) -> list[int]:
    return widget.panel.run.handle._live._run.done


def test_the_slice_in_view_is_done_at_once_and_each_that_is_scrolled_to(
    a_widget, a_scene, a_volume_node, an_application
):
    ui = a_widget.ui
    ui.liveButton.click()
    turn(an_application)
    assert done(a_widget) == [4]
    for k in (5, 6, 7):  # as the wheel turns: only where it rests something is done
        show(a_scene, a_volume_node, "Red", k)
        an_application.processEvents()
    turn(an_application)
    assert done(a_widget) == [4, 7]
    show(a_scene, a_volume_node, "Red", 4)  # was done before
    turn(an_application)
    assert done(a_widget) == [4, 7]
    assert ui.statusLabel.text.startswith("Live: 2 of 9 slices are done.")
    (preview,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    assert preview.GetAttribute(PREVIEW_ATTRIBUTE) == "1"
    assert (ui.applyButton.text, ui.applyButton.enabled, ui.inputsWidget.enabled) == ("Apply", True, False)


def test_apply_does_the_rest_and_none_twice(a_widget, a_scene, an_application):
    ui = a_widget.ui
    ui.liveButton.click()
    turn(an_application)
    run = a_widget.panel.run.handle._live._run
    ui.applyButton.click()
    assert ui.applyButton.text == "Cancel"
    turn(an_application, 0.5)
    assert sorted(run.done) == list(range(9))
    (node,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    assert node.GetAttribute(PREVIEW_ATTRIBUTE) is None
    assert (ui.liveButton.checked, ui.applyButton.text) == (False, "Apply")
    assert ui.statusLabel.text.startswith("Finished: ")


def test_switched_off_it_keeps_what_is_done(a_widget, a_scene, an_application):
    ui = a_widget.ui
    ui.liveButton.click()
    turn(an_application)
    ui.liveButton.click()
    turn(an_application)
    (node,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    assert node.GetAttribute("MedSegAttention.Partial") is not None
    assert (ui.liveButton.checked, ui.liveButton.enabled) == (False, True)
    assert a_widget.panel.run.handle is None
    assert an_application.shown == []


def test_switched_off_before_anything_was_done_it_leaves_no_trace(a_widget, a_scene, a_volume_node, an_application):
    show(a_scene, a_volume_node, "Red", 400)  # beside the image
    a_widget.ui.liveButton.click()
    turn(an_application)
    assert done(a_widget) == []
    a_widget.ui.liveButton.click()
    assert nodes_of(a_scene, "vtkMRMLSegmentationNode") == []
    assert a_widget.ui.statusLabel.text == "Cancelled; the scene is as it was."


def test_any_view_of_the_acquisition_plane_counts_and_no_other(a_widget, a_scene, a_volume_node, an_application):
    yellow = a_scene.GetNodeByID("vtkMRMLSliceNodeYellow")
    yellow.SetOrientation("Axial")
    show(a_scene, a_volume_node, "Yellow", 1)
    a_widget.ui.liveButton.click()
    turn(an_application)
    assert sorted(done(a_widget)) == [1, 4]
    green = a_scene.GetNodeByID("vtkMRMLSliceNodeGreen")
    green.SetSliceOffset(green.GetSliceOffset() + 3)
    turn(an_application)
    assert sorted(done(a_widget)) == [1, 4]


def test_where_no_view_shows_a_slice_the_user_is_told_what_helps(a_widget, a_scene, an_application):
    views = {name: a_scene.GetNodeByID(f"vtkMRMLSliceNode{name}") for name in ("Red", "Green")}
    for name, view in views.items():
        view.SetMappedInLayout(name == "Green")
    a_widget.ui.liveButton.click()
    turn(an_application)
    assert "turn a view to the plane of the slices" in a_widget.ui.statusLabel.text
    views["Red"].SetMappedInLayout(True)
    turn(an_application)
    assert "Scroll to do more" in a_widget.ui.statusLabel.text


def test_views_are_watched_only_while_it_is_live_and_the_module_is_shown(
    a_widget, a_scene, a_volume_node, an_application
):
    red = a_scene.GetNodeByID("vtkMRMLSliceNodeRed")

    def watched() -> bool:
        return any(observation[0] is red for observation in a_widget.panel._live._watched)

    assert not watched()
    a_widget.ui.liveButton.click()
    turn(an_application)
    assert watched()
    a_widget.exit()
    assert not watched()
    show(a_scene, a_volume_node, "Red", 8)
    turn(an_application)
    assert done(a_widget) == [4]
    a_widget.enter()
    assert (watched(), a_widget.ui.liveButton.checked) == (True, True)
    show(a_scene, a_volume_node, "Red", 7)
    turn(an_application)
    assert done(a_widget)[-1] == 7
    a_scene.Clear(False)
    assert (watched(), a_widget.ui.liveButton.checked, a_widget.panel.run.handle) == (False, False, None)


def test_an_image_unlike_the_training_data_is_asked_for_and_then_live(a_widget, a_runner, an_application):
    a_runner.errors = [ContractWarning("'case 1' looks like MR.")]
    a_widget.ui.liveButton.click()
    turn(an_application)
    ((function, _text),) = an_application.shown
    assert function == "confirmOkCancelDisplay"
    assert [call["settings"].force for call in a_runner.calls] == [False, True]
    assert done(a_widget) == [4]
    assert a_widget.ui.liveButton.checked


def test_where_nothing_can_be_started_the_button_comes_up_again(a_widget, an_application, monkeypatch):
    monkeypatch.setattr(a_widget.panel._installation, "ready", lambda: False)
    a_widget.ui.liveButton.click()
    assert not a_widget.ui.liveButton.checked
    a_widget.ui.inputVolumeSelector.setCurrentNode(None)
    assert not a_widget.ui.liveButton.enabled


def test_the_worker_is_started_with_its_network_when_the_module_is_entered(
    open_module, a_runner, a_volume_node, an_application, monkeypatch
):
    monkeypatch.setattr("MedSegAttentionLib.logic.runs.find_checkpoint", lambda name: name)
    widget = open_module()
    an_application.processEvents()
    assert a_runner.warmed == ["prostate-x"]
    widget.ui.taskComboBox.setCurrentIndex(3)  # two may run: the image decides later
    an_application.processEvents()
    assert a_runner.warmed[-1] is None
    widget.ui.checkpointComboBox.setCurrentIndex(2)
    an_application.processEvents()
    assert a_runner.warmed[-1] == "abdomen-mr-x"


def test_how_long_the_first_slice_took_is_in_the_log(a_widget, an_application, caplog):
    with caplog.at_level(logging.INFO):
        a_widget.ui.applyButton.click()
        a_widget.ui.applyButton.click()
    assert caplog.text.count("first slice after 0.") == 2
