"""Edit, redo and running again, by the widgets of the panel; Segment Editor is a test double over its real node."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import slicer

from conftest import some_labels
from MedSegAttentionLib.scene.corrections import corrected_slices
from MedSegAttentionLib.scene.label_maps import label_map
from slicer_double.fakes import nodes_of

pytest_plugins = ["slicer_double.fixtures"]


@pytest.fixture
def a_widget(a_volume_node, open_module, a_runner):
    """The open module after a run on the abdomen."""
    told = {"slice_axis": "k", "task": "abdomen", "checkpoint": "abdomen-ct-x", "slices": [9, 9]}
    a_runner.result.provenance.update(
        told, checkpoint_version="1", settings={"axis": "auto", "force": True, "device": "auto"}
    )
    widget = open_module()
    widget.ui.taskComboBox.setCurrentIndex(3)
    widget.ui.applyButton.click()
    return widget


@pytest.fixture
def a_node(a_widget):
    return a_widget.logic.getParameterNode().result


def erase(node, segment_id: str, k: int) -> None:
    """All of a segment in one slice, on its own label map."""
    labels = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, segment_id)
    labels[k][labels[k] == node.GetSegmentation().GetSegment(segment_id).GetLabelValue()] = 0
    node.GetSegmentation().GetSegment(segment_id).GetRepresentation("Binary labelmap").Modified()


def show_slice(scene, volume_node, k: int) -> None:
    matrix = slicer.vtkMRMLSliceNode().GetSliceToRAS().__class__()
    volume_node.GetIJKToRASMatrix(matrix)
    scene.GetNodeByID("vtkMRMLSliceNodeRed").SetSliceOffset(matrix.MultiplyPoint((0, 0, k, 1))[2])


def test_edit_hands_result_image_and_segment_to_segment_editor(a_widget, a_node, a_volume_node, an_application):
    an_application.leaves = a_widget.exit
    a_widget.ui.segmentsTable.setCurrentCell(1, 1)
    a_widget.ui.editButton.click()
    assert an_application.selected == ["SegmentEditor"]
    editor = an_application.segment_editor
    assert editor.told == {"segmentation": a_node, "volume": a_volume_node, "segment": "left kidney"}
    assert editor.node.GetMaskMode() == slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere
    assert editor.node.GetOverwriteMode() == editor.node.OverwriteAllSegments
    erase(a_node, "liver", 2)
    a_widget.enter()
    assert a_widget.logic.getParameterNode().result is a_node
    assert "Corrected by hand: slice 3." in a_widget.ui.resultNotesLabel.text


def test_without_a_result_there_is_nothing_to_edit(open_module):
    ui = open_module().ui
    assert not any(button.enabled for button in (ui.editButton, ui.redoSliceButton, ui.redoRangeButton))


@pytest.mark.parametrize("confirms", [True, False])
def test_running_again_asks_where_a_person_corrected(a_widget, a_node, a_scene, an_application, confirms):
    erase(a_node, "liver", 2)
    an_application.confirms = confirms
    a_widget.ui.applyButton.click()
    ((function, text),) = an_application.shown
    assert function == "confirmOkCancelDisplay"
    assert text.startswith(f"{a_node.GetName()} was corrected by hand.")
    assert len(nodes_of(a_scene, "vtkMRMLSegmentationNode")) == (2 if confirms else 1)
    assert corrected_slices(a_node) == [2]  # and is kept either way


def test_running_again_asks_nothing_where_nobody_did(a_widget, a_node, an_application):
    a_widget.ui.applyButton.click()
    assert an_application.shown == []


def test_redo_makes_the_slice_in_view_anew_as_the_run_before(
    a_widget, a_node, a_scene, a_volume_node, a_runner, an_application
):
    labels = some_labels()
    labels[2, 10:12, 10:12] = 7
    a_runner.result = replace(a_runner.result, labels=labels)
    show_slice(a_scene, a_volume_node, 2)
    a_widget.ui.redoSliceButton.click()
    settings = a_runner.calls[-1]["settings"]
    assert (a_runner.calls[-1]["task"], a_runner.calls[-1]["checkpoint"]) == ("abdomen", "abdomen-ct-x")
    assert (settings.slices, settings.axis, settings.force, settings.attention) == ((2, 2), "k", True, False)
    assert nodes_of(a_scene, "vtkMRMLSegmentationNode") == [a_node]
    found = label_map(a_node)
    assert int((found.array == found.values["spleen"]).sum()) == 4
    assert a_widget.ui.statusLabel.text == "Made anew: slice 3; all else is as it was."
    assert "Made anew later: slice 3." in a_widget.ui.resultNotesLabel.text
    assert [row for row in range(4) if a_widget.ui.segmentsTable.item(row, 1).text() == "spleen"]
    assert an_application.shown == []
    assert len(a_widget.ui.attentionMapComboBox.itemText(1)) > 0  # the maps of the run are still offered


@pytest.mark.parametrize("confirms", [True, False])
def test_redo_asks_before_it_replaces_corrections(a_widget, a_node, a_runner, an_application, confirms):
    erase(a_node, "liver", 2)
    ui, runs = a_widget.ui, len(a_runner.calls)
    assert not ui.redoRangeButton.enabled
    ui.sliceRangeSlider.setValues(2, 5)
    an_application.confirms = confirms
    ui.redoRangeButton.click()
    ((function, text),) = an_application.shown
    assert (function, "corrected by hand in slice 3 will be replaced" in text) == ("confirmOkCancelDisplay", True)
    assert len(a_runner.calls) - runs == confirms
    assert corrected_slices(a_node) == ([] if confirms else [2])


def test_redo_outside_of_corrections_asks_nothing_and_keeps_them(a_widget, a_node, a_runner, an_application):
    erase(a_node, "liver", 2)
    a_widget.ui.sliceRangeSlider.setValues(5, 9)
    a_widget.ui.redoRangeButton.click()
    assert an_application.shown == []
    assert a_runner.calls[-1]["settings"].slices == (4, 8)
    assert corrected_slices(a_node) == [2]


def test_no_slice_in_view_says_so(a_widget, a_scene, a_volume_node, a_runner):
    runs = len(a_runner.calls)
    show_slice(a_scene, a_volume_node, 400)
    a_widget.ui.redoSliceButton.click()
    assert a_widget.ui.statusLabel.text.startswith("No slice view shows a slice")
    assert len(a_runner.calls) == runs


def test_a_redo_that_fails_changes_nothing(a_widget, a_node, a_scene, a_volume_node, a_runner, an_application):
    before = label_map(a_node)
    a_runner.errors = [RuntimeError("bad luck")]
    show_slice(a_scene, a_volume_node, 2)
    a_widget.ui.redoSliceButton.click()
    assert [function for function, _text in an_application.shown] == ["errorDisplay"]
    assert (label_map(a_node).array == before.array).all()
    assert a_widget.ui.redoSliceButton.enabled


def test_the_record_says_corrected_by_hand(a_widget, a_node, an_application, tmp_path):
    erase(a_node, "liver", 2)
    an_application.chosen = [str(tmp_path / "a.nii.gz")]
    a_widget.ui.exportButton.click()
    assert json.loads((tmp_path / "a.json").read_text())["corrected_by_hand"] == [2]
    an_application.chosen = [str(tmp_path / "a.seg.nrrd")]
    a_widget.ui.exportButton.click()
    assert b"SEMIAUTOMATIC" in (tmp_path / "a.seg.nrrd").read_bytes().split(b"\n\n")[0]
