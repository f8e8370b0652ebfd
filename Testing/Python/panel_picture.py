"""Makes Resources/Screenshots/panel.png: the panel after a real run on the sample CT, drawn outside of Slicer.

``python Testing/Python/panel_picture.py OUT.png``. Panel, MRML and result are real; the window around them is the test
double, whose CTK and MRML widgets look as ``slicer_double/drawing.py`` draws them.
"""

from __future__ import annotations

import argparse
import importlib.resources
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from PIL import Image
from PySide6 import QtCore, QtGui, QtWidgets

from MedSegAttentionLib.files.reading import read_volume
from MedSegAttentionLib.scene.application import headless_scene
from MedSegAttentionLib.scene.volumes import add_volume
from slicer_double.application import install, load_module
from slicer_double.drawing import dress

WIDTH, SCALE = 500, 2
"""Of the panel, pixels of the window; pixels of the picture for each of them."""
TASK, DEVICE = "Abdomen", "CPU"


def main() -> None:
    parser = argparse.ArgumentParser(description="make a picture of the panel")
    parser.add_argument("output", type=Path, metavar="OUT.png")
    output = parser.parse_args().output
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSEGATTENTION_CHECKPOINTS", str(output.parent / "none-of-the-user"))
        scene = headless_scene()
        add_volume(scene, read_volume(Path(str(importlib.resources.files("slicerio") / "data" / "CTChest4.nrrd"))))
        application = install(patch, scene)
        use_font()
        widget = load_module(patch).MedSegAttentionWidget()
        widget.setup()
        try:
            run(widget.ui, application)
            dress(widget.parent)
            lay_out(widget.parent)
            save(columns(widget.parent, widget.ui.attentionCollapsibleButton), output)
        finally:
            widget.cleanup()
            widget.ui.inputVolumeSelector.setMRMLScene(None)


def use_font() -> None:
    """Write with the font that comes with matplotlib, so that the picture is the same on every machine."""
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    number = QtGui.QFontDatabase.addApplicationFont(str(path))
    QtWidgets.QApplication.setFont(QtGui.QFont(QtGui.QFontDatabase.applicationFontFamilies(number), 9))


def run(ui: Any, application: Any) -> None:
    """Choose the task, click Apply, wait."""
    ui.taskComboBox.setCurrentText(TASK)
    ui.deviceComboBox.setCurrentText(DEVICE)
    ui.applyButton.click()
    while ui.applyButton.text == "Cancel":
        application.processEvents()
        time.sleep(0.01)
    ui.batchCollapsibleButton.collapsed = False  # closed at first; here it fills the second column
    if failed := [text for function, text in application.shown if function == "errorDisplay"]:
        raise RuntimeError(failed[0])


def lay_out(panel: QtWidgets.QWidget) -> None:
    """Show the panel, whole, as wide as in the picture."""
    panel.show()
    for _ in range(3):  # tables and wrapped texts find their height after their width
        panel.resize(WIDTH, panel.sizeHint.height())
        QtWidgets.QApplication.processEvents()


def columns(panel: QtWidgets.QWidget, second: QtWidgets.QWidget) -> QtGui.QImage:
    """A laid out panel in two columns: from its top, and from the section ``second`` on."""
    whole = QtGui.QPixmap(panel.size * SCALE)
    whole.setDevicePixelRatio(SCALE)
    panel.render(whole)
    top = panel.layout().contentsMargins().top()
    cut = second.mapTo(panel, QtCore.QPoint(0, 0)).y() - top
    picture = QtGui.QPixmap(2 * WIDTH * SCALE, max(cut, panel.height - cut) * SCALE)
    picture.setDevicePixelRatio(SCALE)
    picture.fill(panel.palette.color(QtGui.QPalette.ColorRole.Window))
    painter = QtGui.QPainter(picture)
    for column, (first, last) in enumerate(((0, cut), (cut, panel.height))):
        part = whole.copy(0, first * SCALE, WIDTH * SCALE, (last - first) * SCALE)
        painter.drawPixmap(column * WIDTH, 0, part)
    painter.end()
    return picture.toImage()


def save(picture: QtGui.QImage, path: Path) -> None:
    """Write a PNG file of few colours, a third as large as one of all."""
    picture.save(str(path))
    with Image.open(path) as image:
        few = image.convert("RGB").quantize(method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


if __name__ == "__main__":
    main()
