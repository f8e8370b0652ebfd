"""Comparing a result with another segmentation of the scene, by the widgets of the panel, on real MRML."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import vtk

from conftest import some_labels
from MedSegAttentionLib.scene.disagreement import disagreement_of
from MedSegAttentionLib.scene.segmentation import write_segmentation
from scene_tools import add_transform
from slicer_double.fakes import nodes_of

pytest_plugins = ["slicer_double.fixtures"]


def drawn_by_hand(scene, volume_node, a_result):
    """Another liver: one voxel column less in slice 2, none of slice 3; no provenance of ours."""
    labels = some_labels()
    labels[2, :, 3] = 0
    labels[3][labels[3] == 1] = 0
    node = write_segmentation(scene, replace(a_result, labels=labels), volume_node)
    node.SetName("by hand")
    for name in ("MedSegAttention.Provenance", "MedSegAttention.Checkpoint"):
        node.RemoveAttribute(name)
    return node


@pytest.fixture
def by_hand(a_widget, a_scene, a_volume_node, a_result):
    return drawn_by_hand(a_scene, a_volume_node, a_result)


@pytest.fixture
def compared(a_widget, by_hand):
    a_widget.ui.compareSelector.setCurrentNode(by_hand)
    a_widget.ui.compareButton.click()
    return a_widget


def rows(table) -> list[list[str]]:
    return [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]


def test_compare_opens_the_section_and_offers_every_segmentation(a_widget, by_hand):
    ui = a_widget.ui
    assert (ui.compareCollapsibleButton.collapsed, ui.compareButton.enabled) == (True, False)
    ui.compareOpenButton.click()
    assert not ui.compareCollapsibleButton.collapsed
    assert by_hand in ui.compareSelector._nodes()
    ui.compareSelector.setCurrentNode(a_widget.logic.getParameterNode().result)
    assert not ui.compareButton.enabled  # with itself there is nothing to compare
    ui.compareSelector.setCurrentNode(by_hand)
    assert ui.compareButton.enabled


def test_figures_and_slices_are_shown_the_worst_first(compared):
    ui = compared.ui
    size = (7 * 8 * 3, 7 * 8 + 7 * 7)  # of the liver, in voxels of 1 cubic mm
    dice = 2 * size[1] / sum(size)
    first, *others = rows(ui.compareTable)
    assert first[:2] == ["liver", f"{dice:.3f}"]
    assert [other[1] for other in others] == ["1.000", "1.000"]
    assert rows(ui.compareSlicesTable) == [["4", "56", "0.00"], ["3", "7", f"{2 * 49 / (56 + 49):.2f}"]]
    assert ui.compareStatusLabel.text.startswith(f"Mean Dice {(dice + 2) / 3:.3f}; 2 of 9 slices differ")


def test_a_click_on_a_slice_shows_it(compared, a_scene, a_volume_node):
    compared.ui.compareSlicesTable.cellClicked.emit(0, 0)
    matrix = vtk.vtkMatrix4x4()
    a_volume_node.GetIJKToRASMatrix(matrix)
    place = matrix.MultiplyPoint((0, 0, 3, 1))[2]
    assert a_scene.GetNodeByID("vtkMRMLSliceNodeRed").GetSliceOffset() == pytest.approx(place)


def test_where_they_differ_lies_over_the_image_as_long_as_it_is_wanted(compared, a_scene, by_hand):
    ui = compared.ui
    node = disagreement_of(a_scene)
    segmentation = node.GetSegmentation()
    (segment,) = [segmentation.GetNthSegment(n) for n in range(segmentation.GetNumberOfSegments())]
    assert segment.GetName().startswith("only in case 1")
    count = np.count_nonzero(
        vtk.util.numpy_support.vtk_to_numpy(segment.GetRepresentation("Binary labelmap").GetPointData().GetScalars())
    )
    assert count == 56 + 7
    assert node not in ui.compareSelector._nodes()
    assert node not in ui.resultSelector._nodes()
    ui.disagreementCheckBox.click()
    assert disagreement_of(a_scene) is None
    ui.disagreementCheckBox.click()
    ui.compareButton.click()
    assert len([n for n in nodes_of(a_scene, "vtkMRMLSegmentationNode") if "against" in n.GetName()]) == 1
    ui.compareSelector.setCurrentNode(None)
    assert disagreement_of(a_scene) is None
    assert ui.compareTable.isHidden()


def test_both_tables_are_saved(compared, an_application, tmp_path):
    an_application.chosen = [str(tmp_path / "x.csv")]
    compared.ui.saveComparisonButton.click()
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as file:
        written = list(csv.reader(file))
    assert written[0][0] == "class"
    assert ["4", "56", "0.0000"] in written
    assert compared.ui.compareStatusLabel.text == f"Wrote {tmp_path / 'x.csv'}"


def test_what_cannot_be_compared_says_why(a_widget, by_hand, a_scene, an_application):
    ui = a_widget.ui
    transform = add_transform(a_scene, a_widget.logic.getParameterNode().inputVolume)
    by_hand.SetAndObserveTransformNodeID(transform.GetID())
    ui.compareSelector.setCurrentNode(by_hand)
    ui.compareButton.click()
    ((function, text),) = an_application.shown
    assert (function, "different transforms" in text, ui.compareStatusLabel.text) == ("errorDisplay", True, text)
    assert (ui.compareButton.text, ui.compareButton.enabled) == ("Compare", True)
    assert disagreement_of(a_scene) is None


def test_without_packages_nothing_is_compared(a_widget, by_hand, monkeypatch):
    monkeypatch.setattr(a_widget.panel._compare, "_ready", lambda: False)
    a_widget.ui.compareSelector.setCurrentNode(by_hand)
    a_widget.ui.compareButton.click()
    assert a_widget.ui.compareTable.isHidden()


def test_a_module_that_is_closed_meanwhile_shows_nothing(a_widget, by_hand, an_application, a_scene):
    a_widget.ui.compareSelector.setCurrentNode(by_hand)
    an_application.during_events = lambda: None if a_widget.panel._closed else a_widget.cleanup()
    a_widget.ui.compareButton.click()
    an_application.during_events = None
    assert an_application.shown == []
    assert disagreement_of(a_scene) is None


def test_the_console_compares_as_the_panel_does(a_widget, by_hand):
    found = a_widget.logic.compare(a_widget.logic.getParameterNode().result, by_hand)
    assert (found.size_unit, found.distance_unit, found.axis) == ("mL", "mm", 2)
    assert found.mean_dice < 1
