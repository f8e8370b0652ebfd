"""What inference needs: noticing that it is missing, and installing it the way each Slicer version offers."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.error import URLError

import pytest
import slicer
import slicer.util

from MedSegAttentionLib.data.errors import DependencyError, RestartNeeded
from MedSegAttentionLib.setup import dependencies, installation

ALL = ("torch", "monai", "nibabel", "safetensors", "psutil")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*_args, **_kw):
        raise URLError("no route to host")

    monkeypatch.setattr(installation.urllib.request, "urlopen", refuse)


@pytest.fixture
def nothing_installed(monkeypatch):
    """As in a fresh Slicer; ``arrive()`` makes the packages appear."""
    usable = set()
    monkeypatch.setattr(dependencies, "is_whole", lambda name: name in usable)
    for name in ALL:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return SimpleNamespace(arrive=lambda *names: usable.update(names or ALL))


def a_torch_extension(monkeypatch, install_torch):
    extension = ModuleType("PyTorchUtils")
    extension.PyTorchUtilsLogic = lambda: SimpleNamespace(installTorch=install_torch)
    extension.__spec__ = ModuleSpec("PyTorchUtils", None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)


def an_extensions_manager(monkeypatch, works: bool) -> list[tuple]:
    calls = []
    model = SimpleNamespace(interactive=True)

    def install(*arguments: object) -> bool:
        calls.append((*arguments, model.interactive))
        return works

    model.installExtensionFromServer = install
    monkeypatch.setattr(slicer, "app", SimpleNamespace(extensionsManagerModel=lambda: model), raising=False)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    return calls


def old_slicer(monkeypatch, pip_install):
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "pip_install", pip_install)


def test_nothing_is_missing_here():
    assert dependencies.missing_packages() == []
    assert installation.plan() is None
    dependencies.require()


def test_every_package_is_needed_once_and_in_the_requirements():
    listed = {line.split(">=")[0] for line in dependencies.REQUIREMENTS.read_text().splitlines() if ">=" in line}
    assert tuple(package.name for package in dependencies.PACKAGES) == ALL
    assert listed == set(ALL) - {"torch"}


def test_looking_for_torch_does_not_import_it():
    script = (
        "import sys; from MedSegAttentionLib.setup import installation; installation.plan(); "
        "print([name for name in ('torch', 'monai', 'nibabel', 'safetensors', 'psutil') if name in sys.modules])"
    )
    module_folder = Path(dependencies.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=module_folder, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("left", [["torch/lib/x.so"], ["torch-2.8.0.dist-info/METADATA"], ["torch/__init__.py"]])
def test_a_half_installed_torch_is_found_and_its_repair_told(monkeypatch, tmp_path, left):
    for name in left:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path)])
    assert "torch" in dependencies.missing_packages()
    for check in (dependencies.require, installation.plan):
        with pytest.raises(DependencyError) as caught:
            check()
        for word in ("half installed", str(tmp_path), "delete the folders 'torch' and 'torch-*.dist-info'"):
            assert word in str(caught.value)


def test_a_torch_module_without_its_files_counts_as_missing(monkeypatch):
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
    for word in (*ALL, "PyTorch extension", "pip_install", "requirements.txt"):
        assert word in str(caught.value)


def test_the_plan_says_what_how_large_and_where(monkeypatch, nothing_installed):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    nothing_installed.arrive("monai")
    found = installation.plan()
    assert [package.name for package in found.packages] == ["torch", "nibabel", "safetensors", "psutil"]
    assert found.needs_extension
    assert found.download_megabytes == (205, 3006)
    assert found.disk_megabytes > found.download_megabytes[1]
    assert Path(found.folder).is_dir()
    assert found.free_megabytes > 0
    a_torch_extension(monkeypatch, None)
    assert not installation.plan().needs_extension


def test_torch_comes_through_the_extension_with_the_keywords_it_knows(monkeypatch, nothing_installed):
    calls = []

    def install_torch(torchVersionRequirement=None):  # noqa: N803 - its name there
        calls.append(torchVersionRequirement)
        nothing_installed.arrive()

    a_torch_extension(monkeypatch, install_torch)
    installation.install()
    assert calls == [">=2.8"]


def test_the_extension_comes_first_and_needs_a_restart(monkeypatch, nothing_installed):
    calls = an_extensions_manager(monkeypatch, works=True)
    with pytest.raises(RestartNeeded, match="restart"):
        installation.install()
    assert calls == [("PyTorch", False, False)]  # no restart and no questions of its own


def test_an_extension_that_cannot_be_had_says_what_to_do(monkeypatch, nothing_installed):
    an_extensions_manager(monkeypatch, works=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy:80")
    with pytest.raises(DependencyError) as caught:
        installation.install()
    for word in ("Extensions Manager", "from a file", "no route to host", "proxy: HTTPS_PROXY", "--no-index"):
        assert word in str(caught.value)
    assert "secret" not in str(caught.value)


def test_requirements_come_through_slicer_packaging(monkeypatch, nothing_installed):
    nothing_installed.arrive("torch")
    calls = []

    def pip_ensure(requirements, constraints=None, prompt_install=True, prompt_restart=True, requester=None):
        calls.append((requirements, constraints.read_text(encoding="utf-8"), prompt_install, prompt_restart, requester))
        nothing_installed.arrive()

    packaging = ModuleType("slicer.packaging")
    packaging.load_requirements = lambda path: path.name
    packaging.pip_ensure = pip_ensure
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(installation.metadata, "version", {"torch": "2.9", "numpy": "2.0", "SimpleITK": "2.5"}.get)
    installation.install()
    assert calls == [("requirements.txt", "torch==2.9\nnumpy==2.0\nSimpleITK==2.5\n", False, False, "MedSegAttention")]


def test_requirements_come_through_pip_install_in_older_slicer(monkeypatch, nothing_installed):
    nothing_installed.arrive("torch")
    calls = []

    def pip_install(arguments):
        calls.append(arguments)
        nothing_installed.arrive()

    def version(name):
        if name == "SimpleITK":  # built into older Slicer
            raise installation.metadata.PackageNotFoundError(name)
        return "2.8.0"

    monkeypatch.setattr(installation.metadata, "version", version)
    old_slicer(monkeypatch, pip_install)
    installation.install()
    assert calls[0].startswith('-r "')
    assert 'requirements.txt" -c "' in calls[0]


def test_a_package_replaced_while_in_use_needs_a_restart(monkeypatch, nothing_installed):
    nothing_installed.arrive("torch", "monai", "safetensors")
    monkeypatch.setitem(sys.modules, "psutil", ModuleType("psutil"))
    old_slicer(monkeypatch, lambda _: nothing_installed.arrive())
    with pytest.raises(RestartNeeded, match="psutil was replaced"):
        installation.install()


@pytest.mark.parametrize("reachable", [True, False])
def test_a_failed_installation_says_what_why_and_what_to_do(monkeypatch, nothing_installed, reachable):
    def pip_install(_arguments):
        raise subprocess.CalledProcessError(1, "pip")

    if reachable:
        page = type("Page", (), {"__enter__": lambda self: self, "__exit__": lambda *_: None})()
        monkeypatch.setattr(installation.urllib.request, "urlopen", lambda *_args, **_kw: page)
    nothing_installed.arrive("torch")
    old_slicer(monkeypatch, pip_install)
    with pytest.raises(DependencyError) as caught:
        installation.install()
    words = ["Installing monai, nibabel, safetensors, psutil failed", "exit status 1", "Python console", "try again"]
    for word in (*words, "not the network" if reachable else "HTTPS_PROXY"):
        assert word in str(caught.value)


def test_an_installation_that_did_not_help_is_an_error(monkeypatch, nothing_installed):
    installed = []
    a_torch_extension(monkeypatch, lambda **_: None)
    old_slicer(monkeypatch, installed.append)
    with pytest.raises(DependencyError, match="extension did not install PyTorch"):
        installation.install()
    assert installed == []  # or pip would have fetched any torch for monai
    nothing_installed.arrive("torch")
    with pytest.raises(DependencyError, match="missing: monai, nibabel, safetensors, psutil"):
        installation.install()


@pytest.mark.parametrize(("version", "good"), [("2.4.1+cu121", False), ("1.13", False), ("2.5.0", True), ("3.0", True)])
def test_a_torch_that_is_too_old_is_named(monkeypatch, version, good):
    monkeypatch.setattr(dependencies.metadata, "version", lambda _name: version)
    problem = dependencies.torch_problem()
    assert bool(problem) is not good
    if not good:
        assert version in problem
        with pytest.raises(DependencyError, match=r"2\.5 or newer"):
            installation.plan()
