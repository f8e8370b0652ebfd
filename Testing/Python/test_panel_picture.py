"""The picture of the panel: its CTK and MRML widgets look like something, and no text of the panel is cut off."""

from __future__ import annotations

import pytest
from PySide6 import QtWidgets

from panel_picture import GAP, SCALE, WIDTH, beside, drawn, lay_out, use_font
from slicer_double.drawing import LOOKS, dress
from slicer_double.widgets import STAND_INS

pytest_plugins = ["slicer_double.fixtures"]


@pytest.fixture
def a_finished_panel(a_volume_node, open_module):
    """The open module after a run, without the looks of its stand-ins."""
    use_font()
    widget = open_module()
    widget.ui.taskComboBox.setCurrentIndex(3)
    widget.ui.applyButton.click()
    return widget


def open_sections(panel):
    for section in panel.findChildren(STAND_INS["ctkCollapsibleButton"]):
        section.collapsed = False


def shown(panel, kind):
    return [widget for widget in panel.findChildren(kind) if widget.isVisibleTo(panel)]


def is_blank(widget):
    picture = widget.grab().toImage()
    colours = {picture.pixel(x, y) for x in range(picture.width()) for y in range(picture.height())}
    return len(colours) == 1


def test_no_widget_is_blank_in_the_picture(a_finished_panel):
    panel = a_finished_panel.parent
    open_sections(panel)
    lay_out(panel)
    sliders = shown(panel, STAND_INS["ctkSliderWidget"])
    assert all(map(is_blank, sliders))
    dress(panel)
    lay_out(panel)
    stand_ins = [widget for name in LOOKS for widget in shown(panel, STAND_INS[name])]
    assert {type(widget).__name__ for widget in stand_ins} == set(LOOKS)
    assert not any(map(is_blank, stand_ins))


def test_the_drawn_widgets_say_what_the_stand_ins_hold(a_finished_panel):
    panel, ui = a_finished_panel.parent, a_finished_panel.ui
    ui.opacitySlider.value = 0.3
    ui.batchOutputPathLineEdit.currentPath = "/results"
    dress(panel)
    (volume,) = ui.inputVolumeSelector.findChildren(QtWidgets.QComboBox)
    assert volume.currentText() == "case 1"
    (points,) = ui.pointListSelector.findChildren(QtWidgets.QComboBox)
    assert points.currentText() == "None"
    (slider,) = ui.opacitySlider.findChildren(QtWidgets.QSlider)
    assert slider.value() / slider.maximum() == pytest.approx(0.3)
    assert [box.value() for box in ui.windowPercentileSlider.findChildren(QtWidgets.QDoubleSpinBox)] == [1, 99]
    (path,) = ui.batchOutputPathLineEdit.findChildren(QtWidgets.QComboBox)
    assert path.currentText() == "/results"


@pytest.mark.parametrize("whole", [False, True], ids=["as it opens", "every section open"])
def test_no_text_is_cut_off(a_finished_panel, whole):
    panel, ui = a_finished_panel.parent, a_finished_panel.ui
    if whole:
        open_sections(panel)
        ui.modelCardButton.click()
    dress(panel)
    lay_out(panel)
    assert panel.width == WIDTH  # else something needs more
    kinds = (QtWidgets.QLabel, QtWidgets.QPushButton, QtWidgets.QCheckBox)
    texts = [widget for kind in kinds for widget in shown(panel, kind)]
    assert len(texts) > (40 if whole else 10)
    for widget in texts:
        needed = widget.heightForWidth(widget.width) if widget.hasHeightForWidth() else widget.sizeHint.height()
        assert needed <= widget.height, widget.text
        if not widget.hasHeightForWidth():
            assert widget.sizeHint.width() <= widget.width, widget.text
    assert ui.segmentsTable.verticalScrollBar().maximum() == 0
    assert ui.segmentsTable.horizontalScrollBar().maximum() == 0


def test_states_stand_side_by_side(a_finished_panel):
    panel = a_finished_panel.parent
    lay_out(panel)
    one = drawn(panel)
    both = beside([one, one])
    assert (both.width(), both.height()) == ((2 * panel.width + GAP) * SCALE, panel.height * SCALE)
    assert both.copy(one.width() + GAP * SCALE, 0, one.width(), one.height()).pixel(20, 20) == both.pixel(20, 20)


def test_what_is_needed_first_is_above_all_else_and_the_rest_is_closed(a_finished_panel):
    panel, ui = a_finished_panel.parent, a_finished_panel.ui
    dress(panel)
    lay_out(panel)
    order = (
        ui.inputVolumeSelector,
        ui.taskComboBox,
        ui.applyButton,
        ui.resultsCollapsibleButton,
        ui.attentionCollapsibleButton,
        ui.optionsCollapsibleButton,
        ui.batchCollapsibleButton,
        ui.checkpointsCollapsibleButton,
        ui.selfCheckCollapsibleButton,
    )
    heights = [widget.mapTo(panel, widget.rect.topLeft()).y() for widget in order]
    assert heights == sorted(heights)
    assert [section.collapsed for section in order[3:]] == [False, False, True, True, True, True]
    assert ui.applyButton.height >= 40
    assert heights[2] + ui.applyButton.height <= 220  # in sight without scrolling, on any screen
