"""The CTK and MRML widgets of the panel, made from the properties, signals and slots of the real ones."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from .pythonqt import PythonQtRules, call_trimmed

METAOBJECTS = json.loads((Path(__file__).parents[1] / "data" / "widgets-metaobjects.json").read_text(encoding="utf-8"))
QT_TYPES = {"bool": bool, "int": int, "double": float, "QString": str, "QStringList": "QStringList"}


class Signal:
    """A signal of a stand-in, as PythonQt gives it: ``widget.currentNodeChanged``."""

    def __init__(self, widget: StandIn, signature: str) -> None:
        self._widget, self._signature = widget, signature

    def connect(self, function: Callable[..., Any]) -> bool:
        return self._widget.connect(self._signature, function)

    def disconnect(self, function: Callable[..., Any]) -> bool:
        return self._widget.disconnect(self._signature, function)

    def emit(self, *arguments: Any) -> None:
        self._widget._emit(self._signature, *arguments)


class StandIn(PythonQtRules):
    """Base of the stand-ins; ``_description`` is the class's entry of the metaobjects file."""

    _description: dict[str, Any]

    def __getattribute__(self, name: str) -> Any:
        get = super().__getattribute__
        if not name.startswith("_") and name not in get("_own_methods"):
            for signature in get("_description")["signals"]:
                if signature.split("(")[0] == name:
                    return Signal(self, signature)
        return get(name)

    def _connection(self, signature: str, function: Callable[..., Any], connect: bool) -> bool:
        if signature not in self._description["signals"]:
            return super()._connection(signature, function, connect)
        receivers = self._receivers.setdefault(signature, [])
        if connect:
            receivers.append(function)
        elif function in receivers:
            receivers.remove(function)
        else:
            return False
        return True

    @property
    def _receivers(self) -> dict[str, list[Callable[..., Any]]]:
        return self.__dict__.setdefault("_receivers_by_signature", {})

    def _emit(self, signature: str, *arguments: Any) -> None:
        if not QtCore.QObject.signalsBlocked(self):
            for function in list(self._receivers.get(signature, [])):
                call_trimmed(function, *arguments)

    def _changed(self, name: str) -> None:
        """A property was written."""


def stand_in(behaviour: type, qt_class: type) -> type:
    """Make a stand-in of the class that ``behaviour`` is named after.

    Raises:
        TypeError: ``behaviour`` has a public method that the real class lacks.
    """
    name = behaviour.__name__
    description = METAOBJECTS[name]
    methods = {key for key in vars(behaviour) if not key.startswith("_")}
    if unknown := methods - {slot.split("(")[0] for slot in description["slots"]}:
        raise TypeError(f"the real {name} has no {sorted(unknown)}")
    namespace = {key: _property(key, entry) for key, entry in description["properties"].items()}
    namespace |= {"_qt_class": qt_class, "_description": description, "_own_methods": StandIn._own_methods | methods}
    return type(qt_class)(name, (behaviour, StandIn, qt_class), namespace)


def _property(name: str, entry: dict[str, Any]) -> QtCore.Property:
    kind, default, key = QT_TYPES.get(entry["type"], "QVariant"), entry["default"], f"_value_{name}"

    def read(self: Any) -> Any:
        return self.__dict__.get(key, default)

    def write(self: Any, value: Any) -> None:
        self.__dict__[key] = value
        self._changed(name)

    return QtCore.Property(kind, read, write if entry["writable"] else None)


class qMRMLWidget:  # noqa: N801
    """Passes the scene on to what the ``.ui`` file connects with it."""

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        self._emit("mrmlSceneChanged(vtkMRMLScene*)", scene)


class ctkCollapsibleButton:  # noqa: N801
    """A section; here it only holds its contents."""


class ctkPathLineEdit:  # noqa: N801
    """A path that can be typed or chosen."""

    def setCurrentPath(self, path: str) -> None:
        self.currentPath = path

    def _changed(self, name: str) -> None:
        if name == "currentPath":
            self._emit("currentPathChanged(QString)", self.currentPath)


class qMRMLNodeComboBox:  # noqa: N801
    """A list of the scene's nodes of some classes, with or without an entry for none."""

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        for old_scene, tag in self.__dict__.pop("_observed", []):
            old_scene.RemoveObserver(tag)
        self._scene = scene
        if scene is not None:
            this = weakref.ref(self)
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent)
            self._observed = [
                (scene, scene.AddObserver(event, lambda *_: this() and this()._refresh())) for event in events
            ]
        self._refresh()

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        return self.__dict__.get("_scene")

    def currentNode(self) -> slicer.vtkMRMLNode | None:
        return self.__dict__.get("_node")

    def setCurrentNode(self, node: slicer.vtkMRMLNode | str | None) -> None:
        if isinstance(node, str):
            node = next((item for item in self._nodes() if item.GetID() == node), None)
        if node not in self._nodes():
            node = None
        if node is self.currentNode():
            return
        self._node = node
        self._emit("currentNodeChanged(vtkMRMLNode*)", node)
        self._emit("currentNodeChanged(bool)", node is not None)
        self._emit("currentNodeIDChanged(QString)", node.GetID() if node else "")

    def nodeCount(self) -> int:
        return len(self._nodes())

    def _nodes(self) -> list[slicer.vtkMRMLNode]:
        scene = self.__dict__.get("_scene")
        nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())] if scene else []
        return [node for node in nodes if self._lists(node) and (self.showHidden or not node.GetHideFromEditors())]

    def _lists(self, node: slicer.vtkMRMLNode) -> bool:
        if node.GetClassName() in self.nodeTypes:
            return True
        if not self.showChildNodeTypes or any(node.IsA(name) for name in self.hideChildNodeTypes):
            return False
        return any(node.IsA(name) for name in self.nodeTypes)

    def _refresh(self) -> None:
        nodes = self._nodes()
        if self.currentNode() in nodes:
            return
        self.setCurrentNode(nodes[0] if nodes and not self.noneEnabled else None)

    def _changed(self, name: str) -> None:
        if name in ("nodeTypes", "showChildNodeTypes", "hideChildNodeTypes", "showHidden", "noneEnabled"):
            self._refresh()


STAND_INS = {
    behaviour.__name__: stand_in(behaviour, QtWidgets.QWidget)
    for behaviour in (qMRMLWidget, ctkCollapsibleButton, ctkPathLineEdit, qMRMLNodeComboBox)
}
