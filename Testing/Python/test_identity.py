"""Whose image it is: kept in the records of DICOM images, and left out of all that is written where that is asked."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import SimpleITK as sitk

from command_tools import bright, names, one_line
from conftest import geometry
from dicom_studies import a_study_series, change
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.data.dicom_source import IDENTIFYING
from MedSegAttentionLib.files.cases import ImageSource, pseudonymous
from test_dicom_results import ARRAY

pytest_plugins = ["command_fixtures"]

SECRETS = ("PID-4711", "Müller", "Ann", "19600203", "20240102", "1.2.826.0.1.99", "smith", "A17")


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "summary.csv").open(newline="", encoding="utf-8") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def records(folder: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


@pytest.fixture
def study(tmp_path) -> Path:
    folder = tmp_path / "study"
    for number in (1, 2):
        a_study_series(folder / f"smith_{number}", ARRAY, geometry("flipped"), uid=f"1.2.826.0.1.99.4{number}")
    sitk.WriteImage(bright() * 1000, str(folder / "smith_3.nrrd"))
    return folder


def test_the_record_of_a_dicom_image_says_whose_it_is(segment, ct, tmp_path, capfd):
    files = a_study_series(tmp_path / "case", ARRAY, geometry("flipped"))
    assert segment(tmp_path / "case", checkpoint=ct) == 0
    record = records(tmp_path / "out")["case"]
    assert record["study_instance_uid"] == "1.2.826.0.1.99"
    assert record["series_instance_uid"] == "1.2.826.0.1.99.4"
    assert sorted(record["sop_instance_uids"]) == [f"1.2.826.0.1.99.4.{number}" for number in range(1, len(files) + 1)]
    assert (record["patient_id"], record["acquisition_date"]) == ("PID-4711", "20240102")
    captured = capfd.readouterr()
    assert not any(secret in captured.out + captured.err for secret in SECRETS)


def test_the_table_of_a_batch_says_it_too(segment, ct, study, tmp_path):
    assert segment(study, "--force", checkpoint=ct) == 0
    table = rows(tmp_path / "out")
    first, plain = table["smith_1"], table["smith_3.nrrd"]
    assert first["series_instance_uid"] == "1.2.826.0.1.99.41"
    assert first["sop_instance_uid"].endswith(" and 4 more")
    assert (first["patient_id"], first["acquisition_date"]) == ("PID-4711", "20240102")
    assert plain["status"] == "segmented"
    assert not any(plain[name.removesuffix("s")] for name in IDENTIFYING)
    assert not set(IDENTIFYING) & set(records(tmp_path / "out")["smith_3"])


@pytest.mark.parametrize("missing", ["AcquisitionDate", "PatientID"])
def test_what_a_header_does_not_say_is_empty_or_that_of_the_study(missing, segment, ct, tmp_path):
    for path in a_study_series(tmp_path / "case", ARRAY, geometry("flipped")):
        change(path, **{missing: None}, StudyDate="20230405")
    assert segment(tmp_path / "case", checkpoint=ct) == 0
    record = records(tmp_path / "out")["case"]
    assert record["patient_id"] == ("" if missing == "PatientID" else "PID-4711")
    assert record["acquisition_date"] == ("20230405" if missing == "AcquisitionDate" else "20240102")


def test_nothing_that_identifies_is_left_in_anonymous_results(segment, ct, study, tmp_path, capfd):
    (study / "smith_4.nrrd").write_bytes(b"NRRD0004\nno image")
    options = ("--anonymous", "--force", "--nifti", "--report", "--scene")
    assert segment(study, *options, checkpoint=ct) == 1  # one cannot be read
    captured = capfd.readouterr()
    assert all(name in captured.out for name in IDENTIFYING)
    shown = (captured.out + captured.err).replace(", ".join(IDENTIFYING), "").replace(str(tmp_path), "")
    assert not any(secret in shown for secret in SECRETS)
    found = sorted((tmp_path / "out").iterdir())
    assert len([path for path in found if path.name.endswith(".seg.nrrd")]) == 3
    for path in found:
        content = path.read_bytes()
        assert path.name.startswith("case-") or path.name == "summary.csv"
        assert not any(secret.encode() in content for secret in SECRETS if len(secret) > 3), path.name
    for record in records(tmp_path / "out").values():
        assert record["left_out_as_identifying"] == [*IDENTIFYING, "name"]
        assert not set(IDENTIFYING) & set(record)
    failed = [row for row in rows(tmp_path / "out").values() if row["status"] == "failed"]
    assert len(failed) == 1
    assert failed[0]["case"] in failed[0]["error"]


def test_pseudonyms_are_the_same_for_the_same_image_wherever_it_lies(segment, ct, study, tmp_path):
    assert segment(study, "--anonymous", "--force", checkpoint=ct) == 0
    before = names(tmp_path / "out")
    moved = study.rename(tmp_path / "elsewhere")
    assert segment(moved, "--anonymous", "--force", checkpoint=ct) == 0
    assert names(tmp_path / "out") == before
    assert {row["status"] for row in rows(tmp_path / "out").values()} == {"skipped"}
    alone = pseudonymous([ImageSource(moved / "smith_1", "smith_1")])[0]
    one_file = pseudonymous([ImageSource(next((moved / "smith_1").iterdir()), "x")])[0]
    assert f"{alone.stem}.json" in before
    assert one_file.stem == alone.stem


def test_one_image_under_a_pseudonym(segment, ct, study, tmp_path, capfd):
    assert segment(study / "smith_1", "--anonymous", checkpoint=ct) == 0
    assert len(names(tmp_path / "out")) == 3
    assert segment(study / "smith_9", "--anonymous", checkpoint=ct) == 1
    error = capfd.readouterr().err
    one_line(error, "does not exist")
    assert "smith" not in error


def test_dicom_results_cannot_be_anonymous(segment, ct, study, tmp_path, capfd):
    assert segment(study, "--anonymous", "--dicom", checkpoint=ct) == 2
    one_line(capfd.readouterr().err, "leave out --anonymous")
    assert not (tmp_path / "out").exists()


def test_a_study_that_is_not_clear_is_not_named_either(segment, ct, tmp_path, capfd):
    for patient in (1, 2):
        for number in (1, 2):
            values = {"StudyInstanceUID": f"1.2.826.0.1.99.{patient}", "PatientID": f"PID-4711-{patient}"}
            uid = f"1.2.826.0.1.99.{patient}.{number}"
            a_study_series(tmp_path / f"smith_{patient}" / str(number), ARRAY, geometry("flipped"), uid=uid, **values)
    (tmp_path / "study").mkdir()
    for patient in (1, 2):
        (tmp_path / f"smith_{patient}").rename(tmp_path / "study" / f"smith_{patient}")
    assert segment(tmp_path / "study", "--anonymous", "--series", "auto", checkpoint=ct) == 1
    captured = capfd.readouterr()
    table = (tmp_path / "out" / "summary.csv").read_text()
    assert "2 series fit equally well" in table
    assert not any(secret in table + captured.err for secret in SECRETS)


def test_a_doubt_about_a_file_does_not_name_it(segment, ct, tmp_path):
    (path,) = a_study_series(tmp_path / "smith", ARRAY[:1], geometry("flipped"))
    change(path, SliceThickness=None)
    words = ["segment", str(tmp_path / "smith"), "--checkpoint", str(ct), "--output", str(tmp_path / "out")]
    assert main([*words, "--anonymous", "--force", "--attention", "none"]) == 0
    (record,) = records(tmp_path / "out").values()
    assert any("1 mm was taken" in warning for warning in record["warnings"])
    assert "smith" not in json.dumps(record)
