"""Slicer's module panel: what scrolls, and how a module is taken out of it and put back."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets


class ModulePanel(QtWidgets.QScrollArea):
    """Holds one module's widget, as ``qSlicerModulePanel`` does.

    Slicer forgets to delete the layout item of a module that it takes out. The next item of the same widget is then
    told of no change, and gives for each width the height that it gave first.
    """

    def __init__(self, width: int, height: int) -> None:
        super().__init__()
        self._kept: list[Any] = []
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(QtWidgets.QWidget())
        QtWidgets.QVBoxLayout(self.widget()).setContentsMargins(0, 0, 0, 0)
        self.resize(width, height)

    def setModule(self, widget: Any) -> None:
        self.widget().layout().insertWidget(0, widget)
        QtWidgets.QWidget.setVisible(widget, True)

    def removeModule(self, widget: Any) -> None:
        layout = self.widget().layout()
        self._kept.append(layout.takeAt(layout.indexOf(widget)))
        QtWidgets.QWidget.setVisible(widget, False)
        QtWidgets.QWidget.setParent(widget, None)
