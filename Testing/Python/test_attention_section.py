"""The attention section on real MRML: widgets change nodes and the picture, nodes change widgets."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import slicer

from conftest import a_result_on, an_image
from MedSegAttentionLib.data.card import AttentionMap, probability_map
from MedSegAttentionLib.data.result import AttentionVolume
from MedSegAttentionLib.output.exports import export_segmentation
from MedSegAttentionLib.output.pictures import slice_picture
from MedSegAttentionLib.output.report import write_report
from MedSegAttentionLib.scene import overlay_display
from MedSegAttentionLib.scene.overlays import overlay_opacity, shown_overlay, slice_views, write_attention
from MedSegAttentionLib.scene.volumes import add_volume
from MedSegAttentionLib.scene.writing import write_result
from scene_tools import snapshot
from slicer_double.fakes import nodes_of

pytest_plugins = ["slicer_double.fixtures"]


@pytest.fixture
def a_widget(a_volume_node, a_runner, open_module):
    """The open module after a run that gave two maps, the first one shown."""
    tau = a_runner.result.attention["tau_stage4"]
    k = AttentionVolume(AttentionMap("k_stage4", "k, stage 4", "", (0.0, 1.0)), 1 - tau.array, tau.ijk_to_ras)
    a_runner.result = replace(a_runner.result, attention={"tau_stage4": tau, "k_stage4": k})
    widget = open_module()
    widget.ui.taskComboBox.setCurrentIndex(3)
    widget.ui.applyButton.click()
    return widget


def entries(combo_box) -> list[str]:
    return [combo_box.itemText(n) for n in range(combo_box.count)]


def overlay(scene, name="tau_stage4"):
    nodes = nodes_of(scene, "vtkMRMLScalarVolumeNode")
    return next(node for node in nodes if node.GetAttribute("MedSegAttention.Map") == name)


def picture(scene) -> np.ndarray:
    node = shown_overlay(scene)
    (volume, *_) = nodes_of(scene, "vtkMRMLScalarVolumeNode")
    opacity = overlay_opacity(scene, node) if node else 0
    return slice_picture(scene, volume, 4, overlay_node=node, opacity=opacity, height=60).astype(int)


def test_without_a_map_the_controls_cannot_be_used(open_module, a_volume_node):
    ui = open_module().ui
    assert entries(ui.attentionMapComboBox) == []
    assert not any(control.enabled for control in (ui.attentionMapComboBox, ui.opacitySlider, ui.legendCheckBox))
    assert ui.attentionMeaningLabel.text == "No attention map of this image is shown."


def test_the_map_shown_is_chosen_and_says_what_it_means(a_widget, a_scene):
    ui = a_widget.ui
    assert entries(ui.attentionMapComboBox) == ["None", "case 1 tau, stage 4", "case 1 k, stage 4"]
    assert ui.attentionMapComboBox.currentIndex == 1
    assert ui.attentionMeaningLabel.text == "Share of neighbours that each place attends to."
    assert ui.windowLabel.text == "Colours from 0 to 1, the same for every image."
    assert ui.fixedWindowCheckBox.checked
    assert not ui.windowPercentileSlider.enabled
    assert ui.legendCheckBox.checked
    assert ui.attentionColorsComboBox.currentText == "MedSegAttention Viridis"
    assert ui.opacitySlider.value == 0.5
    assert (ui.thresholdSlider.minimum, ui.thresholdSlider.value, ui.thresholdSlider.maximum) == (0, 0, 1)


def test_the_threshold_steps_through_the_range_of_each_map(a_widget, a_scene):
    ui, node = a_widget.ui, overlay(a_scene)
    slider = ui.thresholdSlider
    assert slider.singleStep == pytest.approx(0.01)
    values = node.GetImageData().GetPointData().GetScalars()
    values.Fill(0)
    values.Modified()
    for largest in (0.005, 1.0):
        node.SetAttribute("MedSegAttention.Range", f"0.0 {largest}")
        assert (slider.maximum, slider.singleStep) == (largest, pytest.approx(largest / 100))
        assert slider.decimals == (2 if largest == 1 else 4)


def test_the_threshold_chosen_for_a_probability_is_in_record_and_report(
    a_runner, a_volume_node, open_module, a_scene, tmp_path, texts
):
    tau = a_runner.result.attention["tau_stage4"]
    liver = AttentionVolume(probability_map(a_runner.result.classes[0]), tau.array, tau.ijk_to_ras)
    a_runner.result = replace(a_runner.result, attention={liver.map.name: liver, "tau_stage4": tau})
    widget = open_module()
    widget.ui.taskComboBox.setCurrentIndex(3)
    widget.ui.applyButton.click()
    (segmentation,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")

    def recorded() -> dict:
        export_segmentation(segmentation, tmp_path / "x.nii.gz")
        return json.loads((tmp_path / "x.json").read_text())["probability_thresholds"]

    assert recorded() == {}
    write_report(segmentation, tmp_path / "r.png")
    assert "Probability shown" not in "".join(texts)
    widget.ui.thresholdSlider.value = 0.35
    assert recorded() == {"probability_liver": 0.35}
    write_report(segmentation, tmp_path / "r.png")
    assert "Probability shown: liver from 0.35" in texts
    entry = entries(widget.ui.attentionMapComboBox).index("case 1 tau, stage 4")
    widget.ui.attentionMapComboBox.setCurrentIndex(entry)
    widget.ui.thresholdSlider.value = 0.5  # of another kind of map
    assert recorded() == {"probability_liver": 0.35}


def test_another_map_takes_the_place_of_the_first_with_its_opacity(a_widget, a_scene):
    ui = a_widget.ui
    ui.opacitySlider.value = 0.8
    ui.attentionMapComboBox.setCurrentIndex(2)
    assert shown_overlay(a_scene) is overlay(a_scene, "k_stage4")
    assert {view.GetForegroundOpacity() for view in slice_views(a_scene)} == {0.8}
    assert ui.attentionMeaningLabel.text == "The checkpoint does not say what this map means."
    ui.attentionMapComboBox.setCurrentIndex(0)
    assert shown_overlay(a_scene) is None
    assert not ui.opacitySlider.enabled
    ui.attentionMapComboBox.setCurrentIndex(1)
    assert overlay_opacity(a_scene, overlay(a_scene)) == 0.8


def test_every_control_changes_the_picture(a_widget, a_scene):
    ui, seen = a_widget.ui, [picture(a_scene)]
    for change in (
        lambda: ui.opacitySlider.setValue(0.9),
        lambda: ui.attentionColorsComboBox.setCurrentIndex(1),
        ui.fixedWindowCheckBox.click,
        lambda: ui.windowPercentileSlider.setValues(30, 60),
        lambda: ui.thresholdSlider.setValue(0.6),
    ):
        change()
        seen.append(picture(a_scene))
        assert np.abs(seen[-1] - seen[-2]).max() > 5
    node = overlay(a_scene)
    values = slicer.util.arrayFromVolume(node)
    np.testing.assert_allclose(overlay_display.window(node), np.percentile(values, (30, 60)), atol=1e-6)
    assert node.GetDisplayNode().GetLowerThreshold() == 0.6
    assert node.GetDisplayNode().GetColorNode().GetName() == "Grey"
    assert ui.windowLabel.text.endswith("stretched to this map, not comparable with others.")
    ui.fixedWindowCheckBox.click()
    assert overlay_display.window(node) == (0, 1)
    ui.legendCheckBox.click()
    assert not overlay_display.legend(node).GetVisibility()


def test_what_is_changed_elsewhere_is_shown_here(a_widget, a_scene, a_volume_node):
    ui, node = a_widget.ui, overlay(a_scene)
    display = node.GetDisplayNode()
    display.SetWindowLevelMinMax(0.25, 0.5)
    assert ui.windowLabel.text == "Colours from 0.25 to 0.5: set by hand, not comparable with others."
    display.SetThreshold(0.3, 1)
    assert ui.thresholdSlider.value == 0.3
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeRainbow")
    assert ui.attentionColorsComboBox.currentText == "Rainbow"
    overlay_display.legend(node).SetVisibility(False)
    assert not ui.legendCheckBox.checked
    for view in slice_views(a_scene):
        view.SetForegroundOpacity(0.2)
    assert ui.opacitySlider.value == 0.2
    for view in slice_views(a_scene):
        view.SetForegroundVolumeID(overlay(a_scene, "k_stage4").GetID())
    assert ui.attentionMapComboBox.currentIndex == 2
    for view in slice_views(a_scene):
        view.SetForegroundVolumeID(a_volume_node.GetID())
    assert ui.attentionMapComboBox.currentIndex == 0


def test_showing_the_panel_changes_nothing(a_widget, a_scene):
    overlay(a_scene).GetDisplayNode().SetWindowLevelMinMax(0.123456789, 0.5)
    overlay(a_scene).GetDisplayNode().SetThreshold(0.123456789, 1.5)
    before, shown = snapshot(a_scene), picture(a_scene)
    a_widget.exit()
    a_widget.enter()
    assert overlay(a_scene).GetDisplayNode().GetLowerThreshold() == 0.123456789
    assert snapshot(a_scene) == before
    np.testing.assert_array_equal(picture(a_scene), shown)


def test_only_maps_of_the_chosen_result_are_offered(a_widget, a_scene, a_result):
    elsewhere = add_volume(a_scene, replace(an_image(), name="case 2"))
    other = write_result(a_scene, a_result_on(an_image()), elsewhere)
    ui = a_widget.ui
    assert len(entries(ui.attentionMapComboBox)) == 3
    assert ui.attentionMapComboBox.currentIndex == 0  # the views show the other case
    ui.resultSelector.setCurrentNode(other.segmentation)
    assert entries(ui.attentionMapComboBox) == ["None", "case 2 tau, stage 4"]
    assert ui.attentionMapComboBox.currentIndex == 1
    ui.resultSelector.setCurrentNode(None)  # then the maps of the input volume
    assert len(entries(ui.attentionMapComboBox)) == 3


def test_maps_come_and_go_with_the_scene(a_widget, a_scene, a_volume_node, a_result):
    ui = a_widget.ui
    write_attention(a_scene, a_result.attention["tau_stage4"], a_volume_node, a_result.provenance)
    assert len(entries(ui.attentionMapComboBox)) == 4
    shown = overlay(a_scene)
    a_scene.RemoveNode(shown)
    assert len(entries(ui.attentionMapComboBox)) == 3
    assert not ui.opacitySlider.enabled
    assert shown not in {observation[0] for observation in a_widget.panel._attention._watched}
    a_scene.Clear(False)
    assert entries(ui.attentionMapComboBox) == []


def test_nothing_is_observed_or_changed_once_the_panel_is_closed(a_widget, a_scene):
    ui, view = a_widget.ui, slice_views(a_scene)[0]
    assert view.HasObserver("ModifiedEvent")
    a_widget.cleanup()
    assert a_widget.panel._attention._watched == {}
    before = picture(a_scene)
    ui.opacitySlider.enabled = True
    ui.opacitySlider.value = 1.0
    np.testing.assert_array_equal(picture(a_scene), before)
