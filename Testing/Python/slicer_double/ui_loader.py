"""``qt.QUiLoader``: builds the part of the ``.ui`` format that the panel uses, and refuses what the real classes lack.

PySide6's own loader would make a misspelt property a dynamic one without a word, and cannot connect Python signals.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

from PySide6 import QtCore, QtWidgets

from .pythonqt import WIDGETS
from .widgets import STAND_INS, StandIn

FORM_ROLES = {"0": QtWidgets.QFormLayout.ItemRole.LabelRole, "1": QtWidgets.QFormLayout.ItemRole.FieldRole}
MARGINS = ("leftMargin", "topMargin", "rightMargin", "bottomMargin")
SPANNING = QtWidgets.QFormLayout.ItemRole.SpanningRole
VALUES = {
    "string": lambda value: value.text or "",
    "number": lambda value: int(value.text),
    "double": lambda value: float(value.text),
    "bool": lambda value: value.text == "true",
    "size": lambda value: QtCore.QSize(*(int(side.text) for side in value)),
    "enum": lambda value: _enumeration(value.text),
    "set": lambda value: _enumeration(value.text),
    "stringlist": lambda value: [item.text for item in value],
    "sizepolicy": lambda value: QtWidgets.QSizePolicy(
        *(QtWidgets.QSizePolicy.Policy[value.get(name)] for name in ("hsizetype", "vsizetype"))
    ),
}


def _enumeration(text: str) -> Any:
    """``QAbstractItemView::NoEditTriggers`` as PySide6 has it; of a CTK class, its text."""
    owner, value = text.split("::")
    if owner in STAND_INS:
        return text
    return getattr(QtCore.Qt if owner == "Qt" else getattr(QtWidgets, owner), value)


class QUiLoader:
    """Loads a file that ``qt.QFile`` has opened."""

    def load(self, file: QtCore.QFile) -> QtWidgets.QWidget:
        root = ET.fromstring(bytes(file.readAll().data()))
        widgets: dict[str, Any] = {}
        panel = _build(root.find("widget"), None, widgets)
        for element in root.iter("widget"):
            for entry in element.findall("property[@name='buddy']"):
                widgets[element.get("name")].setBuddy(widgets[entry.findtext("cstring")])
        for before, after in zip(list(root.iter("tabstop"))[:-1], list(root.iter("tabstop"))[1:], strict=True):
            QtWidgets.QWidget.setTabOrder(widgets[before.text], widgets[after.text])
        for connection in root.iterfind("connections/connection"):
            _connect(widgets, {part.tag: part.text for part in connection if part.tag != "hints"})
        return panel


def _build(element: ET.Element, parent: Any, widgets: dict[str, Any]) -> Any:
    widget = (WIDGETS | STAND_INS)[element.get("class")](parent)
    widget.objectName = element.get("name")
    if widgets.setdefault(widget.objectName, widget) is not widget:
        raise RuntimeError(f"two widgets are called '{widget.objectName}'")
    for entry in element.findall("property"):
        _set_property(widget, entry)
    for layout in element.findall("layout"):
        _fill(getattr(QtWidgets, layout.get("class"))(widget), layout, widget, widgets)
    return widget


def _set_property(widget: Any, entry: ET.Element) -> None:
    name, value = entry.get("name"), entry[0]
    if name == "buddy":  # the target may not exist yet
        return
    converted = VALUES[value.tag](value)
    if entry.get("stdset") == "0":
        QtCore.QObject.setProperty(widget, name, converted)
    else:
        setattr(widget, name, converted)


def _fill(layout: Any, element: ET.Element, parent: Any, widgets: dict[str, Any]) -> None:
    layout.setObjectName(element.get("name"))
    _set_margins(layout, {entry.get("name"): VALUES[entry[0].tag](entry[0]) for entry in element.findall("property")})
    for item in element.findall("item"):
        content = item[0]
        if content.tag == "spacer":
            layout.addStretch()
        elif content.tag == "layout":
            inner = getattr(QtWidgets, content.get("class"))()
            if isinstance(layout, QtWidgets.QFormLayout):
                layout.setLayout(int(item.get("row")), SPANNING if item.get("colspan") else FORM_ROLES["1"], inner)
            else:
                layout.addLayout(inner)
            _fill(inner, content, parent, widgets)
        elif isinstance(layout, QtWidgets.QFormLayout):
            child = _build(content, parent, widgets)
            role = SPANNING if item.get("colspan") else FORM_ROLES[item.get("column")]
            layout.setWidget(int(item.get("row")), role, child)
        elif isinstance(layout, QtWidgets.QGridLayout):
            place = [int(item.get(name, "1")) for name in ("row", "column", "rowspan", "colspan")]
            layout.addWidget(_build(content, parent, widgets), *place)
        else:
            layout.addWidget(_build(content, parent, widgets))


def _set_margins(layout: Any, given: dict[str, Any]) -> None:
    if unknown := set(given) - set(MARGINS):
        raise RuntimeError(f"layout '{layout.objectName()}': the double knows no {sorted(unknown)}")
    of_style = layout.contentsMargins()
    layout.setContentsMargins(*(given.get(side, getattr(of_style, side.removesuffix("Margin"))()) for side in MARGINS))


def _connect(widgets: dict[str, Any], connection: dict[str, str]) -> None:
    sender, receiver, slot = widgets[connection["sender"]], widgets[connection["receiver"]], connection["slot"]
    if not isinstance(receiver, StandIn) or slot not in receiver._description["slots"]:
        raise RuntimeError(f"'{connection['receiver']}' has no slot '{slot}'")
    if not sender.connect(connection["signal"], getattr(receiver, slot.split("(")[0])):
        raise RuntimeError(f"'{connection['sender']}' has no signal '{connection['signal']}'")
