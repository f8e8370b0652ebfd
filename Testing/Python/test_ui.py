"""The ``.ui`` file against the panel's code, the parameters, and the widgets as they really are."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from slicer_double import widgets
from slicer_double.pythonqt import WIDGETS as QT

pytest_plugins = ["slicer_double.fixtures"]

MODULE = Path(__file__).resolve().parents[2] / "MedSegAttention"
ROOTS = [ET.parse(path).getroot() for path in sorted((MODULE / "Resources" / "UI").glob("*.ui"))]
WIDGETS = {element.get("name"): element for root in ROOTS for element in root.iter("widget")}
MESSAGES = ("_setStatus", "_showError", "errorDisplay", "confirmOkCancelDisplay", "confirmYesNoDisplay")
PANEL_FILES = [MODULE / "MedSegAttention.py", *(MODULE / "MedSegAttentionLib" / "panel").glob("*.py")]


def property_text(element: ET.Element, name: str) -> str | None:
    found = element.find(f"property[@name='{name}']")
    return None if found is None else "".join(found.itertext()).strip()


def test_every_widget_that_the_code_names_exists():
    named = {name for path in PANEL_FILES for name in re.findall(r"\bui\.(\w+)", path.read_text(encoding="utf-8"))}
    assert {"applyButton", "checkpointComboBox", "progressBar"} <= named <= set(WIDGETS)


def test_every_file_is_shown_and_no_name_is_used_twice(a_module):
    assert sorted(a_module.UI_FILES) == sorted(path.stem for path in (MODULE / "Resources" / "UI").glob("*.ui"))
    assert len(WIDGETS) == sum(1 for root in ROOTS for _ in root.iter("widget"))


def test_every_bound_parameter_exists(a_module):
    bound = {property_text(element, "SlicerParameterName") for element in WIDGETS.values()} - {None}
    parameters = set(a_module.MedSegAttentionParameterNode.allParameters)
    choices = {"inputVolume", "task", "checkpoint", "device", "axis", "showAttention", "testTimeFlips"}
    limits = {"slices", "region", "leftOut"}
    assert parameters == choices | limits | {"probabilityOf", "result", "neighbourStage", "pointList"}
    bound_by_the_panel = {"task", "checkpoint", "neighbourStage", "slices", "leftOut", "probabilityOf"}
    assert bound == parameters - bound_by_the_panel


def test_sliders_keep_their_own_number_of_decimals():
    sliders = [element for element in WIDGETS.values() if element.get("class") == "ctkSliderWidget"]
    # By default the last one with decimals of its own gives them to all beside it.
    sharing = [item for item in sliders if property_text(item, "synchronizeSiblings") is None]
    assert len(sliders) > 1
    assert len({property_text(item, "decimals") for item in sharing}) <= 1


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.findtext("class"))
def test_every_scene_widget_gets_the_scene(root):
    panel = root.find("widget")
    connected = {
        connection.findtext("receiver")
        for connection in root.iter("connection")
        if connection.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and connection.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
        and connection.findtext("sender") == panel.get("name")
    }
    scene_widgets = {item.get("name") for item in root.iter("widget") if item.get("class").startswith("qMRML")}
    assert panel.get("class") == "qMRMLWidget"
    assert connected == scene_widgets - {panel.get("name")}


def test_inputs_can_be_used_with_keyboard_and_screen_reader():
    buddies = {property_text(element, "buddy") for element in WIDGETS.values() if element.get("class") == "QLabel"}
    kinds = ("ComboBox", "LineEdit", "SliderWidget", "RangeWidget")
    inputs = {name for name, element in WIDGETS.items() if element.get("class").endswith(kinds)}
    assert buddies - {None} == inputs
    keys = [re.search("&(.)", property_text(element, "text") or "") for element in WIDGETS.values()]
    letters = [key.group(1).lower() for key in keys if key]
    assert len(letters) == len(set(letters)) == len(inputs)
    assert not set(letters) & set("fevh")  # Slicer's menus: File, Edit, View, Help
    for root in ROOTS:
        names = [element.get("name") for element in root.iter("widget")]
        operable = [
            name for name in names if re.search("(ComboBox|Selector|CheckBox|Button|Slider|Table|Browser|Edit)$", name)
        ]
        assert [element.text for element in root.iter("tabstop")] == operable


def test_everything_but_labels_and_sections_has_a_tooltip():
    for name, element in WIDGETS.items():
        if property_text(element, "buddy") is None and element.get("class") not in (
            "qMRMLWidget",
            "ctkCollapsibleButton",
        ):
            assert property_text(element, "toolTip"), name


def test_research_use_is_said_once():
    texts = [property_text(element, "text") or "" for element in WIDGETS.values()]
    assert sum("research use only" in text.lower() for text in texts) == 1


def bare_texts(tree: ast.AST) -> list[str]:
    """Statements that give a text to a visible property or to a message without ``_``."""
    found = []
    for node in ast.walk(tree):
        shown = []
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "attr", "") in ("text", "toolTip", "title"):
            shown = [node.value]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in MESSAGES:
            shown = node.args
        if any(isinstance(item, (ast.Constant, ast.JoinedStr)) and ast.unparse(item) != "''" for item in shown):
            found.append(ast.unparse(node))
    return found


def test_every_text_in_code_can_be_translated():
    for path in PANEL_FILES:
        assert bare_texts(ast.parse(path.read_text(encoding="utf-8"))) == [], path
    assert bare_texts(ast.parse("button.text = 'Apply'\nself._setStatus(f'{n}')\nself._setStatus('')")) == [
        "button.text = 'Apply'",
        "self._setStatus(f'{n}')",
    ]


def test_the_double_has_what_the_real_widgets_have(an_application):
    real = json.loads((Path(__file__).parent / "data" / "widgets-metaobjects.json").read_text(encoding="utf-8"))
    for name, widget_class in widgets.STAND_INS.items():
        widget = widget_class()
        for key, entry in real[name]["properties"].items():
            assert getattr(widget, key) == entry["default"], (name, key)
    with pytest.raises(TypeError, match="no \\['inventedMethod'\\]"):
        widgets.stand_in(type("qMRMLWidget", (), {"inventedMethod": print}), object)


def test_the_double_bounds_and_rounds_as_ctk_does(an_application):
    slider, heard = widgets.STAND_INS["ctkSliderWidget"](), []
    assert slider.connect("valueChanged(double)", heard.append)
    slider.value = 500
    assert (slider.value, heard) == (99.99, [99.99])
    slider.maximum = 1.0
    slider.value = 0.126
    slider.value = 0.13
    assert (slider.value, heard) == (0.13, [99.99, 1.0, 0.13])
    pair, heard = widgets.STAND_INS["ctkRangeWidget"](), []
    assert pair.connect("valuesChanged(double,double)", lambda low, high: heard.append((low, high)))
    pair.setValues(20, 120)
    pair.maximumValue = 99.0
    assert heard == [(20, 99)]
    with pytest.raises(AttributeError):
        pair.value = 5.0


def test_the_double_filters_nodes_by_attribute(an_application, a_scene):
    combo_box = widgets.STAND_INS["qMRMLNodeComboBox"]()
    combo_box.nodeTypes = ["vtkMRMLSegmentationNode"]
    combo_box.setMRMLScene(a_scene)
    node = a_scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert combo_box.currentNode() is node
    combo_box.addAttribute("vtkMRMLSegmentationNode", "MedSegAttention.Checkpoint")
    assert combo_box.currentNode() is None
    node.SetAttribute("MedSegAttention.Checkpoint", "x")
    combo_box.setCurrentNode(node)
    assert combo_box.currentNode() is node
    combo_box.addAttribute("vtkMRMLSegmentationNode", "MedSegAttention.Checkpoint", "y")
    assert combo_box.currentNode() is None


def test_the_double_behaves_as_pythonqt(an_application):
    button = QT["QPushButton"]()
    button.text = "a"
    assert button.text == "a"
    with pytest.raises(TypeError):
        button.text()
    with pytest.raises(AttributeError):
        button.txt = "b"
    with pytest.raises(AttributeError):
        button.inventedMethod()
    with pytest.raises(TypeError):
        button.setText(text="b")
    assert not isinstance(button, QT["QWidget"])
    button.name = "apply"
    assert button.objectName == "apply"
    progress = QT["QProgressBar"]()
    assert progress.orientation == 1
    with pytest.raises(AttributeError):
        progress.text = "read only"


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.findtext("class"))
def test_forms_hold_neither_tables_nor_texts_that_wrap(root):
    """Qt 5.15 gives the rows of a form too little height where a label wraps: texts are cut, buttons cover a table."""
    forms = [layout for layout in root.iter("layout") if layout.get("class") == "QFormLayout"]
    rows = [item[0] for form in forms for item in form if item.tag == "item"]
    tables = [row for row in rows if row.get("class") == "QTableWidget"]
    assert not [row.get("name") for row in rows if row in tables or property_text(row, "wordWrap") == "true"]
