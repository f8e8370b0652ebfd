"""What inference needs: noticing that it is missing, and installing it the way each Slicer version offers."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
import slicer.util

from MedSegAttentionLib.data.errors import DependencyError
from MedSegAttentionLib.setup import dependencies


@pytest.fixture
def nothing_installed(monkeypatch):
    """As in a fresh Slicer; ``arrive()`` makes the packages appear."""
    usable = set()
    monkeypatch.setattr(dependencies, "_is_usable", lambda name: name in usable)
    return SimpleNamespace(arrive=lambda *names: usable.update(names or dependencies.PACKAGES))


def a_torch_extension(monkeypatch, install_torch):
    extension = ModuleType("PyTorchUtils")
    extension.PyTorchUtilsLogic = lambda: SimpleNamespace(installTorch=install_torch)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)


def test_nothing_is_missing_here():
    assert dependencies.missing_packages() == []
    dependencies.require()


def test_a_half_installed_torch_counts_as_missing(monkeypatch):
    empty = ModuleType("torch")
    empty.__spec__ = ModuleSpec("torch", None, origin="somewhere")
    monkeypatch.setitem(sys.modules, "torch", empty)
    assert dependencies.missing_packages() == ["torch"]


def test_an_empty_folder_left_by_pip_counts_as_missing(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "safetensors", raising=False)
    (tmp_path / "safetensors").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert "safetensors" in dependencies.missing_packages()


def test_the_error_says_how_to_install(nothing_installed):
    with pytest.raises(DependencyError) as caught:
        dependencies.require()
    for word in ("torch", "monai", "safetensors", "PyTorch extension", "pip_install", "requirements.txt"):
        assert word in str(caught.value)


def test_torch_comes_through_the_extension_with_the_keywords_it_knows(monkeypatch, nothing_installed):
    calls = []

    def install_torch(torchVersionRequirement=None):  # noqa: N803 - its name there
        calls.append(torchVersionRequirement)
        nothing_installed.arrive()

    a_torch_extension(monkeypatch, install_torch)
    dependencies.install()
    assert calls == [">=2.8"]


def test_without_the_extension_nothing_is_installed(monkeypatch, nothing_installed):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(DependencyError, match="Extensions Manager"):
        dependencies.install()


def test_requirements_come_through_slicer_packaging(monkeypatch, nothing_installed):
    nothing_installed.arrive("torch")
    calls = []

    def pip_ensure(requirements, constraints=None, prompt_install=True, requester=None):
        calls.append((requirements, constraints.read_text(encoding="utf-8"), prompt_install, requester))
        nothing_installed.arrive()

    packaging = ModuleType("slicer.packaging")
    packaging.load_requirements = lambda path: path.name
    packaging.pip_ensure = pip_ensure
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    dependencies.install()
    ((requirements, constraints, prompt, requester),) = calls
    assert (requirements, prompt, requester) == ("requirements.txt", False, "MedSegAttention")
    assert [line.split("==")[0] for line in constraints.splitlines()] == ["torch", "numpy", "SimpleITK"]


def test_requirements_come_through_pip_install_in_older_slicer(monkeypatch, nothing_installed):
    nothing_installed.arrive("torch")
    calls = []

    def pip_install(arguments):
        calls.append(arguments)
        nothing_installed.arrive()

    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "pip_install", pip_install)
    dependencies.install()
    assert calls[0].startswith('-r "')
    assert 'requirements.txt" -c "' in calls[0]


def test_an_installation_that_did_not_help_is_an_error(monkeypatch, nothing_installed):
    a_torch_extension(monkeypatch, lambda **_: None)
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "pip_install", lambda _: None)
    with pytest.raises(DependencyError, match="torch, monai, safetensors"):
        dependencies.install()
