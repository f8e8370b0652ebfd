"""The results section on real MRML, driven by its widgets; Slicer's window is a test double."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import vtk

from conftest import some_labels
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.scene.segmentation import is_surface_shown, write_segmentation
from MedSegAttentionLib.scene.volumes import add_volume
from scene_tools import add_transform
from slicer_double.fakes import nodes_of

pytest_plugins = ["slicer_double.fixtures"]


@pytest.fixture
def a_widget(a_volume_node, open_module):
    """The open module after a run on the abdomen."""
    widget = open_module()
    widget.ui.taskComboBox.setCurrentIndex(3)
    widget.ui.applyButton.click()
    return widget


def table(ui) -> list[list[str]]:
    items = ui.segmentsTable
    return [[items.item(row, column).text() for column in range(3)] for row in range(items.rowCount)]


def observed(widget) -> set:
    """What the sections of the panel observe."""
    return {observation[0] for section in widget.panel._sections for observation in section._watched}


def header(ui) -> list[str]:
    return [ui.segmentsTable.horizontalHeaderItem(column).text() for column in range(3)]


def liver() -> int:
    return int((some_labels() == 1).sum())


def test_a_run_shows_its_result(a_widget, a_scene):
    ui, (node,) = a_widget.ui, nodes_of(a_scene, "vtkMRMLSegmentationNode")
    assert ui.resultSelector.currentNode() is node
    assert header(ui) == ["Segment", "Volume (mL)", "Slices"]
    assert table(ui) == [
        ["liver", f"{liver() / 1000:.3f}", "3 of 9"],
        ["left kidney", "0.063", "3 of 9"],
        ["polyp", "0.004", "2 of 9"],
        ["spleen", "not found", "0"],
    ]
    assert ui.resultNotesLabel.text == 'a "quoted": text; with | and ü'
    swatch = ui.segmentsTable.item(0, 0).data(1)  # the decoration
    assert (swatch.red(), swatch.green(), swatch.blue()) == (221, 130, 101)
    assert ui.segmentsTable.item(3, 0).data(1) is None


def test_nothing_can_be_typed_into_the_table(a_widget):
    assert a_widget.ui.segmentsTable.editTriggers == 0


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
    assert a_widget.ui.resultNotesLabel.text.startswith("Sizes are those after the linear transform.")


def test_a_surface_comes_and_goes(a_widget, a_scene):
    (node,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    button = a_widget.ui.show3DButton
    assert (button.enabled, button.checked) == (True, False)
    button.click()
    assert is_surface_shown(node)
    node.RemoveClosedSurfaceRepresentation()  # as Slicer's own module does
    assert not button.checked
    button.click()
    node.GetDisplayNode().SetVisibility3D(False)
    assert not button.checked
    button.click()
    assert is_surface_shown(node)
    button.click()
    assert not is_surface_shown(node)


def test_a_photograph_has_pixels_and_no_surface(open_module, a_scene, a_result):
    picture = VolumeImage(np.zeros((1, 20, 24, 3), np.uint8), np.diag([-0.35, -0.35, 1.0, 1.0]), "photo")
    volume_node = add_volume(a_scene, picture)
    result = replace(a_result, labels=some_labels()[1:2], attention={})
    node = write_segmentation(a_scene, result, volume_node)
    widget = open_module()
    widget.ui.resultSelector.setCurrentNode(node)
    assert header(widget.ui)[1] == "Area (pixels)"
    assert table(widget.ui)[0] == ["liver", "56", "1 of 1"]
    assert not widget.ui.show3DButton.enabled
    assert widget.ui.resultNotesLabel.text.startswith("The image has no spacing in millimetres")


def test_a_cancelled_run_says_which_slices_it_has(open_module, a_scene, a_volume_node, a_partial_result):
    node = write_segmentation(a_scene, a_partial_result, a_volume_node)
    widget = open_module()
    widget.ui.resultSelector.setCurrentNode(node)
    assert widget.ui.resultNotesLabel.text.startswith("The run was cancelled: slices 3 to 7 alone are segmented.")


def test_a_segmentation_without_label_map_says_why_nothing_is_counted(a_widget, a_scene):
    (node,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    a_widget.ui.show3DButton.click()
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
    assert f"liver {text}" in ui.resultNotesLabel.text


def test_every_row_is_in_sight_and_nothing_grows(a_widget, an_application):
    """Laid out by Qt itself: in Slicer a table that followed its content once widened the panel without end."""
    ui, panel = a_widget.ui, a_widget.parent
    panel.resize(380, 900)
    panel.show()
    table_widget, sizes = ui.segmentsTable, []
    for _ in range(20):
        an_application.processEvents()
        sizes.append((panel.minimumSizeHint.width(), table_widget.minimumHeight, table_widget.maximumHeight))
    assert len(set(sizes)) == 1
    needed = table_widget.horizontalHeader().height() + sum(table_widget.rowHeight(n) for n in range(4))
    assert table_widget.minimumHeight >= needed
    assert panel.minimumSizeHint.width() <= 400


def test_an_empty_table_has_its_headings(open_module):
    assert header(open_module().ui) == ["Segment", "Volume (mL)", "Slices"]


def test_a_closed_scene_leaves_no_word_of_its_runs(a_widget, a_scene):
    assert a_widget.ui.statusLabel.text.startswith("Finished")
    a_scene.Clear(False)
    assert a_widget.ui.statusLabel.text == ""
    assert a_widget.ui.segmentsTable.rowCount == 0
