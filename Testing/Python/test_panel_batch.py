"""The section for batches and exports, clicked; Slicer's window is a test double, the network a fake, MRML is real."""

from __future__ import annotations

import sys

import pytest
import slicer

from MedSegAttentionLib.data.errors import ContractWarning
from scene_tools import snapshot
from slicer_double.fakes import add_noise, nodes_of

pytest_plugins = ["slicer_double.fixtures"]


@pytest.fixture
def a_widget(a_volume_node, open_module):
    """The open module with one volume in the scene, set to the abdomen."""
    widget = open_module()
    widget.ui.taskComboBox.setCurrentIndex(3)
    return widget


def test_the_section_is_collapsed_and_ready(a_widget):
    ui = a_widget.ui
    assert ui.batchCollapsibleButton.collapsed
    assert (ui.batchButton.text, ui.batchButton.enabled, ui.batchProgressBar.isHidden()) == ("Run batch", True, True)
    assert not ui.batchFolderPathLineEdit.enabled
    ui.batchSourceComboBox.setCurrentIndex(1)
    assert ui.batchFolderPathLineEdit.enabled


def test_a_batch_of_the_scene_goes_into_the_folder(a_widget, a_scene, a_runner, tmp_path):
    ui, before = a_widget.ui, snapshot(a_scene)
    ui.deviceComboBox.setCurrentIndex(3)
    ui.batchOutputPathLineEdit.currentPath = str(tmp_path)
    ui.batchReportCheckBox.click()
    ui.batchForceCheckBox.click()
    ui.batchButton.click()
    (call,) = a_runner.calls
    assert (call["task"], call["settings"].device, call["settings"].force) == ("abdomen", "cpu", True)
    assert {"case 1.seg.nrrd", "case 1.report.png", "summary.csv"} <= {path.name for path in tmp_path.iterdir()}
    assert snapshot(a_scene) == before
    assert ui.batchStatusLabel.text == "1 segmented, 0 there already, 0 failed."
    assert ui.applyButton.enabled


def test_without_a_folder_results_go_into_the_scene(a_widget, a_scene):
    a_widget.ui.batchButton.click()
    (segmentation,) = nodes_of(a_scene, "vtkMRMLSegmentationNode")
    assert a_widget.logic.getParameterNode().result is segmentation


@pytest.mark.parametrize("option", ["batchNiftiCheckBox", "batchReportCheckBox"])
def test_files_ask_for_a_folder(a_widget, a_scene, option):
    ui = a_widget.ui
    getattr(ui, option).click()
    ui.batchButton.click()
    assert ui.batchStatusLabel.text == "Choose an output folder first."
    assert nodes_of(a_scene, "vtkMRMLSegmentationNode") == []


def test_folders_that_are_not_chosen_are_asked_for(a_widget, a_runner, an_application, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.png").write_bytes(b"")  # an image where Slicer was started from
    ui = a_widget.ui
    ui.batchSourceComboBox.setCurrentIndex(1)
    ui.batchButton.click()
    assert ui.batchStatusLabel.text == "Choose a folder of images first."
    ui.batchFolderPathLineEdit.currentPath = str(tmp_path)
    ui.batchButton.click()
    assert ui.batchStatusLabel.text == "Choose an output folder first."
    ui.batchOutputPathLineEdit.currentPath = str(tmp_path)
    ui.batchButton.click()
    ((function, text),) = an_application.shown
    assert function == "errorDisplay"
    assert "another folder" in text
    assert ui.batchStatusLabel.text == text
    assert ui.batchButton.text == "Run batch"
    assert a_runner.calls == []


def test_progress_is_shown_and_nothing_else_can_be_started(a_widget, an_application, tmp_path):
    ui, seen = a_widget.ui, []
    ui.batchOutputPathLineEdit.currentPath = str(tmp_path)
    an_application.during_events = lambda: seen.append(
        (ui.batchProgressBar.value, ui.batchButton.text, ui.applyButton.enabled, ui.inputsWidget.enabled)
    )
    ui.batchButton.click()
    assert list(dict.fromkeys(item[0] for item in seen)) == [0, *(100 * n // 9 for n in range(1, 10))]
    assert {item[1:] for item in seen} == {("Cancel batch", False, False)}
    assert ui.batchProgressBar.isHidden()


def test_while_apply_runs_no_batch_can_start(a_widget, an_application):
    seen = []
    an_application.during_events = lambda: seen.append(a_widget.ui.batchCollapsibleButton.enabled)
    a_widget.ui.applyButton.click()
    assert set(seen) == {False}
    assert a_widget.ui.batchCollapsibleButton.enabled


def test_cancel_keeps_what_is_finished(a_widget, a_scene, an_application, tmp_path):
    ui, texts = a_widget.ui, []
    ui.batchOutputPathLineEdit.currentPath = str(tmp_path)

    def click_at_the_third_slice():
        if ui.batchProgressBar.value == 33:
            ui.batchButton.click()
            texts.append((ui.batchStatusLabel.text, ui.batchButton.enabled))

    an_application.during_events = click_at_the_third_slice
    ui.batchButton.click()
    assert texts == [("Stopping after this slice...", False)]
    assert "Cancelled" in ui.batchStatusLabel.text
    assert [path.name for path in tmp_path.iterdir()] == ["summary.csv"]
    an_application.during_events = None
    ui.batchButton.click()
    assert "1 segmented" in ui.batchStatusLabel.text


def test_a_case_that_fails_is_told_with_its_reason(a_widget, a_runner, tmp_path):
    a_runner.errors = [ContractWarning("'case 1' looks like MR.")]
    a_widget.ui.batchOutputPathLineEdit.currentPath = str(tmp_path)
    a_widget.ui.batchButton.click()
    assert a_widget.ui.batchStatusLabel.text.splitlines() == [
        "0 segmented, 0 there already, 1 failed.",
        "case 1: 'case 1' looks like MR.",
    ]


@pytest.mark.parametrize("missing", ["packages", "licence"])
def test_packages_and_licences_are_asked_for_first(missing, a_widget, a_runner, monkeypatch):
    if missing == "packages":
        monkeypatch.setattr(a_widget.panel._installation, "ready", lambda: False)
    else:
        asked = []
        panel = sys.modules["MedSegAttentionLib.panel.panel"]
        monkeypatch.setattr(panel, "licenceAccepted", lambda card, _text: asked.append(card.id))
    a_widget.ui.batchButton.click()
    assert a_runner.calls == []
    assert missing == "packages" or asked == ["abdomen-ct-x"]


@pytest.mark.parametrize("end", ["close", "reload"])
def test_closing_scene_or_panel_during_a_batch_stops_it(end, a_widget, a_scene, an_application, tmp_path):
    ui = a_widget.ui
    ui.batchOutputPathLineEdit.currentPath = str(tmp_path)

    def stop_at_the_third_slice():
        if ui.batchProgressBar.value == 33 and not a_widget.panel._closed:
            a_scene.Clear(False) if end == "close" else a_widget.cleanup()

    an_application.during_events = stop_at_the_third_slice
    ui.batchButton.click()
    assert [path.name for path in tmp_path.iterdir()] == ["summary.csv"]
    if end == "reload":
        assert ui.batchProgressBar.value == 33


def test_a_scene_closed_after_the_first_volume_is_no_error(a_widget, a_scene, a_runner, an_application):
    add_noise(a_scene, "second")

    def close_during_the_second():
        if len(a_runner.calls) == 2 and a_scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"):
            a_scene.Clear(False)

    an_application.during_events = close_during_the_second
    a_widget.ui.batchButton.click()
    assert a_widget.ui.batchStatusLabel.text.startswith("1 segmented")
    assert an_application.shown == []


def test_the_chosen_result_is_exported_and_nothing_is_replaced_unasked(a_widget, a_scene, an_application, tmp_path):
    ui, parameters = a_widget.ui, a_widget.logic.getParameterNode()
    ui.applyButton.click()
    first = parameters.result
    ui.applyButton.click()
    first.SetName("of patient A")
    parameters.result = first
    ui.batchOutputPathLineEdit.currentPath = str(tmp_path)
    ui.exportNrrdButton.click()
    (path,) = tmp_path.iterdir()
    assert path.name == "of patient A.seg.nrrd"
    path.write_bytes(b"of patient B")
    an_application.confirms = False
    ui.exportNrrdButton.click()
    assert "Replace it?" in an_application.shown[-1][1]
    assert path.read_bytes() == b"of patient B"
    assert ui.batchStatusLabel.text.startswith("Not written")
    an_application.confirms = True
    ui.exportNrrdButton.click()
    assert path.stat().st_size > 1000


def test_the_file_beside_a_label_map_is_not_replaced_unasked_either(a_widget, an_application, tmp_path):
    ui = a_widget.ui
    ui.applyButton.click()
    a_widget.logic.getParameterNode().result.SetName("a.nii.gz")
    name = "a.nii.gz"
    (tmp_path / f"{name}.json").write_text("mine")
    ui.batchOutputPathLineEdit.currentPath = str(tmp_path)
    an_application.confirms = False
    ui.exportNiftiButton.click()
    assert f"{name}.json is there already" in an_application.shown[-1][1]
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_the_latest_result_is_exported(a_widget, an_application, tmp_path):
    ui = a_widget.ui
    ui.exportNrrdButton.click()
    assert ui.batchStatusLabel.text == "Choose an output folder first."
    ui.batchOutputPathLineEdit.currentPath = str(tmp_path)
    ui.exportNrrdButton.click()
    assert "segment a volume first" in an_application.shown.pop()[1]
    ui.applyButton.click()
    for button, ending in (
        (ui.exportNrrdButton, ".seg.nrrd"),
        (ui.exportNiftiButton, ".nii.gz"),
        (ui.exportReportButton, ".report.png"),
    ):
        button.click()
        assert (tmp_path / f"case 1 abdomen-ct-klo-net{ending}").is_file()
        assert ui.batchStatusLabel.text.endswith(ending)
    ui.exportDicomButton.click()
    ((function, text),) = an_application.shown
    assert function == "errorDisplay"
    assert "DICOM SEG" in text


@pytest.fixture
def a_film(a_widget, a_scene, a_volume_node):
    """Sequence browser of three frames that the input volume shows; the panel is set to segment them all."""
    ui, parameters = a_widget.ui, a_widget.logic.getParameterNode()
    ui.taskComboBox.setCurrentIndex(0)
    ui.batchSourceComboBox.setCurrentIndex(2)
    player = slicer.vtkSlicerSequencesLogic()
    player.SetMRMLScene(a_scene)
    sequence = a_scene.AddNewNodeByClass("vtkMRMLSequenceNode", "film")
    for number in range(3):
        sequence.SetDataNodeAtValue(a_volume_node, str(number))
    browser = a_scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "player")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    player.UpdateProxyNodesFromSequences(browser)
    parameters.inputVolume = browser.GetProxyNode(sequence)
    yield browser
    player.SetMRMLScene(None)


def segmentation_sequences(a_scene) -> list[slicer.vtkMRMLSequenceNode]:
    return [node for node in nodes_of(a_scene, "vtkMRMLSequenceNode") if "segmentation" in node.GetName().lower()]


def test_a_volume_that_shows_no_frames_is_told_of(a_widget):
    ui = a_widget.ui
    ui.batchSourceComboBox.setCurrentIndex(2)
    assert not ui.batchReportCheckBox.enabled
    ui.batchButton.click()
    assert "shows no frames of a sequence" in ui.batchStatusLabel.text


def test_all_frames_of_the_input_volumes_sequence(a_widget, a_scene, a_film):
    a_widget.ui.batchButton.click()
    assert a_widget.ui.batchStatusLabel.text == "3 frames segmented; the results play with them."
    (segmentations,) = segmentation_sequences(a_scene)
    assert segmentations.GetNumberOfDataNodes() == 3
    shown = a_film.GetProxyNode(segmentations)
    assert shown.IsA("vtkMRMLSegmentationNode")
    assert a_widget.logic.getParameterNode().result is shown
    assert a_widget.ui.resultSelector.currentNode() is shown
    maps = [a_scene.GetNthNodeByClass(n, "vtkMRMLSequenceNode").GetName() for n in range(3)]
    assert any(name.endswith("tau, stage 4") for name in maps)  # its title, not the key of the map


@pytest.mark.parametrize(("at", "kept"), [(50, 0), (250, 2)])
def test_cancel_keeps_the_finished_frames(at, kept, a_widget, a_scene, a_film, an_application):
    ui = a_widget.ui
    an_application.during_events = lambda: (
        ui.batchButton.click() if ui.batchProgressBar.value >= at and ui.batchButton.enabled else None
    )
    ui.batchButton.click()
    assert [node.GetNumberOfDataNodes() for node in segmentation_sequences(a_scene)] == ([kept] if kept else [])
    stays = f"Cancelled; the first {kept} frames stay." if kept else "Cancelled; the scene is as it was."
    assert ui.batchStatusLabel.text == stays
