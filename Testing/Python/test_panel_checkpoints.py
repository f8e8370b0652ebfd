"""The panel's own checkpoints, their licences, and how long they take; Slicer's widgets are a test double."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from PySide6 import QtCore

from MedSegAttentionLib.data.errors import CheckpointError, InputError, MedSegAttentionError
from MedSegAttentionLib.setup import timing
from slicer_double.fakes import a_card

pytest_plugins = ["slicer_double.fixtures"]
ACCEPTED = "MedSegAttention/AcceptedLicences/prostate-x@1"
TIME = "MedSegAttention/SecondsPerSlice/prostate-x@1/auto"


@pytest.fixture
def a_widget(a_volume_node, open_module):
    return open_module()


@pytest.fixture
def an_adding_logic(a_widget, monkeypatch):
    """Its ``sources`` are what was added; ``own`` what the user has; ``error`` is raised by the next addition."""
    logic = a_widget.logic
    logic.sources, logic.own, logic.error, logic.threads = [], [], None, []

    def add(source, on_bytes):
        logic.threads.append(threading.current_thread())
        if logic.error:
            raise logic.error
        on_bytes(1_000_000, 4_000_000)
        logic.sources.append(source)
        logic.own.append("prostate-y")
        return replace(a_card("prostate-y", "prostate"), version="2")

    monkeypatch.setattr(logic, "addCheckpoint", add)
    monkeypatch.setattr(logic, "removeCheckpoint", logic.own.remove)
    monkeypatch.setattr(logic, "userCheckpoints", lambda: list(logic.own))
    cards = logic.checkpoints()
    monkeypatch.setattr(
        logic, "checkpoints", lambda: [*cards, *(a_card(name, "prostate") for name in logic.own)], raising=False
    )
    return logic


def entries(combo_box):
    return [combo_box.itemText(n) for n in range(combo_box.count)]


def test_nothing_is_added_before_a_source_is_named(a_widget):
    ui = a_widget.ui
    assert not ui.addCheckpointButton.enabled
    ui.checkpointSourceLineEdit.text = "  "
    assert not ui.addCheckpointButton.enabled
    ui.checkpointSourceLineEdit.text = "x.zip"
    assert ui.addCheckpointButton.enabled


def test_files_and_folders_are_chosen_in_dialogs(a_widget, an_application):
    ui = a_widget.ui
    an_application.chosen = ["/a/b.zip", "", "/a/folder"]
    seen = []
    for button in (ui.chooseZipButton, ui.chooseZipButton, ui.chooseFolderButton):
        button.click()
        seen.append(ui.checkpointSourceLineEdit.text)
    assert seen == ["/a/b.zip", "/a/b.zip", "/a/folder"]


def test_an_added_checkpoint_is_listed_and_can_be_removed(a_widget, an_adding_logic, an_application):
    ui = a_widget.ui
    ui.checkpointSourceLineEdit.text = " https://example.com/y.zip "
    ui.addCheckpointButton.click()
    assert an_adding_logic.sources == ["https://example.com/y.zip"]
    assert an_adding_logic.threads != [threading.current_thread()]
    assert ui.checkpointsStatusLabel.text == "Added prostate-y, version 2."
    assert entries(ui.checkpointComboBox) == ["Automatic", "prostate-x", "prostate-y"]
    assert (ui.addCheckpointButton.text, ui.removeCheckpointButton.enabled) == ("Add checkpoint", False)
    ui.checkpointComboBox.setCurrentIndex(2)
    assert ui.removeCheckpointButton.enabled
    an_application.confirms = False
    ui.removeCheckpointButton.click()
    assert an_adding_logic.own == ["prostate-y"]
    an_application.confirms = True
    ui.removeCheckpointButton.click()
    assert an_adding_logic.own == []
    assert entries(ui.checkpointComboBox) == ["Automatic", "prostate-x"]
    assert a_widget.logic.getParameterNode().checkpoint == ""
    assert not ui.removeCheckpointButton.enabled
    assert an_application.shown[-1] == ("confirmOkCancelDisplay", "Delete checkpoint prostate-y from this computer?")


def test_one_that_ships_cannot_be_removed(a_widget, an_adding_logic):
    a_widget.ui.checkpointComboBox.setCurrentIndex(1)
    assert not a_widget.ui.removeCheckpointButton.enabled


def test_a_refusal_is_explained(a_widget, an_adding_logic, an_application):
    an_adding_logic.error = CheckpointError("the zip holds a link; it was refused as unsafe.")
    a_widget.ui.checkpointSourceLineEdit.text = "x.zip"
    a_widget.ui.addCheckpointButton.click()
    assert an_application.shown == [("errorDisplay", "the zip holds a link; it was refused as unsafe.")]
    assert a_widget.ui.checkpointsStatusLabel.text == "Not added."
    assert a_widget.ui.addCheckpointButton.enabled


def slow_download(monkeypatch, logic):
    """An addition that goes on until it is stopped; waits for the panel between its blocks."""

    def add(_source, on_bytes):
        for done in range(1, 2000):
            on_bytes(done * 1_000_000, None)
            threading.Event().wait(0.01)
        pytest.fail("was never stopped")

    monkeypatch.setattr(logic, "addCheckpoint", add)


def test_a_download_shows_its_progress_and_can_be_stopped(a_widget, an_application, monkeypatch):
    ui, seen = a_widget.ui, []
    slow_download(monkeypatch, a_widget.logic)

    def stop_once_progress_shows():
        if ui.checkpointsStatusLabel.text.startswith("Downloading: ") and not seen:
            seen.append((ui.addCheckpointButton.text, ui.checkpointSourceLineEdit.enabled))
            ui.addCheckpointButton.click()
            seen.append((ui.addCheckpointButton.enabled,))

    an_application.during_events = stop_once_progress_shows
    ui.checkpointSourceLineEdit.text = "https://example.com/y.zip"
    ui.addCheckpointButton.click()
    assert seen == [("Stop", False), (False,)]
    assert ui.checkpointsStatusLabel.text == "Stopped; nothing was added."
    assert ui.checkpointSourceLineEdit.enabled
    assert an_application.shown == []


def test_reloading_during_a_download_stops_it_and_touches_no_widget(a_widget, an_application, monkeypatch):
    slow_download(monkeypatch, a_widget.logic)
    an_application.during_events = lambda: None if a_widget.panel._closed else a_widget.cleanup()
    a_widget.ui.checkpointSourceLineEdit.text = "https://example.com/y.zip"
    a_widget.ui.addCheckpointButton.click()
    assert a_widget.ui.addCheckpointButton.text == "Stop"
    assert an_application.shown == []


def test_the_folder_is_shown_in_the_file_manager(a_widget, an_application, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEGATTENTION_CHECKPOINTS", str(tmp_path / "with space"))
    a_widget.ui.openCheckpointsFolderButton.click()
    (address,) = an_application.opened
    assert address.startswith("file:///")
    assert address.endswith(("with space", "with%20space"))
    assert (tmp_path / "with space").is_dir()


def test_a_licence_is_shown_once_and_remembered(a_widget, a_runner, an_application):
    del an_application.settings[ACCEPTED]
    an_application.confirms = False
    a_widget.ui.applyButton.click()
    ((function, text),) = an_application.shown
    assert function == "confirmOkCancelDisplay"
    assert "First use of checkpoint prostate-x, version 1" in text
    assert "Licence of prostate-x" in text
    assert a_runner.calls == []
    assert a_widget.ui.statusLabel.text == "Not run: the licence of prostate-x was not accepted."
    an_application.confirms = True
    a_widget.ui.applyButton.click()
    a_widget.ui.applyButton.click()
    assert len(an_application.shown) == 2
    assert len(a_runner.calls) == 2
    assert an_application.settings[ACCEPTED] == "true"


def test_the_lines_of_a_licence_are_broken_by_the_dialog_alone(a_widget, an_application, monkeypatch):
    del an_application.settings[ACCEPTED]
    wrapped = "The weights may be used, copied and passed on for research and education,"
    licence = f"Licence\n\n{wrapped}\nfree of charge.\n\n* {wrapped}\n* Images: none\n"
    monkeypatch.setattr(type(a_widget.logic), "licence", lambda *_: licence)
    a_widget.ui.applyButton.click()
    ((_, text),) = an_application.shown
    assert f"Licence\n\n{wrapped} free of charge.\n\n* {wrapped}\n* Images: none\n\nDo you accept" in text


def test_a_licence_with_tags_is_shown_as_it_is_written(a_widget, an_application, monkeypatch):
    del an_application.settings[ACCEPTED]
    monkeypatch.setattr(type(a_widget.logic), "licence", lambda *_: "<h1>Free</h1> <img src='http://x'>")
    a_widget.ui.applyButton.click()
    ((_, text),) = an_application.shown
    assert "<h1>Free</h1> <img src='http://x'>" in text
    (options,) = an_application.options
    assert options["textFormat"] == QtCore.Qt.PlainText


def test_another_version_asks_again(a_widget, a_runner, an_application, monkeypatch):
    newer = replace(a_card("prostate-x", "prostate"), version="2")
    monkeypatch.setattr(a_widget.logic, "checkpointFor", lambda *_: newer)
    a_widget.ui.applyButton.click()
    ((_, text),) = an_application.shown
    assert "version 2" in text


def refuse_volume(*_arguments):
    raise InputError("an empty volume.")


def test_the_time_of_a_volume_is_measured_when_asked_and_kept(a_widget, an_application, monkeypatch, open_module):
    asked = []

    def measure(checkpoint, device):
        asked.append((checkpoint, device, threading.current_thread() is threading.main_thread()))
        return 0.5

    monkeypatch.setattr(a_widget.logic, "secondsPerSlice", measure)
    ui = a_widget.ui
    assert "not measured on this machine yet" in ui.modelCardBrowser.plainText
    ui.estimateTimeButton.click()
    assert asked == [("prostate-x", "auto", False)]
    assert "about 4 s for this volume of 9 slices" in ui.modelCardBrowser.plainText
    assert an_application.settings[TIME] == "0.5"
    assert (ui.estimateTimeButton.text, ui.estimateTimeButton.enabled) == ("Estimate time", True)
    ui.deviceComboBox.setCurrentIndex(3)
    assert "not measured" in ui.modelCardBrowser.plainText
    ui.deviceComboBox.setCurrentIndex(0)
    monkeypatch.setattr(a_widget.logic, "sliceCount", refuse_volume)
    ui.taskComboBox.setCurrentIndex(1)
    ui.taskComboBox.setCurrentIndex(0)
    assert "about 0.5 s a slice" in ui.modelCardBrowser.plainText
    ui.inputVolumeSelector.setCurrentNode(None)
    assert "about 0.5 s a slice" in ui.modelCardBrowser.plainText


def test_a_time_that_cannot_be_measured_is_explained(a_widget, an_application, monkeypatch):
    def fail(*_):
        raise MedSegAttentionError("the time could not be measured.")

    monkeypatch.setattr(a_widget.logic, "secondsPerSlice", fail)
    a_widget.ui.estimateTimeButton.click()
    assert an_application.shown == [("errorDisplay", "the time could not be measured.")]
    assert a_widget.ui.estimateTimeButton.enabled


@pytest.mark.parametrize("missing", ["packages", "licence"])
def test_before_measuring_packages_and_licence_are_asked_for(a_widget, an_application, monkeypatch, missing):
    monkeypatch.setattr(a_widget.logic, "secondsPerSlice", lambda *_: pytest.fail("measured"))
    if missing == "packages":
        monkeypatch.setattr(a_widget.panel._installation, "ready", lambda: False)
    else:
        an_application.settings.clear()
        an_application.confirms = False
    a_widget.ui.estimateTimeButton.click()
    assert len(an_application.shown) == (missing == "licence")
    assert a_widget.ui.estimateTimeButton.enabled


def test_a_finished_run_tells_the_time(a_widget, a_runner, an_application):
    a_runner.result.provenance.update(
        checkpoint="prostate-x",
        checkpoint_version="1",
        slices=[9, 9],
        seconds={"load": 3, "network": 900, "slices": 180},
        settings={"device": "auto"},
    )
    a_widget.ui.applyButton.click()
    assert an_application.settings[TIME] == "120.0"
    assert "about 18 min for this volume of 9 slices" in a_widget.ui.modelCardBrowser.plainText


def test_flips_take_twice_the_time_and_their_runs_do_not_change_what_is_known(a_widget, a_runner, an_application):
    ui, an_application.settings[TIME] = a_widget.ui, "60.0"
    ui.testTimeFlipsCheckBox.click()
    assert "about 18 min for this volume of 9 slices" in ui.modelCardBrowser.plainText
    a_runner.result.provenance.update(
        checkpoint="prostate-x",
        checkpoint_version="1",
        slices=[9, 9],
        seconds={"network": 900},
        settings={"device": "auto", "test_time_flips": True},
    )
    ui.applyButton.click()
    assert an_application.settings[TIME] == "60.0"


def test_the_time_is_measured_by_the_command_line(monkeypatch):
    commands = []

    def run_module(*command, timeout):
        commands.append(command)
        return type("Done", (), {"stdout": "0.1234 s per slice on cpu\n", "stderr": "", "returncode": 0})

    monkeypatch.setattr(timing, "run_module", run_module)
    assert timing.seconds_per_slice("prostate-x", "cpu") == 0.1234
    assert commands == [("MedSegAttentionLib", "checkpoints", "time", "prostate-x", "--device", "cpu")]


def test_a_measurement_that_fails_says_why():
    with pytest.raises(MedSegAttentionError, match="checkpoint 'no-such' was not found"):
        timing.seconds_per_slice("no-such", "cpu")
