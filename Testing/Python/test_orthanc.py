"""There and back with a real Orthanc: fetch a study, segment it, send the results, fetch them back, compare."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from command_tools import labels, names, one_line
from conftest import geometry
from dicom_studies import a_study_series
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.files.reading import read_volume
from orthanc import PLUGIN, Orthanc, skip_without_orthanc
from small_checkpoint import MAPS, write_checkpoint
from test_dicom_results import ARRAY, MR_SCAN, ORGANS, PROGRAMS

pytest_plugins = ["command_fixtures"]

STUDY, SERIES = "1.2.826.0.1.99", "1.2.826.0.1.99.9"


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory) -> Iterator[Orthanc]:
    skip_without_orthanc()
    server = Orthanc(tmp_path_factory.mktemp("orthanc")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("mr"), **ORGANS)


@pytest.fixture
def series(tmp_path) -> Path:
    a_study_series(tmp_path / "mr", ARRAY, geometry("oblique"), "MR", SERIES, **MR_SCAN)
    return tmp_path / "mr"


def address(orthanc: Orthanc, how: str) -> list[str]:
    if how == "web":
        if not PLUGIN.is_file():
            pytest.skip("Orthanc is there without its DICOMweb plugin (Debian: apt-get install orthanc-dicomweb)")
        return [orthanc.web, "--timeout", "20"]
    return [f"127.0.0.1:{orthanc.port}", "--aet", "ORTHANC", "--timeout", "20"]


def fetch(orthanc: Orthanc, output: Path, how: str, *options: str) -> int:
    extra = ["--move-port", str(orthanc.move_port)] if how == "move" else []
    return main(["fetch-from", *address(orthanc, how), "--study", STUDY, "--output", str(output), *extra, *options])


def send(orthanc: Orthanc, how: str, *places: Path) -> int:
    return main(["send-to", *address(orthanc, how), *map(str, places)])


@pytest.mark.parametrize(("how", "seg"), [("move", "labelmap"), ("web", "labelmap"), ("get", "binary")])
def test_there_and_back(how, seg, orthanc, checkpoint, series, tmp_path, capfd):
    assert send(orthanc, how, series) == 0
    assert fetch(orthanc, tmp_path / "in", how, "--series", SERIES) == 0
    np.testing.assert_array_equal(read_volume(tmp_path / "in" / STUDY / SERIES).array, read_volume(series).array)
    words = ["segment", str(tmp_path / "in"), "--checkpoint", str(checkpoint), "--output", str(tmp_path / "out")]
    assert main([*words, "--dicom-seg", seg, "--series", "auto", "--device", "cpu"]) == 0
    objects = sorted((tmp_path / "out").glob("*.dcm"))
    maps = [path for path in (tmp_path / "out").glob("*.nrrd") if not path.name.endswith(".seg.nrrd")]
    assert len(objects) == 2 + len(maps)
    assert len(maps) >= len(MAPS)
    assert send(orthanc, how, tmp_path / "out") == 0
    count = orthanc.instances()
    capfd.readouterr()
    assert send(orthanc, how, tmp_path / "out") == 0  # and once more: no copy
    assert f"0 sent, {len(objects)} there already" in capfd.readouterr().out
    assert orthanc.instances() == count
    if how == "get":  # of some versions of Orthanc C-GET does not send label maps, whose class is newer than they are
        fetch(orthanc, tmp_path / "back", how)
        assert len(list((tmp_path / "back" / STUDY).glob("[!.]*"))) >= 2 + len(maps)
        how = "move"
    assert fetch(orthanc, tmp_path / "back", how) == 0
    for path in objects:
        sent = pydicom.dcmread(path)
        (found,) = (tmp_path / "back").rglob(f"{sent.SOPInstanceUID}.dcm")
        back = pydicom.dcmread(found)
        for name in ("PixelData", "FloatPixelData"):
            assert back.get(name) == sent.get(name)
        if sent.Modality == "SEG":
            segmentation = highdicom.seg.segread(found)
            uids = json.loads(next((tmp_path / "out").glob("*.json")).read_text())["sop_instance_uids"]
            array = segmentation.get_pixels_by_source_instance(
                uids, combine_segments=True, assert_missing_frames_are_empty=True
            )
            np.testing.assert_array_equal(array, labels(path.with_name(path.name.replace(".dcm", ".nrrd"))))


def test_the_study_with_its_results_still_has_one_series_to_segment(orthanc, checkpoint, series, tmp_path, capfd):
    assert send(orthanc, "get", series) == 0
    words = ["segment", str(series), "--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), "--dicom"]
    assert main(words) == 0
    assert send(orthanc, "get", tmp_path / "out") == 0
    assert fetch(orthanc, tmp_path / "in", "move") == 0
    capfd.readouterr()
    words = ["segment", str(tmp_path / "in"), "--checkpoint", str(checkpoint), "--output", str(tmp_path / "again")]
    assert main([*words, "--attention", "none"]) == 0
    assert len([name for name in names(tmp_path / "again") if name.endswith(".seg.nrrd")]) == 1


def test_a_wrong_title_is_told(orthanc, tmp_path, capfd):
    words = ["fetch-from", f"127.0.0.1:{orthanc.port}", "--aet", "WRONG", "--study", STUDY, "--output", str(tmp_path)]
    assert main(words) == 1
    one_line(capfd.readouterr().err, "refused the connection", "Called AE title not recogni")


def test_an_address_without_dicomweb_is_told(orthanc, tmp_path, capfd):
    words = ["fetch-from", f"http://127.0.0.1:{orthanc.web_port}/nothing", "--study", STUDY, "--output", str(tmp_path)]
    assert main(words) == 1
    one_line(capfd.readouterr().err, "HTTP 404", "http://HOST:PORT/dicom-web")


@pytest.mark.parametrize("how", ["get", "web"])
def test_an_archive_that_is_killed_in_the_middle_is_told_and_the_next_run_goes_on(how, tmp_path, capfd):
    skip_without_orthanc()
    (tmp_path / "orthanc").mkdir()
    server = Orthanc(tmp_path / "orthanc").start()
    try:
        large = np.random.default_rng(0).integers(0, 1000, (60, 256, 256)).astype(np.int16)
        a_study_series(tmp_path / "mr", large, geometry("plain"), "MR", SERIES, **MR_SCAN)
        assert send(server, how, tmp_path / "mr") == 0
        capfd.readouterr()
        command = ["fetch-from", *address(server, how), "--study", STUDY, "--output", str(tmp_path / "in")]
        killer = threading.Thread(target=kill_after, args=(server, tmp_path / "in", 5))
        killer.start()
        status = main(command)
        killer.join()
        assert status == 1
        error = capfd.readouterr().err
        assert "cut the connection" in error or "fell silent" in error or "did not come" in error
        assert not (tmp_path / "in" / STUDY / SERIES).exists()
        kept = list((tmp_path / "in").rglob("*.dcm"))
        assert 0 < len(kept) < 60
        server.start()
        assert main(command) == 0
        np.testing.assert_array_equal(read_volume(tmp_path / "in" / STUDY / SERIES).array, large)
    finally:
        server.stop()


def kill_after(server: Orthanc, folder: Path, count: int) -> None:
    """End the archive, with no time to say so, when ``count`` files have come."""
    for _ in range(6000):
        if len(list(folder.rglob("*.dcm"))) >= count:
            break
        time.sleep(0.002)
    server.stop()


def test_dicom3tools_finds_one_study_in_what_came_back(orthanc, checkpoint, series, tmp_path):
    """The same check as on what was written, after an archive had it."""
    words = ["segment", str(series), "--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), "--dicom"]
    assert main(words) == 0
    assert send(orthanc, "get", series, tmp_path / "out") == 0
    assert fetch(orthanc, tmp_path / "in", "move") == 0
    for path in (tmp_path / "in").rglob("*.dcm"):
        if pydicom.dcmread(path, stop_before_pixels=True).SOPClassUID.name.startswith("Segmentation"):
            done = subprocess.run([PROGRAMS / "dciodvfy", path], capture_output=True, text=True, check=False)
            assert not [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
