"""Studies as archives export them: which series there are, which a task takes, and why not the others."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from command_tools import names, one_line
from dicom_studies import a_study_series, change
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.checkpoints.card_file import read_card
from MedSegAttentionLib.files.cases import sources_in
from MedSegAttentionLib.files.series_choice import best, judge, weighting_of
from MedSegAttentionLib.files.study import find_series
from study_tools import ARRAY, AXIAL, T1, T2, mr, uids

pytest_plugins = ["command_fixtures", "study_fixtures"]


def test_inspect_lists_every_series_with_what_is_taken_and_why_not(study, t2_checkpoint, capfd):
    assert main(["inspect", str(study), "--checkpoint", str(t2_checkpoint)]) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert len(lines) == 10
    rows = {line.split()[1]: line for line in lines[1:]}
    assert "no: localizer" in rows["1"]
    assert "yes, by prostate-klo-net: sagittal, T2-weighted by its name" in rows["2"]
    assert "best, by prostate-klo-net: axial, T2-weighted by its name" in rows["3"]
    assert "diffusion by its name" in rows["4"]
    assert "T1-weighted by its echo time of 2.3 ms" in rows["5"]
    assert "no: secondary capture without a place" in rows["6"]
    assert "no: SEG is no image" in rows["7"]
    assert "no: PR is no image" in rows["8"]
    assert "no: modality CT, 'prostate-klo-net' takes MR" in rows["9"]
    assert not any(word in out for word in ("Müller", "PID-4711", "19600203"))


def test_inspect_without_a_task_says_which_tasks_take_a_series(study, capfd):
    assert main(["inspect", str(study)]) == 0
    rows = {line.split()[1]: line for line in capfd.readouterr().out.splitlines()[1:]}
    assert "by prostate, abdomen" in rows["3"]
    assert rows["9"].endswith("by abdomen")


def test_inspect_takes_a_file_and_a_zip(study, tmp_path, capfd):
    archive = shutil.make_archive(str(tmp_path / "export"), "zip", study / "A")
    for place, count in ((next((study / "A" / "3").iterdir()), 1), (archive, 3)):
        assert main(["inspect", str(place), "--task", "prostate"]) == 0
        assert len(capfd.readouterr().out.splitlines()) == 1 + count


def test_auto_takes_the_series_that_fits_best_and_says_why(study, run, tmp_path, capfd):
    assert run(study, "--series", "auto") == 0
    out, err = capfd.readouterr()
    assert err == ""
    line = next(line for line in out.splitlines() if line.startswith("took series 3"))
    assert "'t2_tse_tra' (axial, T2-weighted by its name" in line
    assert "series 2 't2_tse_sag' (sagittal" in line
    assert "SEG is no image" in line
    assert names(tmp_path / "out") == ["A_3.json", "A_3.png", "A_3.seg.nrrd"]  # one image, no table
    assert uids(tmp_path / "out") == {"3"}


def test_all_takes_what_the_checkpoint_takes_and_tells_the_rest(study, run, tmp_path, capfd):
    assert run(study) == 0
    out = capfd.readouterr().out
    assert uids(tmp_path / "out") == {"2", "3", "4", "5"}
    skipped = [line for line in out.splitlines() if line.startswith("skipped")]
    assert len(skipped) == 5
    assert "skipped series 9 'CT' in C: modality CT, 'prostate-klo-net' takes MR" in skipped
    assert "4 of 4 segmented" in out


@pytest.mark.parametrize("wanted", ["3", "1.2.826.0.1.7.3"])
def test_a_series_is_chosen_by_number_or_uid(wanted, study, run, tmp_path):
    assert run(study, "--series", wanted) == 0
    assert uids(tmp_path / "out") == {"3"}


@pytest.mark.parametrize(
    ("wanted", "words"),
    [("44", "there is no series '44'; there are: series 1 'loc'"), ("7", "series 7 cannot be segmented: SEG is no")],
)
def test_a_series_that_is_not_there_or_no_image_is_refused(wanted, words, study, run, tmp_path, capfd):
    assert run(study, "--series", wanted) == 1
    one_line(capfd.readouterr().err, words)
    assert not (tmp_path / "out").exists()


def test_two_that_fit_equally_stop_and_are_listed(study, run, tmp_path, capfd):
    mr(study / "D", 10, **T2)
    assert run(study, "--series", "auto") == 1
    one_line(capfd.readouterr().err, "2 series fit equally well", "1.2.826.0.1.7.3", "1.2.826.0.1.7.10", "--series UID")
    assert not (tmp_path / "out").exists()


def test_one_number_twice_asks_for_the_uid(study, run, capfd):
    for path in mr(study / "D", 10, **T2):
        change(path, SeriesNumber=3)
    assert run(study, "--series", "3") == 1
    one_line(capfd.readouterr().err, "2 series have the number 3", "1.2.826.0.1.7.10")


def test_nothing_that_can_be_taken_is_one_error_with_the_reasons(study, run, tmp_path, capfd):
    for name in ("A", "B"):
        shutil.rmtree(study / name)
    mr(study / "D", 11, BodyPartExamined="KNEE")
    for options in ((), ("--series", "auto")):
        assert run(study, *options) == 1
        one_line(capfd.readouterr().err.splitlines()[-1], "can be taken", "it shows KNEE by its header", "modality CT")
    assert not (tmp_path / "out").exists()


def test_a_series_for_what_is_no_study_is_wrong_use(run, a_case, capfd):
    assert run(a_case, "--series", "auto") == 2
    one_line(capfd.readouterr().err, "--series auto", "expected a DICOM study")
    assert run(a_case.parent, "--series", "3") == 2
    one_line(capfd.readouterr().err, "holds no DICOM series")


@pytest.mark.parametrize(
    ("values", "weighting"),
    [
        ({"SeriesDescription": "AX T2 FSE"}, "T2"),
        ({"ProtocolName": "T1 vibe dixon"}, "T1"),
        ({"SequenceName": "*ep_b1000"}, "diffusion"),
        ({"SeriesDescription": "ax", "EchoTime": 90, "RepetitionTime": 3500}, "T2"),
        ({"SeriesDescription": "ax", "EchoTime": 4, "RepetitionTime": 150}, "T1"),
        ({"SeriesDescription": "ax", "EchoTime": 40, "RepetitionTime": 1200}, ""),
        ({"SeriesDescription": "ax"}, ""),
        ({"SeriesDescription": "dce t1 dynamic"}, "perfusion"),
    ],
)
def test_the_weighting_is_told_by_names_first_and_times_second(values, weighting, tmp_path):
    mr(tmp_path / "a", 1, ARRAY[:2], **values)
    (series,) = find_series(tmp_path)
    assert weighting_of(series)[0] == weighting


def test_of_two_alike_the_one_of_more_slices_and_as_acquired_is_better(tmp_path, t2_checkpoint):
    card = read_card(t2_checkpoint)
    mr(tmp_path / "a", 1, ARRAY[:9], **T2)
    mr(tmp_path / "b", 2, ARRAY, **T2)
    chosen, _ = best([judge(one, [card]) for one in find_series(tmp_path)])
    assert chosen.series.number == 2
    for path in (tmp_path / "b").iterdir():
        change(path, ImageType=["DERIVED", "SECONDARY", "MPR"])
    chosen, why = best([judge(one, [card]) for one in find_series(tmp_path)])
    assert chosen.series.number == 1
    assert "computed from other images" in why


# --- where the files lie


def test_series_mixed_in_one_folder_or_over_several_are_told_apart_by_uid(tmp_path):
    for number in (1, 2):
        for at, path in enumerate(mr(tmp_path / "made" / str(number), number, **T2)):
            target = tmp_path / "study" / ("even" if at % 2 else "odd") / f"{number}-{at}"
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    found = sources_in(tmp_path / "study")
    assert [source.dicom.number for source in found] == [1, 2]
    assert len({source.stem for source in found}) == 2
    for source in found:
        np.testing.assert_array_equal(source.read().array, ARRAY)


def test_two_patients_in_one_folder_are_two_cases_and_never_one_volume(run, tmp_path):
    """Both with the UIDs that a careless anonymiser gave to all."""
    for number, patient in enumerate(("one", "two")):
        for at, path in enumerate(mr(tmp_path / "made" / patient, 1, ARRAY + number, PatientID=patient, **T2)):
            target = tmp_path / "study" / f"{patient}-{at}.dcm"
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
    found = sources_in(tmp_path / "study")
    assert [source.dicom.study for source in found] == [1, 2]
    assert [int(source.read().array.min()) for source in found] == [100, 101]
    assert run(tmp_path / "study") == 0
    records = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")]
    assert {record["patient_id"] for record in records} == {"one", "two"}


def test_what_arrived_twice_is_one_case(tmp_path):
    mr(tmp_path / "study" / "first", 3, **T2)
    shutil.copytree(tmp_path / "study" / "first", tmp_path / "study" / "again")
    (source,) = sources_in(tmp_path / "study")
    np.testing.assert_array_equal(source.read().array, ARRAY)


def test_folders_of_the_same_uids_and_other_content_are_cases_of_their_own(tmp_path):
    for number in range(3):
        mr(tmp_path / "study" / f"case{number}", 3, ARRAY + number, **T2)
    found = sources_in(tmp_path / "study")
    assert [source.stem for source in found] == ["case0", "case1", "case2"]
    assert [int(source.read().array.min()) for source in found] == [100, 101, 102]


def test_several_times_at_each_place_are_told_before_anything_is_read(tmp_path, t2_checkpoint):
    for moment in range(3):
        for path in mr(tmp_path / "study" / str(moment), 3, **T2):
            change(path, SOPInstanceUID=f"{pydicom.dcmread(path).SOPInstanceUID}.{moment}")
    (series,) = find_series(tmp_path / "study")
    assert series.no_stack == "30 images at 10 places: several times or weightings"


def add_times(folder: Path, number: int, **values) -> None:
    """A series of three images at each place."""
    for moment in range(3):
        for path in mr(folder / str(moment), number, **values):
            change(path, SOPInstanceUID=f"{pydicom.dcmread(path).SOPInstanceUID}.{moment}")


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_a_series_of_several_times_beside_good_ones_is_a_failed_case(options, study, run, tmp_path, capfd):
    add_times(study / "D", 10, SeriesDescription="t2 dynamic")
    shutil.rmtree(study / "C")
    assert run(study, *options) == 1
    out, err = capfd.readouterr()
    assert "series 10 't2 dynamic'" in err
    assert "30 images at 10 places: several times or weightings" in err
    assert "skipped series 10" not in out
    with (tmp_path / "out" / "summary.csv").open(newline="") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert {row["status"] for name, row in rows.items() if name != "D"} == {"segmented"}
    assert rows["D"]["status"] == "failed"
    assert "several times or weightings" in rows["D"]["error"]
    assert len(rows) == 5


def test_a_series_of_several_times_that_no_task_takes_stays_a_skip(study, run, capfd):
    add_times(study / "D", 10, Modality="PT")
    assert run(study) == 0
    assert "skipped series 10 in D: modality PT, 'prostate-klo-net' takes MR" in capfd.readouterr().out


def test_auto_takes_another_series_and_says_what_is_wrong_with_that_of_several_times(study, run, tmp_path, capfd):
    add_times(study / "D", 10, **T2)
    assert run(study, "--series", "auto") == 0
    assert "series 10 't2_tse_tra' (30 images at 10 places: several times" in capfd.readouterr().out
    assert uids(tmp_path / "out") == {"3"}


def test_images_that_are_all_at_one_place_are_said_to_lack_their_places(study, run, tmp_path, capfd):
    for path in mr(study / "D", 10, **T2):
        change(path, ImagePositionPatient=[0, 0, 0])
    told = "all its 10 images say that they lie at (0, 0, 0) (ImagePositionPatient): their places are missing"
    (series,) = [one for one in find_series(study) if one.number == 10]
    assert series.no_stack.startswith(told)
    assert run(study) == 1
    with (tmp_path / "out" / "summary.csv").open(newline="") as file:
        errors = {row["case"]: row["error"] for row in csv.DictReader(file)}
    assert told in errors["D"]
    assert run(study / "D", "--overwrite") == 1
    one_line(capfd.readouterr().err.splitlines()[-1], told.replace("(", "(").split(" images")[0], "places are missing")


def test_a_damaged_file_fails_its_series_and_no_other(study, run, tmp_path, capfd):
    path = next((study / "A" / "3").iterdir())
    path.write_bytes(path.read_bytes()[:400])
    assert run(study) == 1
    assert "is cut short or damaged" in capfd.readouterr().err
    with (tmp_path / "out" / "summary.csv").open(newline="") as file:
        status = {row["case"]: row["status"] for row in csv.DictReader(file)}
    assert status == {"2": "segmented", "3": "failed", "4": "segmented", "5": "segmented"}


def test_a_cohort_takes_one_series_of_each_study_and_fails_those_that_are_not_clear(run, tmp_path, capfd):
    for patient in ("p1", "p2", "p3"):
        place = tmp_path / "cohort" / patient
        change_of = {"PatientID": patient, "StudyInstanceUID": f"1.2.826.0.1.{patient[1]}"}
        for number, look in ((1, T1), (2, T2)):
            a_study_series(place / str(number), ARRAY, AXIAL, "MR", f"1.2.{patient[1]}.{number}", **look, **change_of)
    a_study_series(place / "3", ARRAY, AXIAL, "MR", "1.2.3.3", **T2, **change_of)
    assert run(tmp_path / "cohort", "--series", "auto") == 1
    err = capfd.readouterr().err
    assert "2 series fit equally well" in err
    assert {path.stem for path in (tmp_path / "out").glob("*.json")} == {"p1_2", "p2_2"}
