"""PySide6 classes that behave towards Python code as PythonQt's do.

A Qt property is an attribute and hides the method of the same name; setting anything else raises; signals are connected
by their C++ signature; enumerations are integers; a wrapped button is no instance of ``qt.QWidget``.
"""

from __future__ import annotations

import ctypes
import enum
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtWidgets

if sys.version_info < (3, 12):
    # PySide6 takes None to be immortal, as it is in Python 3.12, and returns it without counting: each call of a void
    # method would bring older Python closer to freeing None, which ends the process.
    ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40

ALIASES = {"name": "objectName"}


def call_trimmed(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call with as many arguments as the function takes, as PythonQt calls slots."""
    parameters = inspect.signature(function).parameters.values()
    if not any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        arguments = arguments[: sum(parameter.kind <= parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)]
    return function(*arguments)


def plain(value: Any) -> Any:
    """Enumerations as the integers they are in PythonQt."""
    if not isinstance(value, (enum.Enum, enum.Flag)):
        return value
    return int(value.value)


class PythonQtRules:
    """Put before a PySide6 widget class among the bases."""

    _own_methods = frozenset({"connect", "disconnect", "className"})
    """Public methods that the class itself brings; all others are Qt's."""

    def __getattribute__(self, name: str) -> Any:
        get = super().__getattribute__
        if name.startswith("_") or name in get("_own_methods"):
            return object.__getattribute__(self, name)  # QObject's own lookup always finds QObject.connect
        property_name = ALIASES.get(name, name)
        reading = get("__dict__").setdefault("_reading", set())
        if property_name not in reading and QtCore.QObject.metaObject(self).indexOfProperty(property_name) >= 0:
            reading.add(property_name)  # while it reads a property PySide6 asks whether Python overrides its getter
            try:
                return plain(QtCore.QObject.property(self, property_name))
            except RuntimeError:  # some enumerations have no converter; their getters have
                return plain(get(property_name)())
            finally:
                reading.discard(property_name)
        value = get(name)
        if hasattr(value, "emit"):  # a signal
            return value
        if not callable(value) or name not in dir(get("_qt_class")):
            raise AttributeError(f"{get('className')()} has no attribute '{name}'")
        return lambda *arguments: plain(value(*arguments))  # PythonQt slots take no keywords

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
            return
        meta = QtCore.QObject.metaObject(self)
        index = meta.indexOfProperty(ALIASES.get(name, name))
        if index < 0 or not meta.property(index).isWritable():
            raise AttributeError(f"{self.className()} has no writable property '{name}'")
        value = list(value) if isinstance(value, tuple) else value
        if value is None or not QtCore.QObject.setProperty(self, ALIASES.get(name, name), value):
            raise TypeError(f"property '{name}' of {self.className()} does not take {value!r}")

    def className(self) -> str:
        """Name of the class, as in C++."""
        return type(self).__name__

    def connect(self, signature: str, function: Callable[..., Any]) -> bool:
        """Connect a signal given by its exact C++ signature; False when there is none of it."""
        return self._connection(signature, function, connect=True)

    def disconnect(self, signature: str, function: Callable[..., Any]) -> bool:
        """Undo :meth:`connect`."""
        return self._connection(signature, function, connect=False)

    def _connection(self, signature: str, function: Callable[..., Any], connect: bool) -> bool:
        if QtCore.QObject.metaObject(self).indexOfSignal(signature) < 0:
            print(f"{self.className()} has no signal '{signature}'")  # noqa: T201 - as PythonQt does
            return False
        change = QtCore.QObject.connect if connect else QtCore.QObject.disconnect
        return bool(change(self, QtCore.SIGNAL(signature), function))


def wrap(qt_class: type[QtWidgets.QWidget]) -> type:
    """The class of the same name that follows PythonQt's rules."""
    return type(qt_class)(qt_class.__name__, (PythonQtRules, qt_class), {"_qt_class": qt_class})


WIDGETS = {
    qt_class.__name__: wrap(qt_class)
    for qt_class in (
        QtWidgets.QWidget,
        QtWidgets.QLabel,
        QtWidgets.QPushButton,
        QtWidgets.QCheckBox,
        QtWidgets.QComboBox,
        QtWidgets.QProgressBar,
        QtWidgets.QLineEdit,
        QtWidgets.QTextBrowser,
        QtWidgets.QPlainTextEdit,
        QtWidgets.QTableWidget,
    )
}
