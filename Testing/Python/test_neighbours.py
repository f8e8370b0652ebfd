"""Click a position, see its neighbours: buttons, points and crosshair on real MRML; the network is a fake."""

from __future__ import annotations

from dataclasses import replace

import pytest

from MedSegAttentionLib.data.card import AttentionMap
from MedSegAttentionLib.data.errors import ContractWarning, InputError, RunError
from MedSegAttentionLib.scene.overlays import shown_overlay
from scene_tools import snapshot
from slicer_double.fakes import a_card, nodes_of

pytest_plugins = ["slicer_double.fixtures"]

MAPS = tuple(
    AttentionMap(f"{kind}_{stage}", f"{kind}, {title}", "")
    for stage, title in (("stage4", "encoder level 4"), ("bottleneck", "bottleneck"))
    for kind in ("tau", "k")
)


@pytest.fixture
def a_widget(a_volume_node, a_module, open_module, monkeypatch, a_runner):
    cards = [
        replace(a_card("prostate-x", "prostate"), attention=MAPS, default=True),
        replace(a_card("prostate-y", "prostate"), attention=(AttentionMap("received_decoder3_1", "received", ""),)),
        replace(a_card("abdomen-ct-klo-net", "abdomen"), attention=MAPS[:2]),
        replace(a_card("skin-x", "skin"), attention=(AttentionMap("ema_decoder4", "moving average", ""),)),
    ]
    monkeypatch.setattr("MedSegAttentionLib.logic.checkpoints.list_checkpoints", lambda: cards)
    widget = open_module()

    def checkpoint_for(_volume, task, wanted=None):
        return next(card for card in cards if wanted == card.id or (wanted is None and card.task == task))

    monkeypatch.setattr(widget.logic, "checkpointFor", checkpoint_for)
    return widget


@pytest.fixture
def a_crosshair(a_scene):
    node = a_scene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    node.SetCrosshairRAS(1.5, -20.0, 40.0)
    return node


def entries(combo_box) -> list[str]:
    return [combo_box.itemText(n) for n in range(combo_box.count)]


def test_stages_are_those_of_the_checkpoint(a_widget):
    ui = a_widget.ui
    assert entries(ui.neighbourStageComboBox) == ["stage4 (tau, encoder level 4)", "bottleneck (tau, bottleneck)"]
    parameters = a_widget.logic.getParameterNode()
    parameters.checkpoint = "prostate-y"
    assert entries(ui.neighbourStageComboBox) == ["decoder3_1 (received)"]
    parameters.checkpoint = ""
    ui.neighbourStageComboBox.setCurrentIndex(1)
    assert parameters.neighbourStage == "bottleneck"
    ui.taskComboBox.setCurrentIndex(3)
    assert entries(ui.neighbourStageComboBox) == ["stage4 (tau, encoder level 4)"]
    ui.taskComboBox.setCurrentIndex(0)
    assert ui.neighbourStageComboBox.currentIndex == 1
    ui.taskComboBox.setCurrentIndex(1)
    assert entries(ui.neighbourStageComboBox) == []
    assert not ui.rowAtCrosshairButton.enabled


def test_the_crosshair_s_neighbours_are_shown(a_widget, a_scene, a_runner, a_crosshair, an_application):
    ui = a_widget.ui
    ui.neighbourStageComboBox.setCurrentIndex(1)
    ui.deviceComboBox.setCurrentIndex(3)
    ui.axisComboBox.setCurrentIndex(1)
    ui.rowAtCrosshairButton.click()
    (call,) = a_runner.calls
    assert call["settings"].axis == "i"
    assert (call["ras"], call["task"], call["checkpoint"]) == ((1.5, -20.0, 40.0), "prostate", None)
    assert (call["map"], call["settings"].device, call["settings"].force) == ("bottleneck", "cpu", False)
    assert shown_overlay(a_scene) is not None
    assert ui.attentionMapComboBox.currentText == shown_overlay(a_scene).GetName()
    assert ui.neighboursStatusLabel.text == "Shown: the neighbours of R 1.5, P 20.0, S 40.0 mm."
    assert an_application.shown == []


def test_the_last_point_s_neighbours_are_shown(a_widget, a_scene, a_runner):
    ui = a_widget.ui
    assert not ui.rowAtPointButton.enabled
    points = a_scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "seeds")
    ui.pointListSelector.setCurrentNode(points)
    assert ui.rowAtPointButton.enabled
    points.AddControlPoint(0, 0, 0)
    points.AddControlPoint(3, 2, 1)
    ui.rowAtPointButton.click()
    assert a_runner.calls[0]["ras"] == (3, 2, 1)
    offsets = {node.GetName(): node.GetSliceToRAS() for node in nodes_of(a_scene, "vtkMRMLSliceNode")}
    shown = [offsets[name].GetElement(row, 3) for name, row in (("Yellow", 0), ("Green", 1), ("Red", 2))]
    assert shown == [3, 2, 1]  # each view shows the plane through the point
    a_scene.RemoveNode(points)
    assert not ui.rowAtPointButton.enabled
    assert a_widget.logic.getParameterNode().pointList is None


def test_a_result_s_rows_are_those_of_its_own_checkpoint(a_widget, a_runner, a_crosshair):
    ui = a_widget.ui
    a_runner.result.provenance["settings"] = {"axis": "j"}
    ui.applyButton.click()
    ui.neighbourStageComboBox.setCurrentIndex(0)
    ui.rowAtCrosshairButton.click()
    assert a_runner.calls[1]["settings"].axis == "j"
    assert a_runner.calls[1]["checkpoint"] == "abdomen-ct-klo-net"
    assert entries(ui.neighbourStageComboBox) == ["stage4 (tau, encoder level 4)"]


def test_a_new_row_replaces_the_one_before_unless_the_user_named_it(a_widget, a_scene, a_crosshair):
    button = a_widget.ui.rowAtCrosshairButton
    button.click()
    first, count = shown_overlay(a_scene), a_scene.GetNumberOfNodes()
    button.click()
    assert not a_scene.IsNodePresent(first)
    assert a_scene.GetNumberOfNodes() == count
    kept = shown_overlay(a_scene)
    kept.SetName("rectal wall")
    button.click()
    assert a_scene.IsNodePresent(kept)
    a_scene.RemoveNode(shown_overlay(a_scene))
    button.click()
    assert shown_overlay(a_scene) is not None


@pytest.mark.parametrize(
    "error", [InputError("the point (9, 9, 9) lies outside 'case 1'."), RuntimeError("out of luck")]
)
def test_an_error_is_shown_and_the_scene_is_as_it_was(
    a_widget, a_scene, a_runner, a_crosshair, an_application, monkeypatch, error
):
    def fail(*_arguments, **_keywords):
        raise error

    monkeypatch.setattr(a_runner, "attention_row", fail)
    before = snapshot(a_scene)
    a_widget.ui.rowAtCrosshairButton.click()
    ((function, text),) = an_application.shown
    assert (function, str(error) in text) == ("errorDisplay", True)
    assert snapshot(a_scene) == before
    assert a_widget.ui.neighboursStatusLabel.text == ""


def test_without_crosshair_or_point_it_says_what_to_do(a_widget, a_scene, an_application):
    a_widget.ui.rowAtCrosshairButton.click()
    a_widget.ui.pointListSelector.setCurrentNode(a_scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "seeds"))
    a_widget.ui.rowAtPointButton.click()
    (_, first), (_, second) = an_application.shown
    assert "Hold Shift" in first
    assert "Place a point" in second


@pytest.mark.parametrize("confirms", [True, False])
def test_outside_of_the_training_data_the_user_decides(
    a_widget, a_runner, a_crosshair, an_application, monkeypatch, confirms
):
    compute, forced = a_runner.attention_row, []

    def warn(*arguments, settings, **keywords):
        forced.append(settings.force)
        if not settings.force:
            raise ContractWarning("'case 1' looks like CT.")
        return compute(*arguments, settings=settings, **keywords)

    monkeypatch.setattr(a_runner, "attention_row", warn)
    an_application.confirms = confirms
    a_widget.ui.rowAtCrosshairButton.click()
    assert forced == ([False, True] if confirms else [False])
    assert an_application.shown[0][0] == "confirmOkCancelDisplay"
    assert bool(a_widget.ui.neighboursStatusLabel.text) is confirms


def test_a_second_click_meanwhile_and_a_scene_that_closes_do_no_harm(
    a_widget, a_scene, a_runner, a_crosshair, an_application
):
    button, label, seen = a_widget.ui.rowAtCrosshairButton, a_widget.ui.neighboursStatusLabel, []

    def click_again():
        seen.append((button.enabled, label.text))
        button.enabled = True
        button.click()

    an_application.during_events = click_again
    button.click()
    assert len(a_runner.calls) == 1
    assert seen == [(False, "Looking for the neighbours...")]
    assert button.enabled
    assert label.text.startswith("Shown: ")
    an_application.during_events = lambda: a_scene.Clear(False)
    button.click()
    assert shown_overlay(a_scene) is None
    assert label.text == ""
    assert an_application.shown == []


def test_a_panel_left_meanwhile_is_not_touched(a_widget, a_scene, a_runner, a_crosshair, an_application):
    an_application.during_events = a_widget.exit
    a_widget.ui.rowAtCrosshairButton.click()
    assert shown_overlay(a_scene) is not None
    assert a_widget.ui.neighboursStatusLabel.text == ""


def test_a_closed_panel_computes_nothing(a_widget, a_runner, a_crosshair):
    a_widget.cleanup()
    a_widget.ui.rowAtCrosshairButton.enabled = True
    a_widget.ui.rowAtCrosshairButton.click()
    assert a_runner.calls == []
    assert a_widget.panel._neighbours._watched == {}


@pytest.mark.parametrize("missing", ["packages", "licence"])
def test_packages_and_licence_are_asked_for_first(
    a_widget, a_runner, a_crosshair, monkeypatch, an_application, missing
):
    if missing == "packages":
        monkeypatch.setattr(a_widget.panel._installation, "ready", lambda: False)
    else:
        an_application.settings.clear()
        an_application.confirms = False
    a_widget.ui.rowAtCrosshairButton.click()
    assert a_runner.calls == []
    assert [function for function, _text in an_application.shown] == ["confirmOkCancelDisplay"] * (missing == "licence")


def test_another_stage_s_row_replaces_the_one_before(a_widget, a_scene, a_runner, a_crosshair):
    a_widget.ui.rowAtCrosshairButton.click()
    first, attention = shown_overlay(a_scene), a_runner.result.attention
    ((name, volume),) = attention.items()
    attention[name] = replace(volume, map=replace(volume.map, title="row of the bottleneck"))
    a_widget.ui.rowAtCrosshairButton.click()
    assert "bottleneck" in shown_overlay(a_scene).GetName()
    assert not a_scene.IsNodePresent(first)


def test_stages_of_a_checkpoint_just_added_are_offered(a_widget, monkeypatch):
    added = replace(a_card("skin-x", "skin"), attention=MAPS[:2])
    monkeypatch.setattr("MedSegAttentionLib.logic.checkpoints.list_checkpoints", lambda: [added])
    a_widget.ui.taskComboBox.setCurrentIndex(1)
    assert entries(a_widget.ui.neighbourStageComboBox) == []
    a_widget.panel._onCheckpointsChanged()
    assert entries(a_widget.ui.neighbourStageComboBox) == ["stage4 (tau, encoder level 4)"]


def test_while_a_run_or_a_batch_goes_on_the_buttons_wait(a_widget, a_runner, a_crosshair, an_application, tmp_path):
    ui, seen = a_widget.ui, []
    an_application.during_events = lambda: seen.append(ui.rowAtCrosshairButton.enabled)
    ui.batchOutputPathLineEdit.currentPath = str(tmp_path)
    ui.batchButton.click()
    assert set(seen) == {False}
    assert ui.rowAtCrosshairButton.enabled
    an_application.during_events = None
    a_runner.slices_per_poll = 0
    ui.applyButton.click()
    assert not ui.rowAtCrosshairButton.enabled
    ui.applyButton.click()
    assert ui.rowAtCrosshairButton.enabled


def test_a_reload_meanwhile_shows_no_error(a_widget, a_runner, a_crosshair, an_application, monkeypatch):
    def end(*_arguments, **_keywords):
        a_widget.cleanup()
        raise RunError("the worker process was closed with the module.")

    monkeypatch.setattr(a_runner, "attention_row", end)
    a_widget.ui.rowAtCrosshairButton.click()
    assert an_application.shown == []
