"""What the panel offers and remembers: volumes, tasks, checkpoints, scenes that close, modules that reload."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from MedSegAttentionLib.data.errors import CheckpointError
from slicer_double.application import execute_module
from slicer_double.fakes import a_card, add_noise

pytest_plugins = ["slicer_double.fixtures"]


def entries(combo_box):
    return [combo_box.itemText(n) for n in range(combo_box.count)]


def test_without_a_volume_apply_says_what_to_do(open_module):
    ui = open_module().ui
    assert not ui.applyButton.enabled
    assert ui.applyButton.toolTip == "Choose an input volume"
    assert ui.inputVolumeSelector.currentNode() is None


def test_the_only_volume_is_chosen(open_module, a_volume_node):
    ui = open_module().ui
    assert ui.inputVolumeSelector.currentNode() is a_volume_node
    assert ui.applyButton.enabled


def test_a_volume_that_arrives_later_is_chosen_and_the_next_one_is_not(open_module, a_scene, an_application):
    ui = open_module().ui
    first = add_noise(a_scene, "first")
    an_application.processEvents()
    assert ui.inputVolumeSelector.currentNode() is first
    assert ui.applyButton.enabled
    add_noise(a_scene, "second")
    an_application.processEvents()
    assert ui.inputVolumeSelector.currentNode() is first


def test_of_several_volumes_none_is_chosen_silently(open_module, a_scene, a_volume_node):
    add_noise(a_scene, "another")
    ui = open_module().ui
    assert ui.inputVolumeSelector.currentNode() is None
    assert not ui.applyButton.enabled
    ui.inputVolumeSelector.setCurrentNode(a_volume_node)
    assert ui.applyButton.enabled


def test_of_several_volumes_the_shown_one_is_chosen(open_module, a_scene, a_volume_node):
    shown = add_noise(a_scene, "another")
    a_scene.GetNthNodeByClass(0, "vtkMRMLSliceCompositeNode").SetBackgroundVolumeID(shown.GetID())
    assert open_module().ui.inputVolumeSelector.currentNode() is shown


def test_a_label_map_that_is_shown_is_not_chosen(open_module, a_scene, a_volume_node):
    shown = add_noise(a_scene, "labels", "vtkMRMLLabelMapVolumeNode")
    a_scene.GetNthNodeByClass(0, "vtkMRMLSliceCompositeNode").SetBackgroundVolumeID(shown.GetID())
    widget = open_module()
    assert widget.logic.getParameterNode().inputVolume is a_volume_node


def test_grey_and_colour_volumes_are_offered_but_no_label_maps(open_module, a_scene, a_volume_node):
    add_noise(a_scene, "colour", "vtkMRMLVectorVolumeNode")
    add_noise(a_scene, "labels", "vtkMRMLLabelMapVolumeNode")
    selector = open_module().ui.inputVolumeSelector
    assert [node.GetName() for node in selector._nodes()] == ["case 1", "colour"]


def test_tasks_and_devices_are_listed(open_module):
    ui = open_module().ui
    assert entries(ui.taskComboBox) == ["Prostate", "Skin", "Polyp", "Abdomen"]
    assert entries(ui.deviceComboBox) == ["Automatic", "CUDA", "MPS", "CPU"]
    assert entries(ui.axisComboBox) == ["Automatic", "Axis i", "Axis j", "Axis k"]


def test_checkpoints_are_those_of_the_task(open_module, a_volume_node):
    widget = open_module()
    ui, parameters = widget.ui, widget.logic.getParameterNode()
    assert entries(ui.checkpointComboBox) == ["Automatic", "prostate-x"]
    assert "prostate title" in ui.modelCardBrowser.plainText
    ui.checkpointComboBox.setCurrentIndex(1)
    assert parameters.checkpoint == "prostate-x"
    assert "what prostate-x segments" in ui.modelCardBrowser.plainText
    ui.taskComboBox.setCurrentIndex(3)
    assert entries(ui.checkpointComboBox) == ["Automatic", "abdomen-ct-x", "abdomen-mr-x"]
    assert parameters.checkpoint == ""


def test_how_good_a_checkpoint_is_stands_below_it_and_its_card_is_a_click_away(
    open_module, a_module, a_volume_node, monkeypatch
):
    measured = {"seen": {"dice": 0.99, "cases": 30, "learned_from": True}, "new": {"dice": 0.8765, "cases": 7}}
    cards = [replace(a_card(f"abdomen-{name}-x", "abdomen"), modality=name.upper()) for name in ("ct", "mr")]
    cards[0] = replace(cards[0], metrics=measured)
    monkeypatch.setattr("MedSegAttentionLib.logic.checkpoints.list_checkpoints", lambda: cards)
    ui = open_module().ui
    ui.taskComboBox.setCurrentIndex(3)
    assert ui.modelSummaryLabel.text == "CT: Dice 0.88 on 7 new cases\nMR: not measured"
    ui.checkpointComboBox.setCurrentIndex(1)
    assert ui.modelSummaryLabel.text == "Dice 0.88 on 7 new cases"
    assert ui.modelCardWidget.isHidden()
    ui.modelCardButton.click()
    assert not ui.modelCardWidget.isHidden()
    ui.modelCardButton.click()
    assert ui.modelCardWidget.isHidden()


def test_a_task_without_a_checkpoint_says_so(open_module, a_volume_node):
    ui = open_module().ui
    ui.taskComboBox.setCurrentIndex(1)
    assert ui.modelCardBrowser.plainText == "No checkpoint for task 'skin' is installed."
    assert not ui.checkpointComboBox.enabled
    assert not ui.applyButton.enabled
    assert ui.applyButton.toolTip == "No checkpoint for this task is installed"
    ui.taskComboBox.setCurrentIndex(0)
    assert ui.applyButton.enabled


def test_a_broken_checkpoint_does_not_keep_the_module_from_opening(open_module, a_module, a_volume_node, monkeypatch):
    def fail():
        raise CheckpointError("'x' is not a checkpoint.")

    monkeypatch.setattr("MedSegAttentionLib.logic.checkpoints.list_checkpoints", fail)
    ui = open_module().ui
    assert ui.modelCardBrowser.plainText == "'x' is not a checkpoint."
    assert not ui.applyButton.enabled


def test_flips_are_offered_where_every_checkpoint_that_may_run_allows_them(open_module, a_module, a_volume_node):
    widget = open_module()
    ui, parameters, box = widget.ui, widget.logic.getParameterNode(), widget.ui.testTimeFlipsCheckBox
    assert (box.enabled, box.checked) == (True, False)
    assert "2 times as long" in box.toolTip
    box.click()
    assert parameters.testTimeFlips
    ui.taskComboBox.setCurrentIndex(3)
    assert (box.enabled, box.checked, parameters.testTimeFlips) == (False, False, False)
    assert "not trained on mirror images" in box.toolTip


def test_choices_are_kept_in_the_scene(open_module, a_volume_node):
    widget = open_module()
    widget.ui.taskComboBox.setCurrentIndex(3)
    widget.ui.checkpointComboBox.setCurrentIndex(1)
    widget.ui.showAttentionCheckBox.click()
    widget.exit()
    ui = open_module().ui
    assert ui.taskComboBox.currentText == "Abdomen"
    assert ui.checkpointComboBox.currentText == "abdomen-ct-x"
    assert not ui.showAttentionCheckBox.checked
    assert ui.inputVolumeSelector.currentNode() is a_volume_node


def test_a_closed_module_does_not_change_parameters(open_module, a_volume_node):
    widget = open_module()
    widget.exit()
    widget.ui.taskComboBox.setCurrentIndex(2)
    assert widget.logic.getParameterNode().task == "prostate"


def test_closing_the_scene_empties_the_panel(open_module, a_scene, a_volume_node):
    widget = open_module()
    widget.ui.taskComboBox.setCurrentIndex(3)
    a_scene.Clear(False)
    assert widget.ui.inputVolumeSelector.currentNode() is None
    assert not widget.ui.applyButton.enabled
    widget.ui.inputVolumeSelector.setCurrentNode(add_noise(a_scene, "new"))
    assert widget.ui.applyButton.enabled


def test_a_scene_that_is_loaded_while_the_module_is_shown_is_shown(open_module, a_scene, a_volume_node, an_application):
    widget = open_module()
    a_scene.StartState(a_scene.ImportState)
    widget.ui.inputVolumeSelector.setCurrentNode(None)  # as Slicer's selectors do, which know nothing while it loads
    widget.logic.getParameterNode().inputVolume = a_volume_node
    widget.ui.inputVolumeSelector.blockSignals(True)
    widget.ui.inputVolumeSelector.setCurrentNode(None)
    widget.ui.inputVolumeSelector.blockSignals(False)
    a_scene.EndState(a_scene.ImportState)
    an_application.processEvents()
    assert widget.ui.inputVolumeSelector.currentNode() is a_volume_node
    widget.cleanup()
    a_scene.StartState(a_scene.ImportState)
    a_scene.EndState(a_scene.ImportState)
    an_application.processEvents()
    assert widget.panel._parameterNode is None


def test_closing_the_scene_while_another_module_is_shown(open_module, a_scene, a_volume_node):
    widget = open_module()
    widget.exit()
    widget.parent._is_entered = False
    a_scene.Clear(False)
    add_noise(a_scene, "new")
    assert widget.panel._parameterNode is None
    widget.enter()
    assert widget.ui.inputVolumeSelector.currentNode().GetName() == "new"


def test_cleanup_leaves_no_observer(open_module, a_volume_node):
    widget = open_module()
    parameters = widget.logic.getParameterNode().parameterNode
    assert parameters.HasObserver("ModifiedEvent")
    widget.cleanup()
    assert widget.Observations == []
    assert not parameters.HasObserver("ModifiedEvent")
    widget.ui.applyButton.click()
    assert widget.ui.statusLabel.text == ""


def test_reload_executes_the_library_again(open_module, a_module, monkeypatch, a_volume_node):
    open_module().cleanup()
    before = {name: sys.modules[name] for name in list(sys.modules) if name.startswith("MedSegAttentionLib")}
    again = execute_module(monkeypatch)
    assert again.Panel is not a_module.Panel
    assert sys.modules["MedSegAttentionLib.data.errors"] is not before["MedSegAttentionLib.data.errors"]
    widget = again.MedSegAttentionWidget()
    widget.setup()
    assert widget.ui.inputVolumeSelector.currentNode() is a_volume_node
    widget.cleanup()
    widget.ui.inputVolumeSelector.setMRMLScene(None)


@pytest.mark.parametrize("signature", ["clicked(int)", "clickedd(bool)"])
def test_the_double_refuses_a_misspelt_signal(open_module, signature):
    assert not open_module().ui.applyButton.connect(signature, print)


def test_a_task_that_a_checkpoint_brings_is_offered_with_its_title(open_module, a_module, a_volume_node, monkeypatch):
    cards = [a_card("prostate-x", "prostate"), replace(a_card("spine-x", "spine"), task_title="Spine & sacrum")]
    monkeypatch.setattr("MedSegAttentionLib.logic.checkpoints.list_checkpoints", lambda: cards)
    widget = open_module()
    ui, parameters = widget.ui, widget.logic.getParameterNode()
    assert entries(ui.taskComboBox) == ["Prostate", "Skin", "Polyp", "Abdomen", "Spine & sacrum"]
    ui.taskComboBox.setCurrentIndex(4)
    assert parameters.task == "spine"
    assert entries(ui.checkpointComboBox) == ["Automatic", "spine-x"]
    assert ui.applyButton.enabled


def test_a_scene_may_name_a_task_that_is_not_installed_here(open_module, a_volume_node):
    widget = open_module()
    parameters = widget.logic.getParameterNode()
    parameters.task = "lung-nodule"
    assert widget.ui.taskComboBox.currentText == "Lung nodule"
    assert widget.ui.modelCardBrowser.plainText == "No checkpoint for task 'lung-nodule' is installed."
    assert not widget.ui.applyButton.enabled
    widget.ui.taskComboBox.setCurrentIndex(0)
    assert parameters.task == "prostate"
    assert entries(widget.ui.taskComboBox) == ["Prostate", "Skin", "Polyp", "Abdomen"]


def test_a_scene_of_the_time_when_tasks_were_a_fixed_list_opens(open_module, a_volume_node):
    widget = open_module()
    widget.exit()
    widget.logic.getParameterNode().parameterNode.SetParameter("task", "ABDOMEN")
    widget.enter()
    assert widget.ui.taskComboBox.currentText == "Abdomen"
    assert entries(widget.ui.checkpointComboBox) == ["Automatic", "abdomen-ct-x", "abdomen-mr-x"]
