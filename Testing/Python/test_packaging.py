"""The extension configured and installed by CMake against a mock Slicer tree, then used from what was installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parents[2]
MOCK = Path(__file__).parent / "mock_slicer"
# Nothing is compiled, so a machine without a compiler will do: CMake takes the one it is given unseen.
NO_COMPILER = [
    f"-DCMAKE_{language}_COMPILER{setting}"
    for language in ("C", "CXX")
    for setting in ("_FORCED=ON", f"={sys.executable}")
]
IMPORT_ALL = """
import importlib, pkgutil, MedSegAttentionLib
names = [item.name for item in pkgutil.walk_packages(MedSegAttentionLib.__path__, "MedSegAttentionLib.")]
wanted = [name for name in names if ".panel" not in name and not name.endswith("__main__")]
for name in wanted:
    importlib.import_module(name)
print(MedSegAttentionLib.__file__, len(wanted), len(names))
"""


def cmake(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "cmake"
    found = str(program) if program.is_file() else shutil.which("cmake")
    return subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False)


def configure(source: Path, build: Path) -> subprocess.CompletedProcess[str]:
    return cmake("-S", source, "-B", build, f"-DSlicer_DIR={MOCK}", "-DBUILD_TESTING=ON", *NO_COMPILER)


@pytest.fixture(scope="module")
def an_installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where CMake installed the extension."""
    folder = tmp_path_factory.mktemp("package")
    for done in (configure(ROOT, folder / "build"), cmake("--install", folder / "build", "--prefix", folder / "there")):
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "there"


def python(installation: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python in the folder of the installed modules, which comes before all others."""
    modules = installation / "lib" / "Slicer-5.12" / "qt-scripted-modules"
    environment = {**os.environ, "PYTHONPATH": str(modules)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=installation)


def test_what_is_installed_is_what_the_repository_ships(an_installation):
    modules = an_installation / "lib" / "Slicer-5.12" / "qt-scripted-modules"
    installed = {path.relative_to(modules) for path in modules.rglob("*") if path.is_file()}
    assert {Path("MedSegAttention.py"), Path("MedSegAttentionLib/__init__.py")} <= installed
    assert not [
        path for path in installed if path.parts[0] not in ("MedSegAttention.py", "MedSegAttentionLib", "Resources")
    ]
    for path in installed:
        assert (modules / path).read_bytes() == (ROOT / "MedSegAttention" / path).read_bytes()
    assert (an_installation / "share" / "MedSegAttention" / "LICENSE.txt").is_file()


def test_everything_imports_from_the_installed_tree(an_installation):
    done = python(an_installation, "-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    origin, wanted, found = done.stdout.split()
    assert Path(origin).is_relative_to(an_installation)
    assert int(found) > int(wanted) > 60


def test_the_installed_extension_segments_the_demo_volume(an_installation, a_real_ct, tmp_path):
    volume = sitk.ReadImage(str(a_real_ct))
    arguments = ("segment", a_real_ct, "--task", "abdomen", "--device", "cpu", "--output", tmp_path / "out")
    done = python(an_installation, "-m", "MedSegAttentionLib", *arguments)
    assert done.returncode == 0, done.stderr
    provenance = json.loads((tmp_path / "out" / f"{a_real_ct.stem}.json").read_text())
    assert provenance["checkpoint"] == "abdomen-ct-klo-lite"
    segmentation = sitk.ReadImage(str(tmp_path / "out" / f"{a_real_ct.stem}.seg.nrrd"))
    assert segmentation.GetSize()[:3] == volume.GetSize()
    assert sitk.GetArrayViewFromImage(segmentation).max() > 0


def test_a_listed_file_that_is_missing_stops_the_configuration(tmp_path):
    shutil.copytree(ROOT, tmp_path / "source", ignore=shutil.ignore_patterns(".git", ".venv", "Checkpoints", ".*cache"))
    done = configure(tmp_path / "source", tmp_path / "build")
    assert done.returncode != 0
    assert "is listed but does not exist" in " ".join(done.stderr.split())
