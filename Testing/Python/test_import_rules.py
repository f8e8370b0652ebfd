"""Who may know whom: every import of the library is walked, those inside functions too."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import MedSegAttentionLib
import MedSegAttentionTraining

PACKAGE = Path(MedSegAttentionLib.__file__).parent
TRAINING_PACKAGE = Path(MedSegAttentionTraining.__file__).parent
MODULE_FOLDER = PACKAGE.parent
NUMERICS = {"numpy"}
SLICER = {"slicer", "vtk", "vtkmodules"}
QT = {"qt", "ctk"}
DICOM = {"DICOMSegmentationPlugin"}  # of Slicer
TRAINING = {"MedSegAttentionTraining"}

ROOMS: dict[str, tuple[set[str], set[str]]] = {
    # room: rooms it may import, packages beyond Python's own it may import
    "data": (set(), NUMERICS),
    "networks": (set(), NUMERICS | {"torch"}),
    "files": ({"data"}, NUMERICS | {"SimpleITK", "PIL", "isal", "nibabel", "pydicom"}),
    "checkpoints": ({"data", "networks"}, {"torch", "safetensors"}),
    "inference": ({"data", "checkpoints", "networks"}, NUMERICS | {"torch", "monai", "SimpleITK"}),
    "bundle": ({"data", "files", "networks", "checkpoints", "inference"}, NUMERICS | {"torch", "monai"}),
    "scene": ({"data"}, NUMERICS | SLICER),
    "dicom": ({"data"}, NUMERICS | {"pydicom", "highdicom"}),
    "archive": ({"data"}, {"pydicom", "pynetdicom", "dicomweb_client", "requests"}),
    "output": ({"data", "scene", "dicom"}, NUMERICS | SLICER | {"PIL"}),
    "runner": ({"data", "inference", "checkpoints"}, NUMERICS | {"psutil"}),
    "cohort": ({"data", "files", "inference", "output", "runner"}, {"ray", "torch"}),
    "setup": (
        {"data", "checkpoints"},
        {"torch", "PyTorchUtils", "SampleData", *SLICER},
    ),  # modules of Slicer: the PyTorch extension, Sample Data
    "logic": ({"data", "files", "checkpoints", "inference", "scene", "output", "runner", "setup"}, SLICER | QT | DICOM),
    "panel": ({"data", "scene", "logic"}, SLICER | QT),
    "commands": (
        {
            "data",
            "files",
            "archive",
            "networks",
            "checkpoints",
            "inference",
            "scene",
            "dicom",
            "output",
            "runner",
            "cohort",
            "setup",
        },
        NUMERICS | {"torch"},
    ),
    "__main__": ({"data", "runner", "commands"}, TRAINING),
    "__init__": (set(), set()),
}
TORCH = NUMERICS | {"torch", "monai"}
LIBRARY = {"MedSegAttentionLib"}
TRAINING_ROOMS: dict[str, tuple[set[str], set[str]]] = {
    "data": (set(), TORCH | LIBRARY | {"SimpleITK", "PIL", "tqdm"}),
    "fitting": ({"data"}, TORCH | LIBRARY | {"safetensors", "matplotlib", "tqdm"}),
    "measuring": ({"data", "fitting"}, TORCH | LIBRARY | {"scipy", "safetensors", "SimpleITK", "isal"}),
    "publishing": (
        {"data", "fitting", "measuring"},
        TORCH | LIBRARY | {"safetensors", "matplotlib", "onnx", "onnxruntime"},
    ),
    "ablations": ({"data", "fitting", "measuring"}, TORCH | LIBRARY | {"matplotlib"}),
    "commands": ({"data", "fitting", "measuring", "publishing", "ablations"}, LIBRARY),
    "__init__": (set(), set()),
}
RULES = {PACKAGE: ROOMS, TRAINING_PACKAGE: TRAINING_ROOMS}
FREE_OF_TORCH = (
    "",
    ".data",
    ".scene",
    ".output",
    ".setup",
    ".checkpoints.catalogue",
    ".inference.settings",
    ".files.reading",
    ".runner.worker",
)


def modules(package: Path = PACKAGE) -> list[Path]:
    return sorted(package.rglob("*.py"))


def room_of(path: Path, package: Path = PACKAGE) -> str:
    relative = path.relative_to(package)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path: Path, root: Path) -> list[tuple[int, str]]:
    """(line, absolute name) of each import: ``MedSegAttentionLib.data.card``, ``torch.nn`` ..."""
    package = (root.name, *path.relative_to(root).parts[:-1])
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            found += [(node.lineno, ".".join([*base, alias.name])) for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [ast.literal_eval(argument) for argument in node.args[:1] if isinstance(argument, ast.Constant)]
            found += [(node.lineno, name) for name in names if not name.startswith(".")]
    return found


def wrong_arrows(path: Path, package: Path = PACKAGE) -> list[str]:
    rules = RULES[package]
    room = room_of(path, package)
    assert room in rules, f"room '{room}' has no rule here; add it to the docstring of the package and to this test"
    rooms, packages = rules[room]
    wrong = []
    for line, name in imports(path, package):
        top, *rest = name.split(".")
        if top == package.name:
            target = rest[0] if rest else ""
            if target in rules and target not in rooms | {room}:
                wrong.append(f"{path.relative_to(package)}:{line} imports room {target}")
        elif top not in sys.stdlib_module_names and top not in packages:
            wrong.append(f"{path.relative_to(package)}:{line} imports {top}")
    return wrong


@pytest.mark.parametrize(
    ("package", "path"),
    [(package, path) for package in RULES for path in modules(package)],
    ids=lambda value: str(value.relative_to(MODULE_FOLDER)),
)
def test_no_arrow_points_the_wrong_way(package, path):
    assert wrong_arrows(path, package) == []


@pytest.mark.parametrize(("room", "wrong"), [
    ("scene", {
        "import torch": "torch",
        "def f():\n    from torch import nn": "torch",
        "from ..inference import engine": "inference",
        "from .. import inference": "inference",
        "from MedSegAttentionLib.panel.panel import Panel": "panel",
        "import importlib\nimportlib.import_module('torch')": "torch",
    }),
    ("fitting", {
        "from ..measuring.metrics import score_case": "measuring",
        "def f():\n    from ..publishing import bundle": "publishing",
        "from MedSegAttentionTraining.commands import add_commands": "commands",
        "import slicer": "slicer",
    }),
])  # fmt: skip
def test_the_walk_sees_imports_of_every_kind(tmp_path, monkeypatch, room, wrong):
    home = next(package for package, rules in RULES.items() if room in rules)
    package = tmp_path / home.name
    monkeypatch.setitem(RULES, package, RULES[home])
    (package / room).mkdir(parents=True)
    bad = package / room / "bad.py"
    for text, target in wrong.items():
        bad.write_text(text)
        assert any(target in found for found in wrong_arrows(bad, package)), text
    bad.write_text("from ..data import card\nfrom . import nodes\nimport json")
    assert wrong_arrows(bad, package) == []


@pytest.mark.parametrize("package", [MedSegAttentionLib, MedSegAttentionTraining])
def test_every_room_of_the_docstring_has_a_rule_and_every_folder_a_line(package):
    folder = Path(package.__file__).parent
    rules = RULES[folder]
    named = {line.split("``")[1] for line in package.__doc__.splitlines() if line.startswith("* ``")}
    assert named <= set(rules)
    folders = {path.name for path in folder.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders == named


def test_only_logic_panel_and_setup_touch_the_application():
    for path in modules():
        if room_of(path) in ("logic", "panel", "setup"):
            continue
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in ("slicer.app", "slicer.util", "slicer.packaging", "slicer.mrmlScene"), (
                    path
                )


def test_the_training_code_never_imports_what_needs_slicer():
    for path in modules(TRAINING_PACKAGE):
        for line, name in imports(path, TRAINING_PACKAGE):
            room = name.split(".")[1] if name.startswith("MedSegAttentionLib.") else ""
            assert room not in ("panel", "logic", "scene", "output", "setup"), f"{path}:{line}"


def in_a_fresh_python(script: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", script], cwd=MODULE_FOLDER, capture_output=True, text=True, check=False
    )


BLOCKER = "import sys\nsys.modules.update(dict.fromkeys({absent!r}))\n"
"""With None for a module Python behaves as if it were not installed."""


def test_the_start_of_slicer_needs_neither_torch_nor_monai():
    """All in one process, as in Slicer; every module of the rooms, not the packages alone."""
    scenes = [
        f".{room}.{path.stem}"
        for room in ("scene", "output")
        for path in sorted((PACKAGE / room).glob("*.py"))
        if path.stem != "__init__"
    ]
    data = [f".data.{path.stem}" for path in sorted((PACKAGE / "data").glob("*.py")) if path.stem != "__init__"]
    script = BLOCKER.format(absent=("torch", "monai", "nibabel", "safetensors", "psutil"))
    wanted = (
        *FREE_OF_TORCH,
        ".setup.installation",
        ".setup.self_check",
        ".checkpoints.adding",
        ".__main__",
        *data,
        *scenes,
    )
    script += "".join(f"import MedSegAttentionLib{name}\n" for name in wanted)
    script += "from MedSegAttentionLib.setup.dependencies import missing_packages\nprint(missing_packages())"
    done = in_a_fresh_python(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['torch', 'monai', 'nibabel', 'safetensors', 'psutil']"


def test_networks_checkpoints_and_inference_run_without_slicer():
    script = BLOCKER.format(absent=("slicer", "vtk", "vtkmodules", "qt", "ctk"))
    for room in ("networks", "checkpoints", "inference", "runner", "files", "dicom", "archive", "bundle"):
        for path in sorted((PACKAGE / room).rglob("*.py")):
            name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
            script += f"import MedSegAttentionLib.{name}\n"
    done = in_a_fresh_python(script)
    assert done.returncode == 0, done.stderr


def test_data_needs_numpy_alone():
    script = "import sys\n" + "".join(
        f"import MedSegAttentionLib.data.{path.stem}\n"
        for path in sorted((PACKAGE / "data").glob("*.py"))
        if path.stem != "__init__"
    )
    script += (
        "print([name for name in ('torch', 'SimpleITK', 'vtk', 'slicer', 'scipy', 'monai') if name in sys.modules])"
    )
    done = in_a_fresh_python(script)
    assert done.stdout.strip() == "[]", done.stderr
