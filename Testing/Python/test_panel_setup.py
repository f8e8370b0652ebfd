"""The panel installs only after one question, goes on after a restart, and shows the self-check."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from PySide6 import QtGui

from MedSegAttentionLib.data.errors import DependencyError, RestartNeeded
from MedSegAttentionLib.scene.segmentation import write_segmentation
from MedSegAttentionLib.setup.dependencies import PACKAGES
from MedSegAttentionLib.setup.installation import InstallationPlan

pytest_plugins = ["slicer_double.fixtures"]
RESUME = "MedSegAttention/ResumeInstallation"


@pytest.fixture
def a_widget(a_volume_node, open_module):
    return open_module()


@pytest.fixture
def an_unready_logic(a_widget, monkeypatch):
    """Its ``outcome`` is raised by an installation, or, None, makes all packages be there."""
    logic = a_widget.logic
    logic.plan, logic.outcome, logic.installed = InstallationPlan(PACKAGES, True, "/slicer/lib", 20_000), None, 0

    def install():
        logic.installed += 1
        if logic.outcome:
            raise logic.outcome
        logic.plan = None

    monkeypatch.setattr(logic, "installationPlan", lambda: logic.plan)
    monkeypatch.setattr(logic, "missingPackages", lambda: ["torch"] if logic.plan else [])
    monkeypatch.setattr(logic, "installPackages", install)
    return logic


def test_nothing_is_asked_or_looked_for_when_the_module_opens(a_module, a_volume_node, an_application, monkeypatch):
    for name in ("installationPlan", "missingPackages", "selfCheck", "installPackages"):
        monkeypatch.setattr(a_module.MedSegAttentionLogic, name, lambda *_: pytest.fail("was called at start-up"))
    widget = a_module.MedSegAttentionWidget()
    widget.setup()
    assert an_application.shown == []
    assert widget.ui.selfCheckCollapsibleButton.collapsed
    assert widget.ui.checkpointsCollapsibleButton.collapsed
    widget.cleanup()
    widget.ui.inputVolumeSelector.setMRMLScene(None)


def test_one_question_says_what_how_large_and_where(a_widget, an_unready_logic, a_runner, an_application):
    an_application.confirms = False
    a_widget.ui.applyButton.click()
    ((function, text),) = an_application.shown
    assert function == "confirmOkCancelDisplay"
    for word in (
        *(f"{package.name}: " for package in PACKAGES),
        "200 MB to 3.0 GB",
        "PyTorch extension is installed first",
        "20.0 GB are free in /slicer/lib",
        "numpy, SimpleITK",
    ):
        assert word in text
    assert "WARNING" not in text
    assert (an_unready_logic.installed, a_runner.calls) == (0, [])
    assert (
        a_widget.ui.statusLabel.text == "Not run: missing Python packages: torch, monai, nibabel, safetensors, psutil."
    )


def test_little_disk_space_is_warned_of(a_widget, an_unready_logic, an_application):
    an_application.confirms = False
    an_unready_logic.plan = InstallationPlan(PACKAGES, False, "/slicer/lib", 900)
    a_widget.ui.applyButton.click()
    text = an_application.shown[0][1]
    assert "WARNING: this may not be enough" in text
    assert "900 MB are free" in text
    assert "extension is installed first" not in text


def test_after_the_installation_the_run_goes_on(a_widget, an_unready_logic, a_runner, an_application):
    a_widget.ui.applyButton.click()
    assert (an_unready_logic.installed, len(a_runner.calls), len(an_application.shown)) == (1, 1, 1)


def test_a_failed_installation_is_shown(a_widget, an_unready_logic, a_runner, an_application):
    an_unready_logic.outcome = DependencyError("Installing torch failed: no network.")
    a_widget.ui.applyButton.click()
    assert an_application.shown[-1] == ("errorDisplay", "Installing torch failed: no network.")
    assert a_runner.calls == []
    assert RESUME not in an_application.settings


@pytest.mark.parametrize("now", [True, False])
def test_a_restart_is_offered_and_the_installation_goes_on_after_it(
    a_widget, an_unready_logic, an_application, now, monkeypatch
):
    an_unready_logic.outcome = RestartNeeded("The PyTorch extension is installed; restart Slicer.")
    answers = iter([True, now])
    monkeypatch.setattr(type(an_application), "confirms", property(lambda _self: next(answers)), raising=False)
    a_widget.ui.applyButton.click()
    assert "Restart Slicer now?" in an_application.shown[-1][1]
    assert (an_application.restarts, an_application.settings[RESUME]) == (int(now), "true")
    a_widget.exit()
    a_widget.enter()
    assert a_widget.ui.statusLabel.text == "Slicer was restarted: click Apply to go on with the installation."
    assert len(an_application.shown) == 2
    assert RESUME not in an_application.settings


def test_when_nothing_is_missing_after_the_restart_nothing_is_said(a_widget, an_unready_logic, an_application):
    an_application.settings[RESUME] = "true"
    an_unready_logic.plan = None
    a_widget.enter()
    assert a_widget.ui.statusLabel.text == ""


def test_the_self_check_is_shown_and_copied(a_widget, monkeypatch):
    ui, seen = a_widget.ui, []

    def check(host):
        seen.append((host, threading.current_thread() is threading.main_thread()))
        return "torch 2.8\nNo problem found."

    monkeypatch.setattr(a_widget.logic, "selfCheck", check)
    assert ui.selfCheckTextEdit.readOnly
    assert not ui.copySelfCheckButton.enabled
    ui.selfCheckButton.click()
    assert seen == [("test double 0.0", False)]
    assert ui.selfCheckTextEdit.toPlainText() == "torch 2.8\nNo problem found."
    ui.copySelfCheckButton.click()
    assert QtGui.QGuiApplication.clipboard().text() == "torch 2.8\nNo problem found."


def test_the_module_can_be_reloaded_during_the_self_check(a_widget, an_application, monkeypatch):
    leave = threading.Event()
    monkeypatch.setattr(a_widget.logic, "selfCheck", lambda _host: leave.wait(5) and "too late")

    def reload():
        if not a_widget.panel._closed:
            a_widget.cleanup()
            leave.set()

    an_application.during_events = reload
    a_widget.ui.selfCheckButton.click()
    assert a_widget.ui.selfCheckTextEdit.toPlainText() == "Checking..."


def test_a_scene_from_the_command_line_shows_its_result(open_module, an_application, a_scene, a_volume_node, a_result):
    """It holds no parameters of the panel; what was segmented, and for what, is in the result."""
    widget = open_module()
    node = write_segmentation(
        a_scene, replace(a_result, provenance=a_result.provenance | {"task": "abdomen"}), a_volume_node
    )
    a_scene.InvokeEvent(a_scene.EndImportEvent)
    for _ in range(3):
        an_application.processEvents()
    assert widget.ui.resultSelector.currentNode() is node
    assert widget.logic.getParameterNode().task == "abdomen"
    assert widget.ui.segmentsTable.rowCount


def test_a_result_that_was_chosen_stays_when_a_scene_is_added(
    open_module, an_application, a_scene, a_volume_node, a_result
):
    widget = open_module()
    first, _second = (write_segmentation(a_scene, a_result, a_volume_node) for _ in range(2))
    widget.ui.resultSelector.setCurrentNode(first)
    a_scene.InvokeEvent(a_scene.EndImportEvent)
    for _ in range(3):
        an_application.processEvents()
    assert widget.ui.resultSelector.currentNode() is first
