"""How the panel is laid out by Qt itself: no wider than Slicer opens it, every row in sight, no text cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import slicer

from MedSegAttentionLib.scene.segmentation import write_segmentation
from slicer_double.module_panel import ModulePanel

pytest_plugins = ["slicer_double.fixtures"]

NAME, SIZE = 1, 2
"""Columns of the table of segments."""


def test_long_sentences_do_not_widen_the_panel(open_module, an_application, a_scene, a_volume_node, a_result):
    """A label that wraps its text asks for more width the longer it is, and a section is never narrower than that."""
    widget = open_module()
    text = "is larger than in any image that the checkpoint was trained on, and lies where none was seen before. " * 5
    told = a_result.provenance | {"findings": {"liver": [text]}, "warnings": [text]}
    node = write_segmentation(a_scene, replace(a_result, provenance=told), a_volume_node)
    widget.ui.resultSelector.setCurrentNode(node)
    for label in ("statusLabel", "modelSummaryLabel", "adviceLabel", "attentionMeaningLabel", "batchStatusLabel"):
        getattr(widget.ui, label).text = text
    widget.ui.adviceWidget.visible = True
    widget.parent.resize(380, 900)
    widget.parent.show()
    an_application.processEvents()
    assert widget.parent.minimumSizeHint.width() <= 380


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


def test_long_names_do_not_widen_the_panel(open_module, an_application, a_scene, a_volume_node, a_result):
    """A list of nodes is as wide as the longest name that it has when it is first shown, unless told otherwise."""
    for number in range(3):
        slicer.util.addVolumeFromArray(np.zeros((2, 3, 3)), name=f"T2 axial fat suppressed, breath hold {number} " * 3)
    write_segmentation(a_scene, a_result, a_volume_node).SetName("abdomen-ct-klo-lite of a series " * 4)
    widget = open_module()
    widget.parent.resize(380, 900)
    widget.parent.show()
    an_application.processEvents()
    assert widget.parent.minimumSizeHint.width() <= 380


def test_names_of_organs_can_be_read(open_module, an_application, a_scene, a_volume_node, a_result):
    """In a panel no wider than Slicer opens it; every column is in use."""
    told = {
        "findings": {"liver": ["reaches the border"]},
        "expected": {"liver": {"dice": 0.9, "interval": (0.8, 0.95)}},
    }
    result = replace(a_result, provenance=a_result.provenance | told)
    widget = open_module()
    widget.ui.resultSelector.setCurrentNode(write_segmentation(a_scene, result, a_volume_node))
    assert widget.parent.minimumSizeHint.width() >= 340
    widget.parent.resize(380, 900)
    widget.parent.show()
    an_application.processEvents()
    table_widget = widget.ui.segmentsTable
    for size in ("≥ 2516", "305"):
        table_widget.item(0, SIZE).setText(size)
        widget.panel._results.table._fit()
    needed = table_widget.fontMetrics().horizontalAdvance("right kidney") + 24  # its colour and the margins
    assert table_widget.columnWidth(NAME) >= needed


def test_nothing_is_cut_after_another_module_was_shown(open_module, an_application, a_scene, a_volume_node, a_result):
    """Neither buttons lie over the table, nor is a text cut, however long the texts of the next result are."""
    text = "reaches the last slice of the image: its volume is a lower bound, and so is what is computed from it."
    told = a_result.provenance | {"findings": {"liver": [text], "polyp": [text * 6]}, "look_first": [2, 1, 0]}
    short = write_segmentation(a_scene, a_result, a_volume_node)
    long = write_segmentation(a_scene, replace(a_result, provenance=told), a_volume_node)
    widget, panel = open_module(), ModulePanel(380, 700)
    ui = widget.ui
    panel.setModule(widget.parent)
    panel.show()
    for node in (short, long, short):
        ui.resultSelector.setCurrentNode(node)
        for _ in range(5):
            an_application.processEvents()
        panel.removeModule(widget.parent)
        panel.setModule(widget.parent)
        for _ in range(5):
            an_application.processEvents()
    ui.resultSelector.setCurrentNode(long)
    for _ in range(5):
        an_application.processEvents()
    assert ui.resultNotesLabel.height >= ui.resultNotesLabel.heightForWidth(ui.resultNotesLabel.width)
    assert ui.show3DButton.y >= ui.segmentsTable.y + ui.segmentsTable.height
    panel.removeModule(widget.parent)
