"""Limiting a run to slices, a region or some organs, by the widgets of the panel, on real MRML."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import slicer
from PySide6 import QtCore

from conftest import ANATOMY, DIRECTIONS, an_image
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.data.labels import Code, Label
from MedSegAttentionLib.scene.regions import box_of, lay_around
from MedSegAttentionLib.scene.volumes import add_volume
from scene_tools import add_transform
from slicer_double.fakes import a_card, add_noise

pytest_plugins = ["slicer_double.fixtures"]


def labels(*names: str) -> tuple[Label, ...]:
    return tuple(Label(name, n, (n, n, n), ANATOMY, Code("99X", name, name)) for n, name in enumerate(names, start=1))


@pytest.fixture
def a_widget(a_volume_node, a_module, open_module, monkeypatch):
    """The open module, set to the abdomen, whose checkpoints know some organs."""
    ct = replace(a_card("abdomen-ct-x", "abdomen"), labels=labels("liver", "spleen", "aorta"))
    mr = replace(a_card("abdomen-mr-x", "abdomen"), modality="MR", labels=labels("liver", "left kidney"))
    monkeypatch.setattr("MedSegAttentionLib.logic.checkpoints.list_checkpoints", lambda: [ct, mr])
    widget = open_module()
    monkeypatch.setattr(widget.logic, "checkpointFor", lambda *_: ct)
    widget.ui.taskComboBox.setCurrentIndex(3)
    return widget


def organs(ui) -> dict[str, bool]:
    table = ui.organsTable
    items = [table.item(row, column) for row in range(table.rowCount) for column in range(2)]
    return {item.text(): item.checkState() == QtCore.Qt.Checked for item in items if item.text()}


def untick(ui, name: str) -> None:
    (item,) = ui.organsTable.findItems(name, QtCore.Qt.MatchExactly)
    item.setCheckState(QtCore.Qt.Unchecked)


def test_all_of_an_image_is_chosen_at_first(a_widget, a_runner):
    ui = a_widget.ui
    assert organs(ui) == {"liver": True, "spleen": True, "aorta": True, "left kidney": True}
    slider = ui.sliceRangeSlider
    assert (slider.minimum, slider.maximum, slider.minimumValue, slider.maximumValue) == (1, 9, 1, 9)
    ui.applyButton.click()
    settings = a_runner.calls[0]["settings"]
    assert (settings.slices, settings.box, settings.left_out) == (None, None, ())


def test_limits_reach_the_run_and_organs_that_it_does_not_know_are_not_named(a_widget, a_runner, a_scene):
    ui = a_widget.ui
    ui.sliceRangeSlider.setValues(3, 5)
    untick(ui, "spleen")
    untick(ui, "left kidney")
    ui.applyButton.click()
    settings = a_runner.calls[0]["settings"]
    assert (settings.slices, settings.left_out) == ((2, 4), ("spleen",))
    ui.checkpointComboBox.setCurrentIndex(2)
    assert organs(ui) == {"liver": True, "left kidney": False}
    ui.checkpointComboBox.setCurrentIndex(1)
    assert organs(ui) == {"liver": True, "spleen": False, "aorta": True}
    ui.sliceRangeSlider.setValues(1, 9)
    ui.applyButton.click()
    assert a_runner.calls[1]["settings"].slices is None


def test_the_probability_of_a_class_is_asked_for_beside_the_usual_maps(a_widget, a_runner):
    ui = a_widget.ui
    offered = [ui.probabilityComboBox.itemText(n) for n in range(ui.probabilityComboBox.count)]
    assert offered == ["None", "liver", "spleen", "aorta", "left kidney"]
    ui.applyButton.click()
    assert a_runner.calls[0]["settings"].attention is True
    ui.probabilityComboBox.setCurrentIndex(2)
    ui.applyButton.click()
    usual = ("uncertainty", *(item.name for item in a_widget.logic.checkpointFor().attention))
    assert a_runner.calls[1]["settings"].attention == (*usual, "probability_spleen")
    ui.showAttentionCheckBox.click()
    ui.applyButton.click()
    assert a_runner.calls[2]["settings"].attention == ("probability_spleen",)
    ui.probabilityComboBox.setCurrentIndex(4)  # of a checkpoint that this run does not use
    ui.applyButton.click()
    assert a_runner.calls[3]["settings"].attention is False


def test_slices_of_one_image_are_not_those_of_the_next(a_widget, a_scene):
    ui, parameters = a_widget.ui, a_widget.logic.getParameterNode()
    ui.sliceRangeSlider.setValues(3, 5)
    assert parameters.slices == "3-5"
    a_widget.exit()
    a_widget.enter()  # the same image: kept
    assert (ui.sliceRangeSlider.minimumValue, ui.sliceRangeSlider.maximumValue) == (3, 5)
    ui.inputVolumeSelector.setCurrentNode(add_noise(a_scene, "another"))
    assert parameters.slices == ""
    assert (ui.sliceRangeSlider.maximum, ui.sliceRangeSlider.maximumValue) == (3, 3)


def test_a_new_region_is_laid_around_the_image_and_reaches_the_run(a_widget, a_runner, a_scene, a_volume_node):
    region = a_scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    a_widget.ui.regionSelector.setCurrentNode(region)
    assert box_of(region, a_volume_node) == ((0, 23), (0, 19), (0, 8))
    region.SetSize(8.0, 6.0, 3.0)
    a_widget.ui.applyButton.click()
    ((i, j, k),) = [a_runner.calls[0]["settings"].box]
    assert [last - first + 1 for first, last in (i, j, k)] == [8, 6, 3]


@pytest.mark.parametrize("kind", list(DIRECTIONS))
@pytest.mark.parametrize("moved", [False, True])
def test_a_region_is_the_voxels_in_it(a_scene, kind, moved):
    volume_node = add_volume(a_scene, an_image(kind))
    if moved:
        add_transform(a_scene, volume_node)
    region = a_scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    corner = np.array([4, 5, 2]), np.array([11, 9, 6])
    matrix = slicer.vtkMRMLSliceNode().GetSliceToRAS().__class__()
    volume_node.GetIJKToRASMatrix(matrix)
    local = np.array([matrix.MultiplyPoint((*ijk, 1.0))[:3] for ijk in corner])
    world = np.array([[0.0] * 3, [0.0] * 3])
    for n in range(2):
        volume_node.TransformPointToWorld(local[n], world[n])
    region.SetCenterWorld(*world.mean(0))
    region.SetSize(*(np.abs(world[1] - world[0]) + 0.02))
    box = box_of(region, volume_node)
    inside = [first <= low and high <= last for (first, last), low, high in zip(box, *corner, strict=True)]
    assert all(inside)
    if not moved and kind != "oblique":  # else the region is turned against the grid, and its box is larger
        assert box == ((4, 11), (5, 9), (2, 6))


def test_a_region_without_size_or_far_away_says_so(a_scene, a_volume_node):
    region = a_scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    with pytest.raises(InputError, match="has no size"):
        box_of(region, a_volume_node)
    lay_around(region, a_volume_node)
    region.SetCenterWorld(5000, 0, 0)
    with pytest.raises(InputError, match="holds no voxel of 'case 1'"):
        box_of(region, a_volume_node)


def test_an_error_of_the_region_is_told_and_nothing_runs(a_widget, a_runner, a_scene, an_application):
    region = a_scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    a_widget.ui.regionSelector.setCurrentNode(region)
    region.SetCenterWorld(5000, 0, 0)
    a_widget.ui.applyButton.click()
    ((function, text),) = an_application.shown
    assert (function, "holds no voxel" in text, a_runner.calls) == ("errorDisplay", True, [])
    assert a_widget.ui.applyButton.text == "Apply"


def test_a_task_of_one_class_has_no_list_of_organs(open_module, a_volume_node, a_module, monkeypatch):
    card = replace(a_card("prostate-x", "prostate"), labels=labels("prostate"))
    monkeypatch.setattr("MedSegAttentionLib.logic.checkpoints.list_checkpoints", lambda: [card])
    assert open_module().ui.organsTable.isHidden()
