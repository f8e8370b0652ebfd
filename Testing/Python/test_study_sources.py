"""What studies come as: photographs, discs with a DICOMDIR, zip files, thousands of files."""

from __future__ import annotations

import csv
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.fileset import FileSet

from command_tools import PHOTOGRAPH, names, one_line
from dicom_studies import a_photograph
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.checkpoints.card_file import read_card
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.files.cases import everything_in, sources_in
from MedSegAttentionLib.files.series_choice import best, judge
from MedSegAttentionLib.files.study import find_series
from small_checkpoint import write_checkpoint
from study_tools import ARRAY, T2, mr, uids

pytest_plugins = ["command_fixtures", "study_fixtures"]


def test_each_photograph_of_a_series_is_an_image(run, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "c", **PHOTOGRAPH)
    picture = np.full((40, 50, 3), 20, np.uint8)
    picture[10:30, 20:40] = 240
    for number in range(3):
        a_photograph(tmp_path / "study" / f"{number}.dcm", picture, SOPInstanceUID=f"1.2.9.{number}")
    assert run(tmp_path / "study", checkpoint=checkpoint) == 0
    assert len(list((tmp_path / "out").glob("*.seg.nrrd"))) == 3
    assert run(tmp_path / "study", "--series", "1.2.9.1", "--overwrite", checkpoint=checkpoint) == 0


def test_photographs_of_a_folder_are_named_after_their_files(run, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "c", **PHOTOGRAPH)
    for number, name in enumerate(("left arm.dcm", "back", "IM0003")):
        picture = np.full((40, 50, 3), 20 + number, np.uint8)
        picture[10:30, 20:40] = 240
        a_photograph(tmp_path / "visit" / name, picture, SOPInstanceUID=f"1.2.826.0.1.9.{number}")
    assert run(tmp_path / "visit", checkpoint=checkpoint) == 0
    stems = {"visit_left arm", "visit_back", "visit_IM0003"}
    assert {path.stem for path in (tmp_path / "out").glob("*.json")} == stems
    with (tmp_path / "out" / "summary.csv").open(newline="") as file:
        assert {row["case"] for row in csv.DictReader(file)} == stems


def test_photographs_whose_files_are_named_by_uids_are_named_by_their_numbers(tmp_path):
    picture = np.full((20, 30, 3), 20, np.uint8)
    for number in (7, 8, 9):
        values = {"SOPInstanceUID": f"1.2.826.0.1.9.{number}", "InstanceNumber": number if number < 9 else None}
        a_photograph(tmp_path / "visit" / f"1.2.826.0.1.9.{number}.dcm", picture, **values)
    found = sources_in(tmp_path / "visit")
    assert [source.stem for source in found] == [
        "visit_826.0.1.9.9",
        "visit_series-6_image-7",
        "visit_series-6_image-8",
    ]
    assert [source.dicom.instance[-1] for source in found] == ["9", "7", "8"]


def test_a_link_back_up_does_not_catch_the_search(study):
    (study / "A" / "up").symlink_to(study, target_is_directory=True)
    assert len(find_series(study)) == 9


# --- discs and zip files


@pytest.fixture
def disc(study, tmp_path) -> Path:
    """The images of the study with a DICOMDIR, as pydicom writes them."""
    files = FileSet()
    for source in everything_in(study):
        if source.dicom and source.dicom.modality in ("MR", "CT"):
            for path in source.dicom.files:
                files.add(path)
    files.write(tmp_path / "disc")
    return tmp_path / "disc" / "DICOMDIR"


def test_a_dicomdir_is_its_study(disc, run, tmp_path):
    assert run(disc, "--series", "auto") == 0
    assert uids(tmp_path / "out") == {"3"}


def test_files_that_a_disc_lists_and_lacks_fail_their_series_alone(disc, run, tmp_path, capfd):
    series = next(source.dicom for source in everything_in(disc) if source.dicom.number == 3)
    series.files[4].unlink()
    assert run(disc, "--series", "3") == 1
    one_line(capfd.readouterr().err, "lists 10 files of this series, of which 1 are not there")
    assert run(disc, "--series", "2") == 0


def test_a_damaged_dicomdir_is_told(disc, run, capfd):
    disc.write_bytes(disc.read_bytes()[:300])
    assert run(disc) == 1
    one_line(capfd.readouterr().err, "DICOMDIR' is damaged")


def test_a_zip_of_a_study_is_the_study_and_leaves_nothing_behind(study, run, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    archive = Path(shutil.make_archive(str(tmp_path / "export"), "zip", study))
    assert run(archive, "--series", "auto", "--dicom") == 0
    assert "A_3.seg.dcm" in names(tmp_path / "out")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_zip_of_one_series_is_named_after_it(run, tmp_path):
    mr(tmp_path / "made", 3, **T2)
    archive = Path(shutil.make_archive(str(tmp_path / "export"), "zip", tmp_path / "made"))
    assert run(archive) == 0
    assert names(tmp_path / "out") == ["export.json", "export.png", "export.seg.nrrd"]


@pytest.mark.parametrize("how", ["cut", "locked", "text"])
def test_zip_files_that_do_not_open_are_told(how, study, run, tmp_path, capfd):
    archive = Path(shutil.make_archive(str(tmp_path / "export"), "zip", study / "A"))
    content = bytearray(archive.read_bytes())
    if how == "locked":
        with zipfile.ZipFile(archive) as file:
            at = file.start_dir
        content[at + 8] |= 1
    archive.write_bytes({"cut": content[:-200], "locked": content, "text": b"no zip"}[how])
    assert run(archive) == 1
    one_line(capfd.readouterr().err, "export.zip' is", "password" if how == "locked" else "damaged")
    assert not (tmp_path / "out").exists()


def test_a_zip_cannot_write_outside_its_folder(run, tmp_path, capfd):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("../../escaped.txt", "here")
    assert run(tmp_path / "a.zip") == 1
    assert not list(tmp_path.rglob("escaped.txt"))


def test_inspect_of_what_is_no_study_is_an_error(tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    assert main(["inspect", str(tmp_path / "empty")]) == 1
    one_line(capfd.readouterr().err, "holds no DICOM file")
    assert main(["inspect", str(tmp_path / "nowhere")]) == 1
    one_line(capfd.readouterr().err, "does not exist")


def test_three_thousand_files_are_listed_without_keeping_them(tmp_path):
    (path,) = mr(tmp_path / "study", 1, ARRAY[:1, :4, :4], **T2)
    dataset = pydicom.dcmread(path)
    for number in range(3000):
        series, at = divmod(number, 100)
        dataset.SeriesInstanceUID, dataset.SeriesNumber = f"1.2.5.{series}", series
        dataset.SOPInstanceUID, dataset.ImagePositionPatient = f"1.2.5.{series}.{at}", [0, 0, 3 * at]
        dataset.save_as(tmp_path / "study" / f"{number}")
    path.unlink()
    found = find_series(tmp_path / "study")
    assert [(one.slices, one.plane) for one in found] == [(100, "axial")] * 30


def test_equal_series_raise_with_both_named(tmp_path, t2_checkpoint):
    card = read_card(t2_checkpoint)
    for number in (1, 2):
        mr(tmp_path / str(number), number, **T2)
    with pytest.raises(InputError, match=r"series 1 't2_tse_tra' .*; series 2 't2_tse_tra'"):
        best([judge(one, [card]) for one in find_series(tmp_path)])
