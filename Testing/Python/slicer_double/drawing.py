"""Looks of the CTK and MRML widgets, for pictures of the panel; the tests of what the panel does need none.

The stand-ins draw nothing. :func:`dress` gives each the Qt widgets that the real one consists of, in its state of that
moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .widgets import STAND_INS

TITLE_MARGIN = 5
"""Above and below the title of a section, pixels."""


def dress(panel: QtWidgets.QWidget) -> None:
    """Let every stand-in below ``panel`` look as it is now; once, after which the stand-ins may change no more."""
    for name, look in LOOKS.items():
        for widget in QtWidgets.QWidget.findChildren(panel, STAND_INS[name]):
            look(widget)


class SectionTitle(QtCore.QObject):
    """Paints the title line of a ``ctkCollapsibleButton``: a flat button with an arrow."""

    def __init__(self, section: QtWidgets.QWidget) -> None:
        super().__init__(section)
        self.height = section.fontMetrics().height() + 2 * TITLE_MARGIN
        section.installEventFilter(self)

    def eventFilter(self, section: Any, event: QtCore.QEvent) -> bool:
        if event.type() != QtCore.QEvent.Type.Paint:
            return False
        painter, style = QtGui.QPainter(section), QtWidgets.QApplication.style()
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(section)
        option.rect.setHeight(self.height)
        style.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option, painter)
        whole = QtCore.QRect(option.rect)
        kinds, collapsed = QtWidgets.QStyle.PrimitiveElement, section.collapsed
        option.rect = QtCore.QRect(2 * TITLE_MARGIN, (self.height - 8) // 2, 8, 8)
        style.drawPrimitive(kinds.PE_IndicatorArrowRight if collapsed else kinds.PE_IndicatorArrowDown, option, painter)
        aligned = QtCore.Qt.AlignmentFlag.AlignLeft | QtCore.Qt.AlignmentFlag.AlignVCenter
        whole.setLeft(5 * TITLE_MARGIN)
        style.drawItemText(painter, whole, aligned, section.palette, section.isEnabled(), section.text)
        return True


class RangeSlider(QtWidgets.QSlider):
    """The slider of a ``ctkRangeWidget``, with two handles."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__(QtCore.Qt.Orientation.Horizontal)
        self.places = (low, high)

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        painter, option = QtGui.QPainter(self), QtWidgets.QStyleOptionSlider()
        parts, slider = QtWidgets.QStyle.SubControl, QtWidgets.QStyle.ComplexControl.CC_Slider
        for place in self.places:
            self.initStyleOption(option)
            option.sliderPosition = place
            option.subControls = parts.SC_SliderHandle
            if place == self.places[0]:
                option.subControls |= parts.SC_SliderGroove
            self.style().drawComplexControl(slider, option, painter)


def _dress_section(section: Any) -> None:
    title = SectionTitle(section)
    if section.collapsed:
        for child in section.findChildren(QtWidgets.QWidget):
            child.setVisible(False)
        section.setFixedHeight(title.height)
        return
    margins = section.layout().contentsMargins()
    section.layout().setContentsMargins(margins.left(), title.height + margins.top(), margins.right(), margins.bottom())


def _dress_node_list(stand_in: Any) -> None:
    combo_box, node = QtWidgets.QComboBox(), stand_in.currentNode()
    combo_box.addItem(node.GetName() if node else stand_in.noneDisplay)
    _fill(stand_in, combo_box)


def _dress_path(stand_in: Any) -> None:
    combo_box, button = QtWidgets.QComboBox(), QtWidgets.QToolButton()
    combo_box.setEditable(True)
    combo_box.setEditText(stand_in.currentPath)
    combo_box.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
    button.setText("...")
    _fill(stand_in, combo_box, button)


def _dress_slider(stand_in: Any) -> None:
    slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
    slider.setRange(*(_steps(stand_in, value) for value in (stand_in.minimum, stand_in.maximum)))
    slider.setValue(_steps(stand_in, stand_in.value))
    _fill(stand_in, slider, _spin_box(stand_in, stand_in.value))


def _dress_range(stand_in: Any) -> None:
    values = stand_in.minimumValue, stand_in.maximumValue
    slider = RangeSlider(*(_steps(stand_in, value) for value in values))
    slider.setRange(*(_steps(stand_in, value) for value in (stand_in.minimum, stand_in.maximum)))
    low, high = (_spin_box(stand_in, value) for value in values)
    _fill(stand_in, low, slider, high)


def _steps(stand_in: Any, value: float) -> int:
    return round(value / stand_in.singleStep)


def _spin_box(stand_in: Any, value: float) -> QtWidgets.QDoubleSpinBox:
    spin_box = QtWidgets.QDoubleSpinBox()
    spin_box.setDecimals(stand_in.decimals)
    spin_box.setRange(stand_in.minimum, stand_in.maximum)
    spin_box.setPrefix(stand_in.prefix)
    spin_box.setSuffix(stand_in.suffix)
    spin_box.setValue(value)
    return spin_box


def _fill(stand_in: Any, *parts: QtWidgets.QWidget) -> None:
    row = QtWidgets.QHBoxLayout(stand_in)
    row.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        row.addWidget(part)


LOOKS: dict[str, Callable[[Any], None]] = {
    "ctkPathLineEdit": _dress_path,
    "ctkRangeWidget": _dress_range,
    "ctkSliderWidget": _dress_slider,
    "qMRMLNodeComboBox": _dress_node_list,
    "ctkCollapsibleButton": _dress_section,  # the last: one that is collapsed hides what the others put into it
}
