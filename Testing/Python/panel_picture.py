"""Draws the panel without Slicer, for whoever changes it: empty, during a real run on the sample CT, and after it.

``python Testing/Python/panel_picture.py OUT.png``. Panel, MRML and result are real; the window around them is the test
double, whose CTK and MRML widgets look as ``slicer_double/drawing.py`` draws them.
"""

from __future__ import annotations

import argparse
import importlib.resources
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from PIL import Image
from PySide6 import QtGui, QtWidgets

from MedSegAttentionLib.files.reading import read_volume
from MedSegAttentionLib.scene.application import headless_scene
from MedSegAttentionLib.scene.volumes import add_volume
from slicer_double.application import install, load_module
from slicer_double.drawing import dress

WIDTH, SCALE, GAP = 380, 2, 12
"""Of the panel, pixels of the window; pixels of the picture for each of them; between two states, pixels."""
TASK, DEVICE = "Abdomen", "CPU"


def main() -> None:
    parser = argparse.ArgumentParser(description="make a picture of the panel")
    parser.add_argument("output", type=Path, metavar="OUT.png")
    output = parser.parse_args().output
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSEGATTENTION_CHECKPOINTS", str(output.parent / "none-of-the-user"))
        scene = headless_scene()
        application = install(patch, scene)
        use_font()
        module = load_module(patch)
        states = [picture_of(module, lambda ui: None)]
        add_volume(scene, read_volume(Path(str(importlib.resources.files("slicerio") / "data" / "CTChest4.nrrd"))))
        states.append(picture_of(module, lambda ui: run(ui, application, until=is_half_done)))
        states.append(picture_of(module, lambda ui: run(ui, application, until=is_over)))
        if failed := [text for function, text in application.shown if function == "errorDisplay"]:
            raise RuntimeError(failed[0])
        save(beside(states), output)


def use_font() -> None:
    """Write with the font that comes with matplotlib, so that the picture is the same on every machine."""
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    number = QtGui.QFontDatabase.addApplicationFont(str(path))
    QtWidgets.QApplication.setFont(QtGui.QFont(QtGui.QFontDatabase.applicationFontFamilies(number), 9))


@contextmanager
def opened(module: Any) -> Iterator[Any]:
    """The module's widget, closed at the end."""
    widget = module.MedSegAttentionWidget()
    widget.setup()
    try:
        yield widget
    finally:
        widget.cleanup()
        widget.ui.inputVolumeSelector.setMRMLScene(None)


def picture_of(module: Any, prepare: Callable[[Any], None]) -> QtGui.QImage:
    """Open the panel, prepare it and draw it as it is then."""
    with opened(module) as widget:
        prepare(widget.ui)
        dress(widget.parent)
        lay_out(widget.parent)
        return drawn(widget.parent)


def run(ui: Any, application: Any, until: Callable[[Any], bool]) -> None:
    """Choose the task, click Apply, wait."""
    ui.taskComboBox.setCurrentText(TASK)
    ui.deviceComboBox.setCurrentText(DEVICE)
    ui.applyButton.click()
    while not until(ui):
        application.processEvents()
        time.sleep(0.01)


def is_half_done(ui: Any) -> bool:
    return is_over(ui) or 2 * ui.progressBar.value >= ui.progressBar.maximum > 1


def is_over(ui: Any) -> bool:
    return ui.applyButton.text != "Cancel"


def lay_out(panel: QtWidgets.QWidget) -> None:
    """Show the panel, whole, as wide as in the picture."""
    panel.show()
    for _ in range(3):  # tables and wrapped texts find their height after their width
        panel.resize(WIDTH, panel.sizeHint.height())
        QtWidgets.QApplication.processEvents()


def drawn(panel: QtWidgets.QWidget) -> QtGui.QImage:
    """A laid out panel."""
    whole = QtGui.QPixmap(panel.size * SCALE)
    whole.setDevicePixelRatio(SCALE)
    panel.render(whole)
    return whole.toImage()


def beside(pictures: list[QtGui.QImage]) -> QtGui.QImage:
    """Pictures side by side, their tops at one height."""
    width = sum(picture.width() for picture in pictures) + GAP * SCALE * (len(pictures) - 1)
    whole = QtGui.QImage(width, max(picture.height() for picture in pictures), QtGui.QImage.Format.Format_RGB32)
    whole.fill(QtGui.QColor("white"))
    painter, left = QtGui.QPainter(whole), 0
    for picture in pictures:
        picture.setDevicePixelRatio(1)
        painter.drawImage(left, 0, picture)
        left += picture.width() + GAP * SCALE
    painter.end()
    return whole


def save(picture: QtGui.QImage, path: Path) -> None:
    """Write a PNG file of few colours, a third as large as one of all."""
    picture.save(str(path))
    with Image.open(path) as image:
        few = image.convert("RGB").quantize(method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


if __name__ == "__main__":
    main()
