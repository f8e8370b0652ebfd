"""``slicer.parameterNodeWrapper`` as far as the module uses it, over a real ``vtkMRMLScriptedModuleNode``.

Types: str, bool, Enum, node classes (one, or a union with None). Widgets: check box and bool, combo box and Enum, node
combo box and node. Like the real one it fills combo boxes itself, and refuses a combo box for a free text.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable
from typing import Any

import slicer
import vtk

from .pythonqt import WIDGETS
from .widgets import STAND_INS


def parameterNodeWrapper(cls: type) -> type:
    """Turn the annotations of ``cls`` into parameters of a node."""
    hints = typing.get_type_hints(cls, include_extras=True)
    cls.allParameters = {name: (kind, _default(cls, name, kind)) for name, kind in hints.items()}
    for name in hints:
        setattr(cls, name, property(lambda self, n=name: self.getValue(n), lambda self, v, n=name: self.setValue(n, v)))
    for name, member in vars(_Wrapper).items():
        if not name.startswith("__"):
            setattr(cls, name, member)
    cls.__init__ = _Wrapper.__init__
    return cls


class _Wrapper:
    def __init__(self, node: slicer.vtkMRMLScriptedModuleNode) -> None:
        self.parameterNode = node
        self._guis: dict[int, tuple[list[_Connector], int]] = {}
        self._updating = False
        for name, (_, default) in self.allParameters.items():
            if not node.HasParameter(name):
                self.setValue(name, default)

    def getValue(self, name: str) -> Any:
        kind, _ = self.allParameters[name]
        if _node_classes(kind):
            return self.parameterNode.GetNodeReference(name)
        text = self.parameterNode.GetParameter(name)
        if kind is bool:
            return text == "True"
        return kind[text] if isinstance(kind, enum.EnumMeta) else text

    def setValue(self, name: str, value: Any) -> None:
        kind, _ = self.allParameters[name]
        if classes := _node_classes(kind):
            if value is not None and not isinstance(value, classes):
                raise TypeError(f"parameter '{name}' takes {classes}, got {value!r}")
            with slicer.util.NodeModify(self.parameterNode):
                self.parameterNode.SetParameter(name, "")
                self.parameterNode.SetNodeReferenceID(name, value.GetID() if value else None)
            return
        if not isinstance(value, kind):
            raise TypeError(f"parameter '{name}' takes {kind.__name__}, got {value!r}")
        self.parameterNode.SetParameter(name, value.name if isinstance(value, enum.Enum) else str(value))

    def connectParametersToGui(self, named: dict[str, Any]) -> int:
        if unknown := set(named) - set(self.allParameters):
            raise ValueError(f"no parameter is called {sorted(unknown)}")
        connectors = [_connector(widget, self.allParameters[name][0], name) for name, widget in named.items()]
        for connector in connectors:
            connector.write(self.getValue(connector.name))
            connector.connect(self._guiToParameter(connector))
        tag = max(self._guis, default=-1) + 1
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._updateGui())
        self._guis[tag] = (connectors, observer)
        return tag

    def _guiToParameter(self, connector: _Connector) -> Callable[[], None]:
        def callback() -> None:
            if not self._updating:
                self.setValue(connector.name, connector.read())

        return callback

    def disconnectGui(self, tag: int) -> None:
        connectors, observer = self._guis.pop(tag)
        self.RemoveObserver(observer)
        for connector in connectors:
            connector.disconnect()

    def _updateGui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for connectors, _ in self._guis.values():
                for connector in connectors:
                    connector.write(self.getValue(connector.name))
        finally:
            self._updating = False

    def AddObserver(self, event: int, callback: Callable[..., None], priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)


class _Connector:
    """Binds a widget's value to a parameter; the three kinds differ in how they read, write and notice a change."""

    def __init__(self, widget: Any, name: str, signal: str, read: Callable[[], Any], write: Callable[[Any], None]):
        self.widget, self.name, self.signal, self.read, self.write = widget, name, signal, read, write

    def connect(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        assert self.widget.connect(self.signal, callback)

    def disconnect(self) -> None:
        assert self.widget.disconnect(self.signal, self._callback)


def _connector(widget: Any, kind: Any, name: str) -> _Connector:
    if type(widget) is WIDGETS["QCheckBox"] and kind is bool:
        return _Connector(widget, name, "stateChanged(int)", lambda: widget.checked, widget.setChecked)
    if type(widget) is WIDGETS["QComboBox"] and isinstance(kind, enum.EnumMeta):
        items, label = list(kind), getattr(kind, "label", lambda item: item.name)
        widget.clear()
        for item in items:
            widget.addItem(label(item))
        return _Connector(
            widget,
            name,
            "currentIndexChanged(int)",
            lambda: items[widget.currentIndex],
            lambda value: widget.setCurrentIndex(items.index(value)),
        )
    if type(widget) is STAND_INS["qMRMLNodeComboBox"] and (classes := _node_classes(kind)):
        widget.nodeTypes = [cls().GetClassName() for cls in classes]
        signal = "currentNodeChanged(vtkMRMLNode*)"
        return _Connector(widget, name, signal, widget.currentNode, widget.setCurrentNode)
    raise RuntimeError(f"{widget.className()} '{widget.name}' cannot show parameter '{name}' of type {kind}")


def _node_classes(kind: Any) -> tuple[type, ...]:
    """The node classes of a node parameter, else an empty tuple."""
    parts = typing.get_args(kind) if typing.get_origin(kind) is typing.Union else (kind,)
    classes = tuple(part for part in parts if isinstance(part, type) and issubclass(part, slicer.vtkMRMLNode))
    return classes if len(classes) == len([part for part in parts if part is not type(None)]) else ()


def _default(cls: type, name: str, kind: Any) -> Any:
    if hasattr(cls, name):
        return getattr(cls, name)
    if _node_classes(kind):
        return None
    return next(iter(kind)) if isinstance(kind, enum.EnumMeta) else kind()
