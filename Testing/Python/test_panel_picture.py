"""The picture of the panel: its CTK and MRML widgets look like something, and no text of the panel is cut off."""

from __future__ import annotations

import pytest
from PySide6 import QtWidgets

from panel_picture import SCALE, WIDTH, columns, lay_out, use_font
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


def shown(panel, kind):
    return [widget for widget in panel.findChildren(kind) if widget.isVisibleTo(panel)]


def is_blank(widget):
    picture = widget.grab().toImage()
    colours = {picture.pixel(x, y) for x in range(picture.width()) for y in range(picture.height())}
    return len(colours) == 1


def test_no_widget_is_blank_in_the_picture(a_finished_panel):
    panel = a_finished_panel.parent
    lay_out(panel)
    sliders = shown(panel, STAND_INS["ctkSliderWidget"])
    assert all(map(is_blank, sliders))
    dress(panel)
    lay_out(panel)
    stand_ins = [widget for name in LOOKS for widget in shown(panel, STAND_INS[name])]
    assert {type(widget).__name__ for widget in stand_ins} == set(LOOKS) - {"ctkPathLineEdit"}  # in a closed section
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


def test_no_text_is_cut_off_and_both_columns_are_whole(a_finished_panel):
    panel, ui = a_finished_panel.parent, a_finished_panel.ui
    dress(panel)
    lay_out(panel)
    assert panel.width == WIDTH  # else something needs more
    kinds = (QtWidgets.QLabel, QtWidgets.QPushButton, QtWidgets.QCheckBox)
    texts = [widget for kind in kinds for widget in shown(panel, kind)]
    assert len(texts) > 20
    for widget in texts:
        needed = widget.heightForWidth(widget.width) if widget.hasHeightForWidth() else widget.sizeHint.height()
        assert needed <= widget.height, widget.text
        if not widget.hasHeightForWidth():
            assert widget.sizeHint.width() <= widget.width, widget.text
    assert ui.segmentsTable.verticalScrollBar().maximum() == 0
    assert ui.segmentsTable.horizontalScrollBar().maximum() == 0
    picture = columns(panel, ui.attentionCollapsibleButton)
    assert picture.width() == 2 * WIDTH * SCALE
    assert panel.height * SCALE / 2 < picture.height() < panel.height * SCALE
