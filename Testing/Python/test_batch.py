"""The core of a batch: order, cancel, errors, memory; a run is a function here and no network."""

from __future__ import annotations

import csv
import gc
import weakref
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from conftest import CLASSES
from MedSegAttentionLib.data.case import Case, file_names
from MedSegAttentionLib.data.errors import Cancelled, InputError, UsageError
from MedSegAttentionLib.data.result import SliceResult, VolumeResult
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.runner.batch import run_batch
from MedSegAttentionLib.runner.one_case import DECISIVE, Request, segment_case
from MedSegAttentionLib.runner.records import read_record, results_in, write_record
from MedSegAttentionLib.runner.summary import write_summary


def an_image(value: int = 1) -> VolumeImage:
    return VolumeImage(np.full((3, 4, 5), value, np.uint8), np.diag([1.0, 1, 2, 1]), "v")


def a_run(volume: VolumeImage, *, on_slice=None, is_cancelled=None, settings=None, **_choice) -> VolumeResult:
    for index in range(3):
        if on_slice:
            on_slice(SliceResult(index, 3, volume.array[index], {}))
        if is_cancelled and is_cancelled():
            raise Cancelled("stopped")
    provenance = {"checkpoint": "c", "seconds": {"network": 1.0}, "warnings": ["one, two"]}
    return VolumeResult(volume.name, volume.array, volume.ijk_to_ras, CLASSES, {}, provenance)


def a_case(name: str, read=an_image) -> Case:
    def save(_volume, result, folder: Path) -> dict[str, float]:
        (folder / f"{name}.txt").write_text(str(int(result.labels.sum())))
        return {"files": 0.5}

    return Case(name, name, read, save, (".txt",))


def statuses(outcomes) -> list[str]:
    return [outcome.status for outcome in outcomes]


NOTHING_SAID = {"expected_dice": None, "expected_dice_interval": None, "findings": []}


def test_all_cases_run_in_order_and_say_where_they_are(tmp_path):
    seen = []
    outcomes = run_batch([a_case("a"), a_case("b")], Request(a_run), tmp_path, on_progress=seen.append)
    assert statuses(outcomes) == ["segmented", "segmented"]
    told = [(item.case, item.index, item.slices and item.slices.finished - 1, bool(item.outcome)) for item in seen]
    one = [(None, False), (0, False), (1, False), (2, False), (None, True)]
    assert told == [("a", 0, *item) for item in one] + [("b", 1, *item) for item in one]
    record = read_record(tmp_path, "a")
    assert record["seconds"]["files"] == 0.5
    assert record["files"] == ["a.txt"]
    assert record["segments"][0] == {"name": "liver", "value": 1, "voxels": 60, "ml": 0.12, **NOTHING_SAID}


def test_a_case_that_fails_in_any_way_does_not_stop_the_rest(tmp_path):
    def broken():
        raise MemoryError("too large")

    outcomes = run_batch([a_case("a", broken), a_case("b")], Request(a_run), tmp_path)
    assert statuses(outcomes) == ["failed", "segmented"]
    assert str(outcomes[0].error) == "too large"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.json", "b.txt", "summary.csv"]


def test_wrong_use_stops_at_once(tmp_path):
    def wrong(*_arguments, **_keywords):
        raise UsageError("no such task")

    with pytest.raises(UsageError):
        run_batch([a_case("a")], Request(wrong), tmp_path)


@pytest.mark.parametrize(
    ("questions", "expected"), [(0, ["cancelled"]), (2, ["cancelled"]), (4, ["segmented", "cancelled"])]
)
def test_cancel_between_and_inside_cases_keeps_what_is_finished(questions, expected, tmp_path):
    """Asked once before each case and after each of its three slices."""
    asked = []

    def is_cancelled() -> bool:
        asked.append(1)
        return len(asked) > questions

    outcomes = run_batch([a_case(name) for name in "abc"], Request(a_run), tmp_path, is_cancelled=is_cancelled)
    assert statuses(outcomes) == expected
    assert [path.name for path in tmp_path.glob("*.txt")] == ["a.txt"] * (len(expected) - 1)
    with (tmp_path / "summary.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == expected


def a_failing_run(volume: VolumeImage, **_choice) -> VolumeResult:
    try:
        int(volume.name)
    except ValueError as error:
        raise InputError(f"'{volume.name}' was refused") from error


@pytest.mark.parametrize(("run", "status"), [(a_run, "segmented"), (a_failing_run, "failed")])
def test_only_one_image_is_held_at_a_time(run, status):
    read_before, held = [], []

    def read() -> VolumeImage:
        gc.collect()
        held.append(sum(reference() is not None for reference in read_before))
        image = an_image()
        array = image.array.view(Tracked)
        read_before.append(weakref.ref(array))
        return VolumeImage(array, image.ijk_to_ras, "v")

    cases = [Case("a", "a", read, lambda *_: {}) for _ in range(5)]
    outcomes = run_batch(cases, Request(run), None)  # which hold the errors while the next image is read
    assert statuses(outcomes) == [status] * 5
    assert held == [0] * 5


class Tracked(np.ndarray):
    """An array that can be referred to weakly."""


def test_without_an_output_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases = [Case("a", "", an_image, lambda *_: {"nodes": 0.1})]
    (outcome,) = run_batch(cases, Request(a_run), None)
    assert outcome.record["seconds"] == {"read": outcome.record["seconds"]["read"], "network": 1.0, "nodes": 0.1}
    assert list(tmp_path.iterdir()) == []


def test_a_single_case_is_always_run_and_has_no_table(tmp_path):
    for _ in range(2):
        record = segment_case(a_case("a"), Request(a_run), tmp_path / "o", seconds={"start": 2.0})
        assert record["seconds"]["start"] == 2.0
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["a.json", "a.txt"]


def test_settings_reach_the_run():
    seen = {}

    def run(volume, **keywords):
        seen.update(keywords)
        return a_run(volume)

    settings = RunSettings("cpu", axis="j")
    segment_case(Case("a", "", an_image, lambda *_: {}), Request(run, "skin", "x", settings), None)
    assert (seen["task"], seen["checkpoint"], seen["settings"]) == ("skin", "x", settings)


def test_every_setting_that_changes_a_result_is_compared_before_it_is_skipped():
    assert set(DECISIVE) == {item.name for item in fields(RunSettings)} - {"device", "batch_size"}


def test_a_record_cannot_name_files_of_others(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "precious.txt").write_text("mine")
    (tmp_path / "out" / "b.txt").write_text("of another case")
    names = '["../precious.txt", "b.txt", "a.old", 5, "a./../../precious.txt"]'
    (tmp_path / "out" / "a.old").write_text("")
    (tmp_path / "out" / "a.json").write_text(f'{{"files": {names}}}')
    with results_in(tmp_path / "out", "a") as folder:
        write_record(folder, "a", {})
    assert (tmp_path / "precious.txt").is_file()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "b.txt"]


def test_files_that_are_no_result_are_never_replaced(tmp_path):
    for name in ("a.png", "b.json", "c.nii.gz"):
        (tmp_path / name).write_text("mine")
        refused = pytest.raises(InputError, match="is no result of this program")
        with refused, results_in(tmp_path, name[0], (".png", ".nii.gz")):
            pytest.fail("refused before anything is computed")
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == ["mine"] * 3


def test_a_result_is_replaced_by_a_new_one_and_never_half(tmp_path, monkeypatch):
    def write(text: str) -> None:
        with results_in(tmp_path, "a", (".png",)) as folder:
            (folder / "a.png").write_text(text)
            (folder / "a.seg.nrrd").write_text(text)
            write_record(folder, "a", {"weights_sha256": text})

    write("first")
    write("second")
    assert (tmp_path / "a.png").read_text() == "second"
    replace = Path.replace

    def held(path: Path, target: Path) -> Path:
        if path.name == "a.seg.nrrd":
            raise PermissionError(13, "in use")
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", held)
        with pytest.raises(InputError, match="close them if another program"):
            write("third")
    assert (tmp_path / "a.seg.nrrd").read_text() == "second"
    assert "weights_sha256" not in read_record(tmp_path, "a")  # so that the case counts as unfinished
    write("fourth")
    assert {path.read_text() for path in tmp_path.glob("a.[ps]*")} == {"fourth"}
    assert read_record(tmp_path, "a")["weights_sha256"] == "fourth"


def test_the_true_error_is_told_when_something_else_came_into_a_new_folder(tmp_path):
    def save(*_) -> dict[str, float]:
        (tmp_path / "new" / "other.txt").write_text("")
        raise ValueError("the true one")

    request = Request(a_run, "skin", "x", RunSettings("cpu"))
    with pytest.raises(ValueError, match="the true one"):
        segment_case(Case("a", "a", an_image, save), request, tmp_path / "new")


def test_the_table_has_a_column_for_every_class_of_any_case(tmp_path):
    def row(case: str, *classes: tuple[str, int, float | None]) -> dict:
        segments = [{"name": name, "value": 1, "voxels": voxels, "ml": ml} for name, voxels, ml in classes]
        return {"case": case, "status": "segmented", "error": "", "record": {"segments": segments}}

    rows = [row("a", ("liver", 5, 1.5)), row("ü, b", ("polyp", 7, None)), row("c")]
    write_summary(tmp_path / "s.csv", rows)
    with (tmp_path / "s.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [item["case"] for item in read] == ["a", "ü, b", "c"]
    assert (read[0]["liver mL"], read[0]["liver voxels"], read[0]["polyp voxels"]) == ("1.5", "5", "")
    assert (read[1]["polyp mL"], read[1]["polyp voxels"]) == ("", "7")


def test_the_table_keeps_the_cases_of_earlier_batches(tmp_path, caplog):
    def row(case: str, status: str, name: str) -> dict:
        record = {"segments": [{"name": name, "value": 1, "voxels": 5, "ml": 1.5}], "checkpoint": "x"}
        return {"case": case, "status": status, "error": "", "record": record}

    path = tmp_path / "s.csv"
    write_summary(path, [row("a", "segmented", "liver"), row("b", "segmented", "liver")])
    write_summary(path, [row("b", "skipped", "liver"), row("c", "segmented", "polyp")])
    with path.open(newline="", encoding="utf-8") as file:
        read = {item["case"]: item for item in csv.DictReader(file)}
    assert {case: item["status"] for case, item in read.items()} == {"a": "segmented", "b": "skipped", "c": "segmented"}
    assert (read["a"]["liver mL"], read["a"]["checkpoint"], read["c"]["polyp voxels"]) == ("1.5", "x", "5")
    path.write_text("my,own\n1,2\n")
    write_summary(path, [row("a", "segmented", "liver")])
    assert path.read_text() == "my,own\n1,2\n"
    assert "no table of this program" in caplog.text


def test_columns_of_the_users_own_stay_in_the_table(tmp_path):
    def row(case: str) -> dict:
        return {"case": case, "status": "segmented", "error": "", "record": {"checkpoint": "x"}}

    path = tmp_path / "s.csv"
    write_summary(path, [row("a"), row("b")])
    lines = path.read_text().splitlines()
    edited = [f"{line},{cell}," for line, cell in zip(lines, ("comment", "look again", ""), strict=True)]
    path.write_text("\n".join(edited), encoding="utf-8-sig")  # a nameless column, a BOM
    write_summary(path, [row("b"), row("c")])
    with path.open(newline="", encoding="utf-8") as file:
        read = {item["case"]: item["comment"] for item in csv.DictReader(file)}
    assert read == {"a": "look again", "b": "", "c": ""}
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_cell_too_long_to_read_does_not_end_the_batch(tmp_path, caplog):
    path = tmp_path / "summary.csv"
    run_batch([a_case("a")], Request(a_run), tmp_path)
    path.write_text(path.read_text() + "x" * 200_000)
    assert statuses(run_batch([a_case("b"), a_case("c")], Request(a_run), tmp_path)) == ["segmented"] * 2
    assert "could not be written" in caplog.text


def test_a_cancelled_case_keeps_its_row_while_its_earlier_result_stays(tmp_path):
    run_batch([a_case("a")], Request(a_run), tmp_path)
    run_batch([a_case("a")], Request(a_run), tmp_path, overwrite=True, is_cancelled=lambda: True)
    with (tmp_path / "summary.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["status"], row["liver voxels"]) == ("segmented", "60")


@pytest.mark.parametrize("text", ["", "[]", '{"files": null}', '{"files": 5}'])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "a.txt").write_text("result or not")
    (tmp_path / "a.json").write_text(text)
    (outcome,) = run_batch([a_case("a")], Request(a_run), tmp_path)
    assert "'a.json', which would say so, is damaged" in str(outcome.error)


def test_a_volume_has_millilitres_and_a_picture_has_none():
    labels = np.zeros((2, 10, 10), np.uint8)
    labels[:, :5] = 1
    left_handed = np.diag([1.0, 2.0, 5.0, 1.0])
    liver, *others = VolumeResult("v", labels, left_handed, CLASSES).found()
    assert liver == {"name": "liver", "value": 1, "voxels": 100, "ml": 1.0, **NOTHING_SAID}
    assert [(item["voxels"], item["ml"]) for item in others] == [(0, 0.0)] * 3
    assert VolumeResult("v", labels[:1], left_handed, CLASSES).found()[0]["ml"] is None
    for picture in ({"display_window": None}, {"has_scale": False}):
        assert VolumeResult("v", labels, left_handed, CLASSES, provenance=picture).found()[0]["ml"] is None


def test_the_hash_of_an_image_is_that_of_its_voxels_and_its_place():
    image = an_image()
    assert image.sha256() == VolumeImage(image.array.copy(), image.ijk_to_ras, "other name", "CT").sha256()
    moved = image.ijk_to_ras.copy()
    moved[0, 3] = 1
    others = [
        an_image(2),
        VolumeImage(image.array, moved),
        VolumeImage(image.array.astype(np.int8), image.ijk_to_ras),
        VolumeImage(image.array.reshape(3, 5, 4), image.ijk_to_ras),
    ]
    assert len({image.sha256(), *(other.sha256() for other in others)}) == 5


def test_names_of_volumes_become_names_of_files():
    names = ["T2: ax/fs", "T2_ ax_fs", "", "ü.nrrd", "A", "a", ".."]
    stems = file_names(names)
    assert stems == ["T2_ ax_fs", "T2_ ax_fs_2", "volume", "ü.nrrd", "A", "a_2", "volume_2"]


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"), results_in(tmp_path / "file" / "deeper", "a"):
        pass


def test_names_of_files_fit_every_system():
    """macOS writes an accent as a letter of its own; Windows has devices whose names nothing else may have."""
    assert file_names(["Mu\u0308ller", "M\u00fcller"]) == ["M\u00fcller", "M\u00fcller_2"]
    assert file_names(["CON", "nul.1", "lpt1", "Conrad"]) == ["_CON", "_nul.1", "_lpt1", "Conrad"]
    long = file_names(["x" * 250, "x" * 251, "\u65e5" * 250])
    assert len(set(long)) == 3
    assert max(len(stem.encode()) for stem in long) < 160
