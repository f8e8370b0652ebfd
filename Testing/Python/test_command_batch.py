"""``segment`` of a folder: every image once, whatever happens to one of them, and a table of all."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from command_tools import a_series, bright, names, one_line
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.output import case_files
from small_checkpoint import threshold_network, write_checkpoint

pytest_plugins = ["command_fixtures"]


@pytest.fixture
def two_images(tmp_path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b"):
        sitk.WriteImage(bright(), str(folder / f"{name}.nrrd"))
    return folder


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def statuses(folder: Path) -> list[str]:
    return [row["status"] for row in table(folder)]


def test_a_folder_of_dicom_series_folders_is_a_batch(segment, ct, tmp_path):
    for name in ("a", "b"):
        a_series(tmp_path / "all" / name, name)
    assert segment(tmp_path / "all", checkpoint=ct) == 0
    assert {"a.seg.nrrd", "b.seg.nrrd"} <= set(names(tmp_path / "out"))


def test_several_series_in_one_folder_are_a_batch(segment, ct, tmp_path):
    for name in ("a", "b"):
        a_series(tmp_path / "study", name)
    assert segment(tmp_path / "study", checkpoint=ct) == 0
    segmentations = [name for name in names(tmp_path / "out") if name.endswith(".seg.nrrd")]
    assert len(segmentations) == 2
    assert all(name.startswith("study_") for name in segmentations)
    assert segment(tmp_path / "study", checkpoint=ct) == 0
    assert statuses(tmp_path / "out") == ["skipped", "skipped"]


def test_a_batch_with_one_bad_file_finishes_the_others_and_fails(segment, tmp_path, capfd):
    folder = tmp_path / "in"
    folder.mkdir()
    sitk.WriteImage(bright(), str(folder / "a.nrrd"))
    (folder / "b.nrrd").write_text("not an image")
    sitk.WriteImage(bright(), str(folder / "c.nii.gz"))
    (folder / "notes.txt").write_text("ignored")
    assert segment(folder) == 1
    out, err = capfd.readouterr()
    files = [f"{stem}{end}" for stem in "ac" for end in (".json", ".png", ".seg.nrrd")]
    assert names(tmp_path / "out") == [*files, "summary.csv"]
    one_line(err, "b.nrrd", "could not be read")
    assert "2 of 3" in out
    assert statuses(tmp_path / "out") == ["segmented", "failed", "segmented"]
    assert "could not be read" in table(tmp_path / "out")[1]["error"]


def test_a_single_run_that_is_forced_replaces_the_failed_row_of_its_case(segment, two_images, tmp_path):
    sitk.WriteImage(bright() * 0 + 7, str(two_images / "b.nrrd"))
    assert segment(two_images) == 1
    assert statuses(tmp_path / "out") == ["segmented", "failed"]
    assert segment(two_images / "b.nrrd", "--force") == 0
    rows = table(tmp_path / "out")
    assert [(row["case"], row["status"], row["error"]) for row in rows] == [
        ("a.nrrd", "segmented", ""),
        ("b.nrrd", "segmented", ""),
    ]
    assert "the same value, 7, everywhere" in rows[1]["warnings"]


def test_a_single_run_leaves_the_tables_of_others_alone_and_makes_none(segment, a_case, tmp_path, capfd):
    assert segment(a_case) == 0
    assert "summary.csv" not in names(tmp_path / "out")
    (tmp_path / "out" / "summary.csv").write_text("my,own\n1,2\n")
    assert segment(a_case, "--overwrite") == 0
    assert (tmp_path / "out" / "summary.csv").read_text() == "my,own\n1,2\n"
    assert capfd.readouterr().err == ""


def test_names_that_are_no_text_have_one_row_each_and_one_line(segment, tmp_path, capfd):
    folder = tmp_path / "in"
    folder.mkdir()
    odd = {b"caf\xe9.nrrd": r"caf\udce9.nrrd", b"two\nlines.nrrd": r"two\nlines.nrrd"}
    sitk.WriteImage(bright(), str(tmp_path / "one.nrrd"))
    for name in odd:
        shutil.copy(tmp_path / "one.nrrd", folder / os.fsdecode(name))
    for _ in range(2):
        assert segment(folder) == 1
        assert sorted(row["case"] for row in table(tmp_path / "out")) == sorted(odd.values())
        out, err = capfd.readouterr()
        assert r"case 2 of 2: two\nlines.nrrd" in out.splitlines()
        one_line(err, r"caf\udce9.nrrd", "no UTF-8")
    record = json.loads((tmp_path / "out" / "two_lines.json").read_text())
    (tmp_path / "out" / "two_lines.json").write_text(json.dumps(record | {"case": "two\nlines.nrrd"}))  # as before
    assert main(["summary", str(tmp_path / "out")]) == 0
    assert sorted(row["case"] for row in table(tmp_path / "out")) == sorted(odd.values())


def test_two_images_of_one_name_do_not_overwrite_each_other(segment, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    sitk.WriteImage(bright(), str(folder / "a.nrrd"))
    sitk.WriteImage(bright() * 0.2, str(folder / "a.nii.gz"))
    assert segment(folder) == 0
    assert {"a.nrrd.seg.nrrd", "a.nii.gz.seg.nrrd"} <= set(names(tmp_path / "out"))


def test_an_unexpected_failure_of_one_case_does_not_end_the_batch(segment, two_images, tmp_path, monkeypatch):
    write, calls = case_files.write_result, []

    def fail_once(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("out of luck")
        return write(*arguments)

    monkeypatch.setattr(case_files, "write_result", fail_once)
    assert segment(two_images) == 1
    assert names(tmp_path / "out") == ["b.json", "b.png", "b.seg.nrrd", "summary.csv"]
    assert segment(two_images) == 0
    assert statuses(tmp_path / "out") == ["segmented", "skipped"]


def test_debug_shows_where_a_case_failed(segment, tmp_path, capfd):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "b.nrrd").write_text("not an image")
    for words, shown in (((), False), (("--debug",), True)):
        assert segment(folder, *words) == 1
        assert ("Traceback" in capfd.readouterr().err) is shown


def test_the_table_holds_volumes_and_origin(segment, two_images, tmp_path):
    assert segment(two_images) == 0
    row = table(tmp_path / "out")[0]
    found = sitk.ReadImage(str(tmp_path / "out" / "a.seg.nrrd"))
    voxels = int((sitk.GetArrayFromImage(found) > 0).sum())
    assert int(row["prostate voxels"]) == voxels > 0
    assert float(row["prostate mL"]) == pytest.approx(voxels * np.prod(found.GetSpacing()) / 1000, rel=1e-3)
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert (row["case"], row["checkpoint"], row["device"]) == ("a.nrrd", "prostate-klo-net", "cpu")
    assert row["weights_sha256"] == record["weights_sha256"]
    assert float(row["seconds"]) > 0
    assert record["segments"][0]["voxels"] == voxels


def test_a_second_run_skips_what_is_there_unless_told_otherwise(segment, two_images, tmp_path, capfd):
    assert segment(two_images) == 0
    first, rows = (tmp_path / "out" / "a.seg.nrrd").stat().st_mtime_ns, table(tmp_path / "out")
    assert segment(two_images, "--batch-size", "2") == 0
    assert "0 of 2 segmented, 2 skipped" in capfd.readouterr().out
    assert statuses(tmp_path / "out") == ["skipped", "skipped"]
    assert table(tmp_path / "out")[0]["prostate mL"] == rows[0]["prostate mL"]
    assert (tmp_path / "out" / "a.seg.nrrd").stat().st_mtime_ns == first
    assert segment(two_images, "--overwrite") == 0
    assert statuses(tmp_path / "out") == ["segmented", "segmented"]
    assert (tmp_path / "out" / "a.seg.nrrd").stat().st_mtime_ns > first


@pytest.mark.parametrize("changed", ["settings", "file", "checkpoint", "nifti"])
def test_a_result_that_no_longer_holds_is_made_again(changed, segment, two_images, tmp_path):
    assert segment(two_images) == 0
    options, keywords, out = [], {}, tmp_path / "out"
    if changed == "settings":
        options = ["--axis", "j"]
    elif changed == "file":
        (out / "a.png").unlink()
    elif changed == "checkpoint":
        keywords["checkpoint"] = write_checkpoint(tmp_path / "other", threshold_network(thresholds=(0.3,)))
    else:
        options = ["--nifti"]
    assert segment(two_images, *options, **keywords) == 0
    everything = changed in ("settings", "checkpoint", "nifti")
    assert statuses(out) == ["segmented", "segmented" if everything else "skipped"]
    assert (out / "a.nii.gz").is_file() is (changed == "nifti")


def test_a_result_of_another_image_is_replaced_only_when_asked(segment, two_images, tmp_path, capfd):
    """Two patients may share a name, such as that of the series."""
    assert segment(two_images) == 0
    of_the_first = (tmp_path / "out" / "a.json").read_text()
    sitk.WriteImage(bright() * 0.9, str(two_images / "a.nrrd"))
    for source in (two_images, two_images / "a.nrrd"):
        assert segment(source) == 1
        assert "holds a result for another image under the name 'a'" in capfd.readouterr().err
        assert (tmp_path / "out" / "a.json").read_text() == of_the_first
    for source in (two_images, two_images / "a.nrrd"):
        assert segment(source, "--overwrite") == 0
    now, then = json.loads((tmp_path / "out" / "a.json").read_text()), json.loads(of_the_first)
    assert now["input_sha256"] != then["input_sha256"]


def test_a_result_of_another_task_is_replaced_only_when_asked(segment, two_images, tmp_path, capfd):
    assert segment(two_images) == 0
    other = write_checkpoint(tmp_path / "other", task="abdomen", id="abdomen-mr-klo-net")
    assert segment(two_images, checkpoint=other) == 1
    assert "holds a result for another task under the name 'a'" in capfd.readouterr().err
    assert segment(two_images, "--overwrite", checkpoint=other) == 0


def test_without_its_record_a_result_is_taken_for_a_file_of_the_user(segment, two_images, tmp_path, capfd):
    assert segment(two_images) == 0
    out = tmp_path / "out"
    (out / "a.json").write_text("[]")
    kept = (out / "a.seg.nrrd").read_bytes()
    assert segment(two_images, "--overwrite") == 1
    assert statuses(out) == ["failed", "segmented"]
    assert "a.seg.nrrd' is there already and is no result of this program" in capfd.readouterr().err
    assert (out / "a.seg.nrrd").read_bytes() == kept


def test_files_of_an_earlier_result_do_not_stay_beside_a_new_one(segment, two_images, tmp_path):
    assert segment(two_images, maps="tau_stage4") == 0
    (tmp_path / "out" / "a.notes.txt").write_text("mine")
    assert segment(two_images) == 0
    assert [name for name in names(tmp_path / "out") if name.startswith("a.")] == [
        "a.json",
        "a.notes.txt",
        "a.png",
        "a.seg.nrrd",
    ]


def test_a_table_that_cannot_be_written_does_not_end_the_batch(segment, two_images, tmp_path, capfd):
    (tmp_path / "out" / "summary.csv").mkdir(parents=True)  # as when a spreadsheet holds it
    assert segment(two_images) == 0
    assert "could not be written" in capfd.readouterr().err
    assert {"a.seg.nrrd", "b.seg.nrrd"} <= set(names(tmp_path / "out"))


def test_label_maps_and_reports_are_written_when_asked_for(segment, two_images, tmp_path):
    assert segment(two_images, "--nifti", "--report") == 0
    assert {"a.nii.gz", "a.report.png", "b.nii.gz", "b.report.png"} <= set(names(tmp_path / "out"))
    read, wanted = (sitk.ReadImage(str(tmp_path / "out" / f"a{end}")) for end in (".nii.gz", ".seg.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(wanted))
