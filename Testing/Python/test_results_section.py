"""The results section on real MRML, driven by its widgets; Slicer's window is a test double."""

from __future__ import annotations

import csv
import time
from dataclasses import replace

import numpy as np
import pytest
import slicer
import vtk
from PySide6 import QtCore

from conftest import some_labels
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.scene.nodes import provenance_of, set_provenance
from MedSegAttentionLib.scene.segmentation import is_surface_shown, write_segmentation
from MedSegAttentionLib.scene.volumes import add_volume
from scene_tools import add_transform
from slicer_double.fakes import nodes_of

pytest_plugins = ["slicer_double.fixtures"]


EYE, NAME, SIZE, SLICES, QUALITY, MARK = range(6)


def table(ui) -> list[list[str]]:
    items = ui.segmentsTable
    return [[items.item(row, column).text() for column in (NAME, SIZE, SLICES)] for row in range(items.rowCount)]


def wait_for_surfaces(widget, application):
    end = time.monotonic() + 60
    while widget.panel._results._surfaces is not None:
        assert time.monotonic() < end
        application.processEvents()
        time.sleep(0.01)


def observed(widget) -> set:
    """What the sections of the panel observe."""
    return {observation[0] for section in widget.panel._sections for observation in section._watched}


def header(ui) -> list[str]:
    return [ui.segmentsTable.horizontalHeaderItem(column).text() for column in (NAME, SIZE, SLICES)]


def liver() -> int:
    return int((some_labels() == 1).sum())


def test_a_run_shows_its_result(a_widget, a_scene):
    ui, (node,) = a_widget.ui, nodes_of(a_scene, "vtkMRMLSegmentationNode")
    assert ui.resultSelector.currentNode() is node
    assert header(ui) == ["Segment", "mL", "Slices"]
    assert table(ui) == [
        ["liver", f"{liver() / 1000:.3f}", "3"],
        ["left kidney", "0.063", "3"],
        ["polyp", "0.004", "2"],
        ["spleen", "not found", "0"],
    ]
    assert ui.resultNotesLabel.text == 'a "quoted": text; with | and ü'
    swatch = ui.segmentsTable.item(0, NAME).data(1)  # the decoration
    assert (swatch.red(), swatch.green(), swatch.blue()) == (140, 66, 94)
    assert ui.segmentsTable.item(3, NAME).data(1) is None


def test_names_alone_can_be_typed_and_an_empty_one_changes_nothing(a_widget, a_scene, an_application):
    ui, (node,) = a_widget.ui, nodes_of(a_scene, "vtkMRMLSegmentationNode")
    assert ui.segmentsTable.editTriggers == 2  # a double click
    flags = [ui.segmentsTable.item(0, column).flags() for column in range(6)]
    assert [bool(flag & QtCore.Qt.ItemIsEditable) for flag in flags] == [False, True, False, False, False, False]
    assert not ui.segmentsTable.item(3, NAME).flags() & QtCore.Qt.ItemIsEditable  # not found: nothing to rename
    for typed, name in (("left lobe", "left lobe"), ("  ", "left lobe")):
        ui.segmentsTable.item(0, NAME).setText(typed)
        an_application.processEvents()
        assert node.GetSegmentation().GetSegment("liver").GetName() == name
        assert table(ui)[0][0] == name


def test_the_box_of_a_segment_hides_it_in_the_views_and_follows_them(a_widget, a_scene):
    ui, (node,) = a_widget.ui, nodes_of(a_scene, "vtkMRMLSegmentationNode")
    display, box = node.GetDisplayNode(), ui.segmentsTable.item(1, EYE)
    assert box.checkState() == QtCore.Qt.Checked
    box.setCheckState(QtCore.Qt.Unchecked)
    assert [display.GetSegmentVisibility(name) for name in ("liver", "left kidney")] == [True, False]
    display.SetSegmentVisibility("left kidney", True)  # as Slicer's own modules do
    assert ui.segmentsTable.item(1, EYE).checkState() == QtCore.Qt.Checked
    display.SetVisibility(False)
    assert ui.segmentsTable.item(0, EYE).checkState() == QtCore.Qt.Unchecked


def test_a_click_shows_the_slice_where_the_segment_is_largest(a_widget, a_scene, a_volume_node, a_runner):
    labels = some_labels()
    labels[2, 2:16, 3:20] = 1  # by far the most of the liver
    write_segmentation(a_scene, replace(a_runner.result, labels=labels), a_volume_node)
    node = nodes_of(a_scene, "vtkMRMLSegmentationNode")[-1]
    a_widget.ui.resultSelector.setCurrentNode(node)
    a_widget.ui.segmentsTable.cellClicked.emit(0, NAME)
    to_ras = vtk.vtkMatrix4x4()
    a_volume_node.GetIJKToRASMatrix(to_ras)
    assert a_scene.GetNodeByID("vtkMRMLSliceNodeRed").GetSliceOffset() == pytest.approx(
        to_ras.MultiplyPoint((0, 0, 2, 1))[2]
    )
    a_widget.ui.segmentsTable.cellClicked.emit(3, NAME)  # the spleen was not found: nowhere to go


def test_the_quality_that_is_to_be_expected_has_a_column_once_it_is_known(
    open_module, a_scene, a_volume_node, a_result
):
    ui = open_module().ui
    told = a_result.provenance | {"expected": {"liver": {"dice": 0.874, "interval": [0.8, 0.92]}}}
    first = write_segmentation(a_scene, a_result, a_volume_node)
    second = write_segmentation(a_scene, replace(a_result, provenance=told), a_volume_node)
    ui.resultSelector.setCurrentNode(first)
    assert ui.segmentsTable.isColumnHidden(QUALITY)
    ui.resultSelector.setCurrentNode(second)
    assert not ui.segmentsTable.isColumnHidden(QUALITY)
    assert ui.segmentsTable.item(0, QUALITY).text() == "0.87"
    assert "between 0.80 and 0.92" in ui.segmentsTable.item(0, QUALITY).toolTip()
    assert ui.segmentsTable.item(1, QUALITY).text() == ""


def test_slices_to_look_at_first_are_a_click_away(open_module, a_scene, a_volume_node, a_result):
    ui = open_module().ui
    assert ui.lookFirstLabel.isHidden()
    told = {"slice_axis": "k", "look_first": [3, 0], "look_first_reasons": ["many doubts <here>", "the liver ends"]}
    node = write_segmentation(a_scene, replace(a_result, provenance=a_result.provenance | told), a_volume_node)
    ui.resultSelector.setCurrentNode(node)
    assert ui.lookFirstLabel.text == 'Look here first: slice <a href="3">4</a>, <a href="0">1</a>'
    assert "Slice 4: many doubts" in ui.lookFirstLabel.toolTip
    ui.lookFirstLabel.linkActivated.emit("3")
    to_ras = vtk.vtkMatrix4x4()
    a_volume_node.GetIJKToRASMatrix(to_ras)
    assert a_scene.GetNodeByID("vtkMRMLSliceNodeRed").GetSliceOffset() == pytest.approx(
        to_ras.MultiplyPoint((0, 0, 3, 1))[2]
    )


def test_the_table_goes_to_the_clipboard_and_to_a_file(a_widget, an_application, tmp_path):
    ui, path = a_widget.ui, tmp_path / "sizes.csv"
    ui.copyTableButton.click()
    first, liver_row, *_rest = an_application.clipboard().text().split("\n")
    assert first.split("\t")[:4] == ["segment", "size", "unit", "slices"]
    assert liver_row.split("\t")[:5] == ["liver", f"{liver() / 1000:g}", "mL", "3", "9"]
    an_application.chosen = [str(path)]
    ui.exportButton.click()
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1][:5] == ["liver", f"{liver() / 1000:g}", "mL", "3", "9"]
    assert rows[4][0::6] == ["spleen", "not found"]
    assert ui.statusLabel.text == f"Wrote {path}"


@pytest.mark.parametrize("name", ["a.seg.nrrd", "a.nii.gz", "a.png"])
def test_export_writes_what_the_ending_says(a_widget, an_application, tmp_path, name):
    an_application.chosen = [str(tmp_path / name)]
    a_widget.ui.exportButton.click()
    assert (tmp_path / name).stat().st_size > 0
    assert a_widget.ui.statusLabel.text.startswith("Wrote ")


def test_an_export_that_cannot_be_says_why_and_a_closed_dialog_nothing(a_widget, an_application, tmp_path):
    before = a_widget.ui.statusLabel.text
    an_application.chosen = ["", str(tmp_path / "a.docx")]
    a_widget.ui.exportButton.click()
    assert (a_widget.ui.statusLabel.text, an_application.shown) == (before, [])
    a_widget.ui.exportButton.click()
    ((function, text),) = an_application.shown
    assert (function, "expected .seg.nrrd" in text, a_widget.ui.statusLabel.text) == ("errorDisplay", True, text)


def test_only_segmentations_of_this_module_are_offered(a_widget, a_scene):
    a_scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn by hand")
    (node, _) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    assert a_widget.ui.resultSelector._nodes() == [node]


def test_edits_are_counted_at_once(a_widget, a_scene, a_volume_node):
    (node,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    segmentation = node.GetSegmentation()
    segmentation.GetSegment("liver").SetName("my liver")
    assert table(a_widget.ui)[0][0] == "my liver"
    segmentation.RemoveSegment("left kidney")
    assert [row[0] for row in table(a_widget.ui)] == ["my liver", "polyp", "spleen"]
    transform = add_transform(a_scene, a_volume_node)
    node.SetAndObserveTransformNodeID(transform.GetID())
    assert table(a_widget.ui)[0][1] == f"{liver() * 1.1 / 1000:.3f}"
    corrected, sizes, *_warnings = a_widget.ui.resultNotesLabel.text.splitlines()
    assert corrected == "Corrected by hand: slices 6 to 8."  # those of the kidney that was removed
    assert sizes == "Sizes are those after the linear transform."


def test_a_surface_comes_and_goes(a_widget, a_scene, an_application):
    (node,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    button = a_widget.ui.show3DButton
    assert (button.enabled, button.checked) == (True, False)
    button.click()
    assert (button.text, button.enabled) == ("Making...", False)
    wait_for_surfaces(a_widget, an_application)
    assert (button.text, button.enabled, button.checked) == ("Show 3D", True, True)
    assert is_surface_shown(node)
    node.RemoveClosedSurfaceRepresentation()  # as Slicer's own module does
    assert not button.checked
    button.click()
    wait_for_surfaces(a_widget, an_application)
    node.GetDisplayNode().SetVisibility3D(False)
    assert not button.checked
    button.click()
    wait_for_surfaces(a_widget, an_application)
    assert is_surface_shown(node)
    button.click()
    assert not is_surface_shown(node)


def test_3d_views_look_at_the_first_surfaces_and_then_stay_where_the_user_turned_them(
    a_widget, a_scene, an_application
):
    an_application.views = lambda: b""
    a_widget.ui.show3DButton.click()
    wait_for_surfaces(a_widget, an_application)
    assert an_application.resets_of_3d == 1
    a_scene.AddNewNodeByClass("vtkMRMLModelNode").CreateDefaultDisplayNodes()
    for _ in range(2):  # away and back
        a_widget.ui.show3DButton.click()
        wait_for_surfaces(a_widget, an_application)
    assert an_application.resets_of_3d == 1


@pytest.mark.parametrize("seen", [True, False])
def test_after_a_run_surfaces_come_by_themselves_where_a_3d_view_is_seen(a_widget, a_scene, an_application, seen):
    a_scene.AddNewNodeByClass("vtkMRMLViewNode").SetMappedInLayout(seen)
    a_widget.ui.applyButton.click()
    wait_for_surfaces(a_widget, an_application)
    assert is_surface_shown(nodes_of(a_scene, "vtkMRMLSegmentationNode")[-1]) is seen


@pytest.mark.parametrize("end", ["edited", "removed", "closed"])
def test_a_result_that_changes_meanwhile_gets_no_surface(a_widget, a_scene, an_application, end):
    (node,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    a_widget.ui.show3DButton.click()
    if end == "edited":
        labels = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, "liver")
        labels[0, 0, 0] = 1
        node.GetSegmentation().GetSegment("liver").GetRepresentation("Binary labelmap").Modified()
    elif end == "removed":
        a_scene.RemoveNode(node)
    else:
        folder = a_widget.panel._results._surfaces._folder
        assert folder.exists()
        a_widget.cleanup()
        assert not folder.exists()
    wait_for_surfaces(a_widget, an_application)
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")


def test_a_photograph_has_pixels_and_no_surface(open_module, a_scene, a_result):
    picture = VolumeImage(np.zeros((1, 20, 24, 3), np.uint8), np.diag([-0.35, -0.35, 1.0, 1.0]), "photo")
    volume_node = add_volume(a_scene, picture)
    result = replace(a_result, labels=some_labels()[1:2], attention={})
    node = write_segmentation(a_scene, result, volume_node)
    widget = open_module()
    widget.ui.resultSelector.setCurrentNode(node)
    assert header(widget.ui)[1] == "Pixels"
    assert table(widget.ui)[0] == ["liver", "56", "1"]
    assert not widget.ui.show3DButton.enabled
    assert widget.ui.resultNotesLabel.text.startswith("The image has no spacing in millimetres")


def test_a_cancelled_run_says_which_slices_it_has(open_module, a_scene, a_volume_node, a_partial_result):
    node = write_segmentation(a_scene, a_partial_result, a_volume_node)
    widget = open_module()
    widget.ui.resultSelector.setCurrentNode(node)
    assert widget.ui.resultNotesLabel.text.startswith("Partial: only slices 3 to 7 are segmented.")


def test_a_segmentation_without_label_map_says_why_nothing_is_counted(a_widget, a_scene, an_application):
    (node,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    a_widget.ui.show3DButton.click()
    wait_for_surfaces(a_widget, an_application)
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.RemoveBinaryLabelmapRepresentation()
    a_widget.exit()
    a_widget.enter()
    assert table(a_widget.ui) == []
    assert "no binary label map" in a_widget.ui.resultNotesLabel.text


@pytest.mark.parametrize("how", ["removed", "closed"])
def test_a_result_that_leaves_the_scene_leaves_the_panel(a_widget, a_scene, how):
    (node,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    segmentation = node.GetSegmentation()
    a_scene.RemoveNode(node) if how == "removed" else a_scene.Clear(False)
    ui = a_widget.ui
    assert (ui.resultSelector.currentNode(), table(ui)) == (None, [])
    assert ui.resultNotesLabel.text == "Nothing is segmented yet."
    assert not ui.show3DButton.enabled
    assert segmentation not in observed(a_widget)
    ui.show3DButton.click()


def test_the_result_is_kept_in_the_scene(a_widget, open_module, a_scene):
    (node,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    a_widget.exit()
    ui = open_module().ui
    assert ui.resultSelector.currentNode() is node
    assert len(table(ui)) == 4


def test_nothing_is_observed_once_the_panel_is_left(a_widget, a_scene):
    (node,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    assert {node, node.GetSegmentation()} <= observed(a_widget)
    a_widget.exit()
    assert observed(a_widget) == set()
    a_widget.enter()
    assert node in observed(a_widget)
    a_widget.cleanup()
    assert observed(a_widget) == set()
    a_widget.ui.show3DButton.click()
    assert not is_surface_shown(node)


def test_a_section_keeps_no_node_in_memory(an_application, a_scene):
    from MedSegAttentionLib.panel.section import Section

    section, node = Section(None), a_scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    memory = vtk.vtkWeakReference()
    memory.Set(node)
    section._watch((node, vtk.vtkCommand.ModifiedEvent, section._update))
    assert node.HasObserver("ModifiedEvent")
    a_scene.RemoveNode(node)
    section._watch()
    del node
    assert memory.Get() is None


def test_an_organ_that_the_border_cuts_is_marked_and_told(open_module, a_scene, a_volume_node, a_result):
    text = "reaches the last slice of the image: its volume is a lower bound."
    told = replace(a_result, provenance=a_result.provenance | {"findings": {"liver": [text]}})
    node = write_segmentation(a_scene, told, a_volume_node)
    ui = open_module().ui
    ui.resultSelector.setCurrentNode(node)
    assert table(ui)[0][1] == f"≥ {liver() / 1000:.3f}"
    assert not table(ui)[1][1].startswith("≥")
    marks = [ui.segmentsTable.item(row, MARK).text() for row in range(2)]
    assert (marks, ui.segmentsTable.isColumnHidden(MARK)) == (["⚠", ""], False)
    assert ui.segmentsTable.item(0, MARK).toolTip() == text
    assert f"liver {text}" in ui.resultNotesLabel.text


def test_what_holds_of_several_organs_is_said_of_each(open_module, a_scene, a_volume_node, a_result):
    text = "reaches the last slice of the image: its volume is a lower bound."
    told = replace(a_result, provenance=a_result.provenance | {"findings": {"liver": [text], "polyp": [text]}})
    ui = open_module().ui
    ui.resultSelector.setCurrentNode(write_segmentation(a_scene, told, a_volume_node))
    assert f"Each of liver, polyp {text}" in ui.resultNotesLabel.text


def test_what_was_found_before_a_correction_is_not_said_of_what_is_there_now(a_widget, a_scene):
    (node,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    set_provenance(node, provenance_of(node) | {"findings": {"liver": ["has 2516 mL"]}})
    node.GetSegmentation().RemoveSegment(node.GetSegmentation().GetNthSegmentID(1))
    assert "Before the correction: liver has 2516 mL" in a_widget.ui.resultNotesLabel.text.splitlines()


def test_an_empty_table_has_its_headings(open_module):
    assert header(open_module().ui) == ["Segment", "mL", "Slices"]


def test_a_closed_scene_leaves_no_word_of_its_runs(a_widget, a_scene):
    assert a_widget.ui.statusLabel.text.startswith("Finished")
    a_scene.Clear(False)
    assert a_widget.ui.statusLabel.text == "Choose an input volume"
    assert a_widget.ui.segmentsTable.rowCount == 0
