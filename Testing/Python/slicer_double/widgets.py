"""The CTK and MRML widgets of the panel, made from the properties, signals and slots of the real ones."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import shiboken6
import slicer
from PySide6 import QtCore, QtWidgets

from .pythonqt import PythonQtRules, call_trimmed

METAOBJECTS = json.loads((Path(__file__).parents[1] / "data" / "widgets-metaobjects.json").read_text(encoding="utf-8"))
LIST_FRAME = 30
"""Width of a list's arrow and frame, in pixels."""
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
    """A section. It never is narrower than its contents ask for, so that what grows there widens the whole panel."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        policy = QtWidgets.QSizePolicy.Policy
        QtWidgets.QWidget.setSizePolicy(self, QtWidgets.QSizePolicy(policy.Minimum, policy.Preferred))

    def _changed(self, name: str) -> None:
        if name == "collapsed":
            self._emit("contentsCollapsed(bool)", self.collapsed)


_combo_boxes: weakref.WeakSet = weakref.WeakSet()


def _refresh_combo_boxes(scene: slicer.vtkMRMLScene, _event: str) -> None:
    """Observes scenes. A function of its own, since one of the widget may be half freed when its scene is freed."""
    for combo_box in list(_combo_boxes):
        if shiboken6.isValid(combo_box) and combo_box.mrmlScene() is scene:
            combo_box._refresh()


def forget_combo_boxes() -> None:
    """Let all go of their scenes: those of earlier tests would list every node of every later one."""
    for combo_box in list(_combo_boxes):
        for scene, tag in combo_box.__dict__.pop("_observed", []):
            scene.RemoveObserver(tag)
    _combo_boxes.clear()


def _is_listed(node: slicer.vtkMRMLNode, types: list[str], hidden_types: list[str], with_children: bool) -> bool:
    if node.GetClassName() in types:
        return True
    return with_children and not any(map(node.IsA, hidden_types)) and any(map(node.IsA, types))


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
            _combo_boxes.add(self)
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent)
            self._observed = [(scene, scene.AddObserver(event, _refresh_combo_boxes)) for event in events]
        self._known = {node.GetID() for node in self._nodes()}
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

    def addAttribute(self, node_type: str, name: str, value: str | None = None) -> None:
        self.__dict__.setdefault("_attributes", {}).setdefault(node_type, {})[name] = value
        self._refresh()

    def nodeCount(self) -> int:
        return len(self._nodes())

    def _nodes(self) -> list[slicer.vtkMRMLNode]:
        scene = self.__dict__.get("_scene")
        nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())] if scene else []
        types, hidden_types = self.nodeTypes, self.hideChildNodeTypes
        with_children, with_hidden = self.showChildNodeTypes, self.showHidden
        return [
            node
            for node in nodes
            if _is_listed(node, types, hidden_types, with_children)
            and self._has_attributes(node)
            and (with_hidden or not node.GetHideFromEditors())
        ]

    def _has_attributes(self, node: slicer.vtkMRMLNode) -> bool:
        for node_type, attributes in self.__dict__.get("_attributes", {}).items():
            for name, value in attributes.items() if node.IsA(node_type) else ():
                if node.GetAttribute(name) is None or value not in (None, node.GetAttribute(name)):
                    return False
        return True

    def _refresh(self) -> None:
        nodes, known = self._nodes(), self.__dict__.get("_known", set())
        self._known = {node.GetID() for node in nodes}
        if self.currentNode() not in nodes:
            self.setCurrentNode(nodes[0] if nodes and not self.noneEnabled else None)
        for node in nodes:
            if node.GetID() not in known:
                self._emit("nodeAdded(vtkMRMLNode*)", node)
        self._ask_for_room(nodes)

    def _ask_for_room(self, nodes: list[slicer.vtkMRMLNode]) -> None:
        """As wide as the longest name, as the real one when it is first shown, unless its policy says otherwise."""
        policy = QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        names = [node.GetName() or "" for node in nodes] if self.sizeAdjustPolicy not in (policy, policy.value) else []
        widest = max(map(self.fontMetrics().horizontalAdvance, names), default=0)
        QtWidgets.QWidget.setMinimumWidth(self, LIST_FRAME + widest)

    def _changed(self, name: str) -> None:
        if name in ("nodeTypes", "showChildNodeTypes", "hideChildNodeTypes", "showHidden", "noneEnabled"):
            self._refresh()


class ctkSliderWidget:  # noqa: N801
    """A number between two, rounded to the decimals of its spin box; a step larger than their distance is refused."""

    def setValue(self, value: float) -> None:
        self.value = value

    def _changed(self, name: str) -> None:
        if name == "singleStep":
            if not 0 < self.singleStep <= self.maximum - self.minimum:
                self.__dict__["_value_singleStep"] = self.__dict__.get("_valid_step", 1.0)
            self.__dict__["_valid_step"] = self.singleStep
            return
        value = round(min(max(self.value, self.minimum), self.maximum), self.decimals)
        if name in ("value", "minimum", "maximum", "decimals") and value != self.__dict__.get("_told", 0.0):
            self.__dict__["_value_value"] = self.__dict__["_told"] = value
            self._emit("valueChanged(double)", value)
        self.__dict__["_value_value"] = value


class ctkRangeWidget:  # noqa: N801
    """Two numbers between two, the first not above the second, rounded to the decimals of their spin boxes."""

    def setValues(self, low: float, high: float) -> None:
        self.__dict__["_value_minimumValue"], self.__dict__["_value_maximumValue"] = float(low), float(high)
        self._changed("values")

    def _changed(self, name: str) -> None:
        low, high = (
            round(min(max(value, self.minimum), self.maximum), self.decimals)
            for value in sorted((self.minimumValue, self.maximumValue))
        )
        self.__dict__["_value_minimumValue"], self.__dict__["_value_maximumValue"] = low, high
        if (low, high) != self.__dict__.get("_told", (0.0, 99.0)):
            self.__dict__["_told"] = (low, high)
            self._emit("valuesChanged(double,double)", low, high)


STAND_INS = {
    behaviour.__name__: stand_in(behaviour, QtWidgets.QWidget)
    for behaviour in (
        qMRMLWidget,
        ctkCollapsibleButton,
        ctkPathLineEdit,
        qMRMLNodeComboBox,
        ctkSliderWidget,
        ctkRangeWidget,
    )
}
