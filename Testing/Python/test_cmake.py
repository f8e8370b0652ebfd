"""What CMake packages, and what the extension catalogue reads, against the files on disk."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "MedSegAttention"
TOP = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
LISTS = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
ENTRY = ROOT / "Resources" / "ExtensionsIndex" / "MedSegAttention.json"


def listed(name: str) -> list[str]:
    return re.search(rf"set\({name}\s([^)]*)\)", LISTS).group(1).split()


def on_disk(folder: str, pattern: str) -> list[str]:
    paths = (path for path in (MODULE / folder).rglob(pattern) if path.is_file() and "__pycache__" not in path.parts)
    return [path.relative_to(MODULE).as_posix() for path in paths if not path.name.startswith(".")]


def value(name: str) -> str:
    return re.search(rf'set\({name}\s+"([^"]*)"\)', TOP).group(1)


def test_every_python_file_is_packaged_once():
    assert sorted(listed("MODULE_PYTHON_SCRIPTS")) == sorted(
        ["MedSegAttention.py", *on_disk("MedSegAttentionLib", "*.py")]
    )


def test_every_resource_is_packaged_once():
    assert sorted(listed("MODULE_PYTHON_RESOURCES")) == sorted(on_disk("Resources", "*"))


def test_training_and_tests_are_not_packaged():
    assert not [path for path in listed("MODULE_PYTHON_SCRIPTS") if "Training" in path or "Testing" in path]


def test_names_and_catalogue_entry_agree():
    entry = json.loads(ENTRY.read_text(encoding="utf-8"))
    assert re.search(r"project\((\w+)\)", TOP).group(1) == ENTRY.stem == "MedSegAttention"
    assert set(entry) == {
        "$schema",
        "build_dependencies",
        "build_subdirectory",
        "category",
        "scm_revision",
        "scm_url",
        "tier",
    }
    assert entry["build_dependencies"] == value("EXTENSION_DEPENDS").split() == ["PyTorch"]
    assert entry["category"] == value("EXTENSION_CATEGORY") == "Segmentation"
    assert (entry["scm_revision"], entry["tier"]) == ("main", 1)
    assert entry["scm_url"] == value("EXTENSION_HOMEPAGE").replace(
        "${MedSegAttention_OWNER}", value("MedSegAttention_OWNER")
    )
    assert entry["scm_url"].split("/")[-1] == "SlicerMedSegAttention"
    assert b"\r" not in ENTRY.read_bytes()


@pytest.mark.parametrize("name", ["EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"])
def test_catalogue_images_are_files_of_this_repository(name):
    """Their addresses hold no CMake variable: the catalogue reads them as text."""
    start = f"https://raw.githubusercontent.com/{value('MedSegAttention_OWNER')}/SlicerMedSegAttention/main/"
    for url in value(name).split():
        assert url.startswith(start)
        assert (ROOT / url.removeprefix(start)).is_file()


@pytest.mark.parametrize("name", ["EXTENSION_LICENSE_FILE", "EXTENSION_README_FILE"])
def test_package_carries_our_licence_and_readme(name):
    assert Path(value(name).replace("${CMAKE_CURRENT_SOURCE_DIR}", str(ROOT))).is_file()


@pytest.mark.parametrize(
    "path", [MODULE / "Resources" / "Icons" / "MedSegAttention.png", ROOT / "Resources" / "MedSegAttention.png"]
)
def test_icons_have_the_catalogue_size(path):
    with Image.open(path) as icon:
        assert (icon.format, icon.size) == ("PNG", (128, 128))


def test_requirements_are_lower_bounds_and_leave_slicers_packages_alone():
    lines = (MODULE / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    requirements = [line for line in lines if line and not line.startswith("#")]
    assert [re.fullmatch(r"([\w-]+)>=[\d.]+", line).group(1) for line in requirements] == [
        "monai",
        "nibabel",
        "psutil",
        "safetensors",
    ]
