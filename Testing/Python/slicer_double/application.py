"""Puts the double in place of what a Slicer module imports, for one test."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import slicer
import slicer.util
from PySide6 import QtCore, QtGui, QtWidgets

from . import module_classes, parameter_nodes
from .dialogs import outside_world
from .pythonqt import WIDGETS
from .ui_loader import QUiLoader
from .widgets import STAND_INS

MODULE = Path(__file__).resolve().parents[3] / "MedSegAttention" / "MedSegAttention.py"
DISPLAYS = ("errorDisplay", "confirmOkCancelDisplay", "confirmYesNoDisplay")


class QTimer:
    """``qt.QTimer``, as far as the module needs it."""

    singleShot = staticmethod(QtCore.QTimer.singleShot)  # noqa: N815 - Qt's name


@dataclass
class SegmentEditor:
    """The part of ``qMRMLSegmentEditorWidget`` that other modules use, over a real node; a widget's ``self()`` too."""

    told: dict[str, Any] = field(default_factory=dict)
    node: Any = field(default_factory=slicer.vtkMRMLSegmentEditorNode)

    def widgetRepresentation(self) -> SimpleNamespace:
        return SimpleNamespace(self=lambda: SimpleNamespace(editor=self))

    def setSegmentationNode(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        self.told = {"segmentation": node}

    def setSourceVolumeNode(self, node: slicer.vtkMRMLScalarVolumeNode) -> None:
        assert "segmentation" in self.told, "Segment Editor refuses an image without a segmentation"
        self.told["volume"] = node

    def setCurrentSegmentID(self, segment_id: str) -> None:
        self.told["segment"] = segment_id

    def mrmlSegmentEditorNode(self) -> slicer.vtkMRMLSegmentEditorNode:
        return self.node


@dataclass
class Application:
    """``slicer.app``, and what a test wants to know or decide about it.

    Attributes:
        shown: (function, text) of each message the user got.
        options: its other arguments by name.
        confirms: the user's answer to questions.
        during_events: called each time the module lets Slicer handle its events.
        translated: every text that was looked up for translation.
        at_startup: what was connected to the end of the application's start.
        settings: the user's settings; all values are texts, as after a restart.
        chosen: what the user chooses in the next file dialogs.
        opened: addresses shown in the file manager or browser.
        restarts: how often the application was told to restart.
        selected: modules that were switched to.
        leaves: called when another module is shown.
        segment_editor: what Segment Editor was told.
        log: (level, text) of each entry of the application's log.
        views: what the slice view looks like, as bytes; None for an application without views.
        resets_of_3d: how often the 3-D views were told to look at what they show.
    """

    shown: list[tuple[str, str]] = field(default_factory=list)
    options: list[dict[str, Any]] = field(default_factory=list)
    confirms: bool = True
    during_events: Any = None
    translated: list[str] = field(default_factory=list)
    at_startup: list[Any] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    chosen: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    restarts: int = 0
    selected: list[str] = field(default_factory=list)
    leaves: Any = None
    segment_editor: SegmentEditor = field(default_factory=SegmentEditor)
    log: list[tuple[str, str]] = field(default_factory=list)
    views: Callable[[], bytes] | None = None
    resets_of_3d: int = 0
    applicationName: str = "test double"  # noqa: N815 - Slicer's name
    applicationVersion: str = "0.0"  # noqa: N815 - Slicer's name

    def processEvents(self) -> None:
        QtWidgets.QApplication.processEvents()
        if self.during_events:
            self.during_events()

    def clipboard(self) -> QtGui.QClipboard:
        return QtGui.QGuiApplication.clipboard()

    def errorLogModel(self) -> SimpleNamespace:
        """What Python sees of it: neither ``logEntryData`` nor the names of the columns."""
        return SimpleNamespace(
            logEntryCount=lambda: len(self.log),
            logEntryDescription=lambda row: self.log[row][1],
            rowCount=lambda: len(self.log),
            index=lambda row, column: (row, column),
            data=lambda place: {2: self.log[place[0]][0], 4: self.log[place[0]][1]}.get(place[1], ""),
        )

    def layoutManager(self) -> SimpleNamespace | None:
        """None without a main window; its views give pictures."""
        if self.views is None:
            return None
        grabbed = SimpleNamespace(save=lambda path: Path(path).write_bytes(self.views()))
        view = SimpleNamespace(grab=lambda: grabbed)
        return SimpleNamespace(
            sliceWidget=lambda _name: SimpleNamespace(sliceView=lambda: view), resetThreeDViews=self._reset_3d
        )

    def _reset_3d(self) -> None:
        self.resets_of_3d += 1

    def restart(self) -> None:
        self.restarts += 1

    def connect(self, signal: str, function: Any) -> bool:
        assert signal == "startupCompleted()", f"the application has no signal {signal}"
        self.at_startup.append(function)
        return True

    def selectModule(self, name: str) -> None:
        if self.leaves:
            self.leaves()
        self.selected.append(name)

    def translate(self, context: str, text: str) -> str:
        self.translated.append(text)
        return text

    def show(self, name: str, *arguments: Any, **keywords: Any) -> bool | None:
        self.shown.append((name, arguments[0]))
        self.options.append(keywords)
        return self.confirms if name.startswith("confirm") else None


def install(monkeypatch: pytest.MonkeyPatch, scene: slicer.vtkMRMLScene) -> Application:
    """Give this test ``qt``, ``ctk`` and the parts of ``slicer`` that slicer-core lacks."""
    QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
    application = Application()
    plain = {
        "QObject": QtCore.QObject,
        "QEvent": QtCore.QEvent,
        "QFile": QtCore.QFile,
        "QIcon": QtGui.QIcon,
        "QColor": QtGui.QColor,
        "Qt": QtCore.Qt,
        "QApplication": QtWidgets.QApplication,
        "QHeaderView": QtWidgets.QHeaderView,
        "QTableWidgetItem": QtWidgets.QTableWidgetItem,
        "QTimer": QTimer,
    }
    _module(monkeypatch, "qt", **WIDGETS, **outside_world(application), **plain, QUiLoader=QUiLoader)
    widgets = {name: kind for name, kind in STAND_INS.items() if name.startswith("ctk")}
    _module(monkeypatch, "ctk", **widgets)
    _module(
        monkeypatch, "slicer.i18n", tr=lambda text: application.translate("", text), translate=application.translate
    )
    _module(monkeypatch, "slicer.parameterNodeWrapper", parameterNodeWrapper=parameter_nodes.parameterNodeWrapper)
    _module(monkeypatch, "slicer.ScriptedLoadableModule", **_public(module_classes, "ScriptedLoadableModule"))
    named = {
        "app": application,
        "mrmlScene": scene,
        "modules": SimpleNamespace(segmenteditor=application.segment_editor),
    }
    for name, value in (named | {name: STAND_INS[name] for name in ("qMRMLWidget", "qMRMLNodeComboBox")}).items():
        monkeypatch.setattr(slicer, name, value, raising=False)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: None)
    monkeypatch.setattr(slicer.util, "forceRenderAllViews", lambda: None)
    monkeypatch.setattr(slicer.util, "selectModule", application.selectModule)
    for name in DISPLAYS:
        monkeypatch.setattr(slicer.util, name, _recorder(application, name))
    return application


def load_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Execute ``MedSegAttention.py`` as Slicer does, and list it among Slicer's modules."""
    rooms = ("MedSegAttentionLib.panel.", "MedSegAttentionLib.logic.")
    for name in [name for name in sys.modules if name.startswith(rooms)]:
        monkeypatch.delitem(sys.modules, name)  # they hold the Slicer of an earlier test
    module = execute_module(monkeypatch)
    slicer.modules.medsegattention = SimpleNamespace(path=str(MODULE))
    return module


def execute_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Execute ``MedSegAttention.py``, the first time or again."""
    module = ModuleType(MODULE.stem)
    module.__file__ = str(MODULE)
    monkeypatch.setitem(sys.modules, MODULE.stem, module)
    exec(compile(MODULE.read_text(encoding="utf-8"), str(MODULE), "exec"), vars(module))
    return module


def _recorder(application: Application, name: str) -> Any:
    signature = inspect.signature(getattr(slicer.util, name))

    def display(*arguments: Any, **keywords: Any) -> bool | None:
        signature.bind(*arguments, **keywords)  # what the real function would refuse
        return application.show(name, *arguments, **keywords)

    return display


def _module(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    module = ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)
    if name.startswith("slicer."):
        monkeypatch.setattr(slicer, name.removeprefix("slicer."), module, raising=False)


def _public(module: ModuleType, prefix: str) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name.startswith(prefix)}
