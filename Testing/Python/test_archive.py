"""To and from an archive, against a server of the test: whole or not there, and always a sentence that says why."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import MRImageStorage

from archive_double import ArchiveDouble, serving
from command_tools import names, one_line
from conftest import geometry
from dicom_studies import a_study_series, change
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.files.reading import read_volume
from study_tools import ARRAY as LONGER
from study_tools import mr

pytest_plugins = ["command_fixtures"]

STUDY = "1.2.826.0.1.99"
ARRAY = LONGER[:5]


@pytest.fixture
def archive(tmp_path) -> Iterator[ArchiveDouble]:
    """Two series of one study, five instances each."""
    double = ArchiveDouble()
    for path in [
        *mr(tmp_path / "made" / "1", 1, ARRAY),
        *mr(tmp_path / "made" / "2", 2, ARRAY, SeriesDescription="t2"),
    ]:
        dataset = pydicom.dcmread(path)
        double.kept[str(dataset.SOPInstanceUID)] = dataset
    with serving(double):
        yield double


def fetch(archive: ArchiveDouble, output: Path, *options: str, aet: str = "DOUBLE") -> int:
    words = ["fetch-from", f"127.0.0.1:{archive.port}", "--aet", aet, "--output", str(output)]
    return main([*words, "--timeout", "5", *(options or ("--study", STUDY))])


def send(archive: ArchiveDouble, *words: object) -> int:
    return main(["send-to", f"127.0.0.1:{archive.port}", "--aet", "DOUBLE", "--timeout", "5", *map(str, words)])


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def check_whole(folder: Path) -> None:
    for number in (1, 2):
        series = folder / STUDY / f"1.2.826.0.1.7.{number}"
        assert len(names(series)) == 5
        np.testing.assert_array_equal(read_volume(series).array, ARRAY)
    assert names(folder / STUDY) == [f"1.2.826.0.1.7.{number}" for number in (1, 2)]


def test_a_study_is_fetched_whole_and_not_again(archive, tmp_path, capfd):
    assert fetch(archive, tmp_path / "out") == 0
    check_whole(tmp_path / "out")
    assert "2 of 2 series whole, 10 instances fetched" in capfd.readouterr().out
    archive.requests.clear()
    assert fetch(archive, tmp_path / "out") == 0
    assert "get" not in archive.requests
    captured = capfd.readouterr()
    assert "2 of 2 series whole, 0 instances fetched" in captured.out
    assert not any(secret in captured.out + captured.err for secret in ("PID-4711", "Müller", "19600203"))


@pytest.mark.parametrize("key", ["--patient=PID-4711", "--accession=A17", "--date=20240102"])
def test_a_study_is_found_by_what_is_known_of_it(key, archive, tmp_path):
    assert fetch(archive, tmp_path / "out", key, "--series", "1.2.826.0.1.7.2", "--modality", "MR") == 0
    assert names(tmp_path / "out" / STUDY) == ["1.2.826.0.1.7.2"]


def test_a_list_fetches_nothing(archive, tmp_path, capfd):
    assert fetch(archive, tmp_path / "out", "--patient", "PID-4711", "--list") == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[1] == f"{STUDY}  20240102  series 2 MR 't2', 5 instances"
    assert not (tmp_path / "out").exists()


def test_by_move_to_a_port_that_the_archive_knows(archive, tmp_path):
    port = free_port()
    archive.knows = ("127.0.0.1", port)
    assert fetch(archive, tmp_path / "out", "--study", STUDY, "--move-port", str(port)) == 0
    check_whole(tmp_path / "out")
    assert "move" in archive.requests
    assert "get" not in archive.requests


def test_a_move_to_whom_the_archive_does_not_know_is_told(archive, tmp_path, capfd):
    assert fetch(archive, tmp_path / "out", "--study", STUDY, "--move-port", str(free_port())) == 1
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2  # of two series
    assert all("5 of 5 instances" in line and "refused what was asked (status 0xA801" in line for line in lines)


def test_a_port_in_use_is_told(archive, tmp_path, capfd):
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        assert fetch(archive, tmp_path / "out", "--study", STUDY, "--move-port", str(other.getsockname()[1])) == 1
    one_line(capfd.readouterr().err, "cannot be opened", "--move-port")


def test_a_cut_connection_leaves_no_half_series_and_the_next_run_goes_on(archive, tmp_path, capfd):
    archive.cuts_after = 4
    assert fetch(archive, tmp_path / "out") == 1
    one_line(capfd.readouterr().err, "cut the connection", "run again, and it goes on")
    assert not list((tmp_path / "out").rglob("[!.]*.7.1"))
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.dcm")}
    assert len(kept) == 4
    assert fetch(archive, tmp_path / "out") == 0
    check_whole(tmp_path / "out")
    again = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.dcm")}
    assert all(again[name] == moment for name, moment in kept.items())


def test_instances_that_never_come_fail_their_series_and_no_other(archive, tmp_path, capfd):
    archive.loses = {"1.2.826.0.1.7.1.3"}
    assert fetch(archive, tmp_path / "out") == 1
    captured = capfd.readouterr()
    one_line(captured.err, "1 of 5 instances of series 1 MR did not come")
    assert "1 of 2 series whole" in captured.out
    assert names(tmp_path / "out" / STUDY) == [".unfinished-1.2.826.0.1.7.1", "1.2.826.0.1.7.2"]
    archive.loses.clear()
    archive.requests.clear()
    assert fetch(archive, tmp_path / "out") == 0
    assert archive.requests.count("get") == 1
    check_whole(tmp_path / "out")


def test_what_comes_late_joins_a_series_that_was_whole(archive, tmp_path):
    late = archive.kept.pop("1.2.826.0.1.7.2.5")
    assert fetch(archive, tmp_path / "out") == 0
    archive.kept["1.2.826.0.1.7.2.5"] = late
    assert fetch(archive, tmp_path / "out") == 0
    check_whole(tmp_path / "out")


def test_half_a_series_is_no_case(archive, tmp_path, capfd):
    archive.loses = {"1.2.826.0.1.7.1.3"}
    assert fetch(archive, tmp_path / "out") == 1
    capfd.readouterr()
    assert main(["inspect", str(tmp_path / "out")]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    ("aet", "words"), [("WRONG", "refused the connection from MEDSEGATTENTION (Called AE title not recogni")]
)
def test_a_wrong_title_is_told(aet, words, archive, tmp_path, capfd):
    assert fetch(archive, tmp_path / "out", aet=aet) == 1
    one_line(capfd.readouterr().err, words, "--aet is the archive's")
    assert not (tmp_path / "out").exists()


def test_a_title_of_ours_that_it_does_not_know_is_told(tmp_path, capfd):
    with serving(ArchiveDouble(), allowed=["KNOWN"]) as double:
        assert fetch(double, tmp_path / "out") == 1
        one_line(capfd.readouterr().err, "Calling AE title not recogni")
        assert fetch(double, tmp_path / "out", "--study", STUDY, "--own-aet", "KNOWN") == 1
        one_line(capfd.readouterr().err, "has nothing that was asked for")


def test_nobody_there_is_told(tmp_path, capfd):
    assert fetch(ArchiveDouble(port=free_port()), tmp_path / "out") == 1
    one_line(capfd.readouterr().err, "cannot be reached (Connection refused)")


def test_an_archive_that_does_not_answer_is_given_up(archive, tmp_path, capfd):
    archive.waits = 3
    assert fetch(archive, tmp_path / "out", "--study", STUDY, "--timeout", "1") == 1
    one_line(capfd.readouterr().err, "fell silent or cut the connection (waited 1 s)")


def hang_up(server: socket.socket) -> None:
    server.accept()[0].close()


def test_a_server_of_another_kind_is_told(tmp_path, capfd):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        threading.Thread(target=hang_up, args=(other,), daemon=True).start()
        double = ArchiveDouble(port=other.getsockname()[1])
        assert fetch(double, tmp_path / "out", "--study", STUDY, "--timeout", "1") == 1
    one_line(capfd.readouterr().err, "answers, but not as DICOM does")


def test_an_archive_without_get_names_the_other_ways(tmp_path, capfd):
    double = ArchiveDouble()
    for path in mr(tmp_path / "made", 1, ARRAY):
        dataset = pydicom.dcmread(path)
        double.kept[str(dataset.SOPInstanceUID)] = dataset
    with serving(double, retrieve=False):
        assert fetch(double, tmp_path / "out") == 1
    one_line(capfd.readouterr().err, "does not offer Study Root", "--move-port")


def test_a_folder_that_cannot_be_written_is_told(archive, tmp_path, capfd):
    (tmp_path / "out").write_text("a file")
    assert fetch(archive, tmp_path / "out") == 1
    one_line(capfd.readouterr().err, "cannot be written to", "--output")


def test_a_full_disk_is_told_and_leaves_no_half_file(archive, tmp_path, monkeypatch, capfd):
    write, count = Path.write_bytes, iter(range(100))

    def full(self: Path, content: bytes) -> int:
        if next(count) >= 3:
            write(self, content[:100])
            raise OSError(28, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert fetch(archive, tmp_path / "out") == 1
    one_line(capfd.readouterr().err, "No space left on device")
    monkeypatch.undo()
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 3
    assert fetch(archive, tmp_path / "out") == 0
    check_whole(tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_uids_that_are_none_never_become_paths(archive, tmp_path, capfd):
    dataset = next(iter(archive.kept.values()))
    dataset.SOPInstanceUID = "../../escaped"
    assert fetch(archive, tmp_path / "out") == 1
    one_line(capfd.readouterr().err, "whose UID is none")


# --- sending


def test_files_are_sent_once(archive, tmp_path, capfd):
    archive.kept.clear()
    (tmp_path / "made" / "notes.txt").write_text("no DICOM")
    assert send(archive, tmp_path / "made") == 0
    assert len(archive.kept) == 10
    assert "10 sent, 0 there already, 0 not taken" in capfd.readouterr().out
    archive.requests.clear()
    assert send(archive, tmp_path / "made") == 0
    assert "store" not in archive.requests
    assert "0 sent, 10 there already" in capfd.readouterr().out
    assert send(archive, tmp_path / "made", "--again") == 0
    assert archive.requests.count("store") == 10


def test_what_was_sent_comes_back_the_same(archive, tmp_path):
    archive.kept.clear()
    assert send(archive, tmp_path / "made") == 0
    assert fetch(archive, tmp_path / "out") == 0
    check_whole(tmp_path / "out")
    for path in (tmp_path / "made").rglob("*.dcm"):
        sent = pydicom.dcmread(path)
        (found,) = (tmp_path / "out").rglob(f"{sent.SOPInstanceUID}.dcm")
        assert pydicom.dcmread(found) == sent


def test_files_that_are_not_taken_are_named_and_the_others_are_there(archive, tmp_path, capfd):
    archive.kept.clear()
    archive.refuses = {MRImageStorage: 0xA700}
    ct = a_study_series(tmp_path / "ct", ARRAY[:2], geometry("plain"))
    assert send(archive, tmp_path / "made", tmp_path / "ct") == 1
    captured = capfd.readouterr()
    assert len(captured.err.splitlines()) == 10
    assert "was not taken by archive DOUBLE" in captured.err
    assert "status 0xA700" in captured.err
    assert "2 sent, 0 there already, 10 not taken" in captured.out
    assert len(archive.kept) == len(ct)


def test_a_class_that_the_archive_does_not_know_is_named(archive, tmp_path, capfd):
    (path,) = mr(tmp_path / "odd", 9, ARRAY[:1])
    change(path, SOPClassUID="1.2.3.4.5")
    dataset = pydicom.dcmread(path)
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.3.4.5"
    dataset.save_as(path)
    assert send(archive, path, "--again") == 1
    one_line(capfd.readouterr().err, "does not offer or take 1.2.3.4.5")
    assert send(archive, path, tmp_path / "made" / "1", "--again") == 1
    one_line(capfd.readouterr().err, "was not taken", "it takes no 1.2.3.4.5")


def test_nothing_to_send_is_told(archive, tmp_path, capfd):
    (tmp_path / "a.txt").write_text("text")
    for place, words in (("a.txt", "is no DICOM file"), ("nowhere", "does not exist")):
        assert send(archive, tmp_path / place) == 1
        one_line(capfd.readouterr().err, words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fetch-from", "host", "--study", "1", "--output", "o"], "expected HOST:PORT"),
        (["fetch-from", "host:99999", "--study", "1", "--output", "o"], "1 to 65535"),
        (["fetch-from", "host:104", "--output", "o"], "nothing says which studies"),
        (["fetch-from", "host:104", "--study", "1"], "--output is missing"),
        (["fetch-from", "host:104", "--study", "1", "--output", "o", "--aet", "T" * 17], "AE title"),
        (["fetch-from", "host:104", "--study", "1", "--output", "o", "--timeout", "0"], "--timeout 0"),
        (["send-to", "host:104", "a.dcm", "--own-aet", " "], "AE title"),
    ],
)
def test_wrong_use_is_told(words, told, capfd):
    assert main(words) == 2
    one_line(capfd.readouterr().err, told)


def test_without_the_packages_the_error_says_what_to_install(archive, tmp_path, monkeypatch, capfd):
    for name in ("pynetdicom", "MedSegAttentionLib.archive.dimse"):
        monkeypatch.setitem(sys.modules, name, None)
    assert fetch(archive, tmp_path / "out") == 1
    one_line(capfd.readouterr().err, "medsegattention[archive]")
