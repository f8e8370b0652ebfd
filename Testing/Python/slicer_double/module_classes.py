"""``slicer.ScriptedLoadableModule``: the base classes of a scripted module, without Slicer's developer tools."""

from __future__ import annotations

import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer
from PySide6 import QtWidgets

from .widgets import STAND_INS


class ScriptedLoadableModule:
    """The module's description; ``parent`` takes what is told about it."""

    def __init__(self, parent: SimpleNamespace) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.categories, parent.dependencies = "", [], []
        parent.contributors, parent.helpText, parent.acknowledgementText = [], "", ""


class ScriptedLoadableModuleWidget:
    """Owns the panel's place in the window."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent or module_parent()
        self.layout = self.parent.layout()

    def resourcePath(self, filename: str) -> str:
        return str(Path(slicer.modules.medsegattention.path).parent / "Resources" / filename)

    def setup(self) -> None:
        """Slicer shows its developer section here."""

    def cleanup(self) -> None:
        """For the module to override."""


class ScriptedLoadableModuleLogic:
    """Gives the module's one parameter node."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetName(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        node.SetAttribute("ModuleName", self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A test that Slicer can run by name."""

    def runTest(self) -> None:
        """For the module to override."""


class qSlicerScriptedLoadableModuleWidget(STAND_INS["qMRMLWidget"]):  # noqa: N801
    """The widget around a module's panel; Slicer says there whether the module is shown."""

    _is_entered = True

    def __getattribute__(self, name: str) -> Any:
        return super().__getattribute__("_is_entered" if name == "isEntered" else name)


def module_parent() -> qSlicerScriptedLoadableModuleWidget:
    """An empty place for a panel."""
    parent = qSlicerScriptedLoadableModuleWidget()
    QtWidgets.QVBoxLayout(parent)
    return parent
