"""The command line from end to end: files in, files out, exit status, and one line when something is wrong."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image

from conftest import geometry
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.checkpoints import catalogue
from MedSegAttentionLib.data.errors import InputError
from sitk_tools import matrix_of, to_sitk, write_series
from small_checkpoint import MAPS, two_classes, write_checkpoint

torch.set_num_threads(1)
PHOTOGRAPH = {
    "task": "skin",
    "modality": "XC",
    "in_channels": 3,
    "intensity": {"method": "window", "low": 0, "high": 255},
    "fit": {"fit": "stretch", "size": 64},
}


@pytest.fixture(autouse=True)
def log_handlers_as_before() -> Iterator[None]:
    """``main`` writes its log to the console it found; later tests have another."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    yield
    root.handlers[:] = handlers


@pytest.fixture(scope="module")
def a_checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def bright(kind: str = "oblique") -> sitk.Image:
    array = np.zeros((3, 40, 48), np.float32)
    array[1:, 10:20, 15:30] = 0.5
    return to_sitk(array, geometry(kind))


@pytest.fixture
def a_case(tmp_path: Path) -> Path:
    sitk.WriteImage(bright(), str(tmp_path / "case.nrrd"))
    return tmp_path / "case.nrrd"


@pytest.fixture
def segment(a_checkpoint, tmp_path) -> Callable[..., int]:
    """``segment(INPUT, options)`` to the folder ``out`` with a checkpoint of known behaviour."""

    def run(source: Path | str, *options: str, checkpoint: Path = a_checkpoint, maps: str = "none") -> int:
        where = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), "--device", "cpu"]
        return main(["segment", str(source), *where, "--attention", maps, *options])

    return run


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def labels(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def same_place(path: Path, original: sitk.Image) -> None:
    found = sitk.ReadImage(str(path))
    assert found.GetSize() == original.GetSize()
    np.testing.assert_allclose(matrix_of(found), matrix_of(original), atol=1e-6)


def one_line(text: str, *words: str) -> None:
    assert len(text.splitlines()) == 1, text
    for word in words:
        assert word in text


@pytest.mark.parametrize("kind", ["oblique", "permuted"])
def test_a_volume_gives_segmentation_maps_picture_and_provenance(kind, segment, tmp_path, capfd):
    image = bright(kind)
    sitk.WriteImage(image, str(tmp_path / "case.nrrd"))
    assert segment(tmp_path / "case.nrrd", "--task", "prostate", "--scene", maps="all") == 0
    out, err = capfd.readouterr()
    folder = tmp_path / "out"
    files = ["case.json", "case.mrb", "case.png", "case.seg.nrrd", *(f"case.{name}.nrrd" for name in MAPS)]
    assert names(folder) == sorted(files)
    assert all(str(folder / name) in out for name in files)
    assert err == ""
    found, wanted = labels(folder / "case.seg.nrrd") > 0, sitk.GetArrayFromImage(image) > 0.25
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.95  # its edge may move by half a pixel
    same_place(folder / "case.seg.nrrd", image)
    for name in MAPS:
        read = sitk.ReadImage(str(folder / f"case.{name}.nrrd"))
        values = sitk.GetArrayFromImage(read)
        assert read.GetPixelID() == sitk.sitkFloat32
        assert values.min() >= 0
        assert values.max() <= 1
        assert values.any()
    assert np.ptp(np.asarray(Image.open(folder / "case.png").convert("L"))) > 50
    provenance = json.loads((folder / "case.json").read_text())
    assert provenance["checkpoint"] == "prostate-klo-net"
    assert {"start", "read", "network", "nodes", "files"} <= set(provenance["seconds"])
    with zipfile.ZipFile(folder / "case.mrb") as archive:
        assert any(name.endswith(".mrml") for name in archive.namelist())


def test_maps_on_the_input_grid_have_its_geometry(segment, a_case, tmp_path):
    assert segment(a_case, "--attention-grid", "input", maps="tau_stage4,k_bottleneck") == 0
    for name in ("tau_stage4", "k_bottleneck"):
        same_place(tmp_path / "out" / f"case.{name}.nrrd", sitk.ReadImage(str(a_case)))
    assert "case.tau_bottleneck.nrrd" not in names(tmp_path / "out")


def test_several_classes_are_told_apart(segment, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "two", **two_classes())
    array = np.full((2, 40, 40), 0.1, np.float32)
    array[:, 5:15, 5:15], array[:, 20:30, 20:30] = 0.4, 0.9
    sitk.WriteImage(to_sitk(array, geometry("flipped")), str(tmp_path / "case.nii.gz"))
    assert segment(tmp_path / "case.nii.gz", checkpoint=checkpoint) == 0
    found = labels(tmp_path / "out" / "case.seg.nrrd")
    header = sitk.ReadImage(str(tmp_path / "out" / "case.seg.nrrd"))
    by_name = {
        header.GetMetaData(f"Segment{n}_Name"): int(header.GetMetaData(f"Segment{n}_LabelValue")) for n in (0, 1)
    }
    np.testing.assert_array_equal(found == by_name["liver"], array == np.float32(0.4))
    np.testing.assert_array_equal(found == by_name["spleen"], array == np.float32(0.9))


def test_a_segmentation_with_nothing_found_still_lies_on_the_input(segment, tmp_path):
    image = bright() * 0.2
    sitk.WriteImage(image, str(tmp_path / "case.nrrd"))
    assert segment(tmp_path / "case.nrrd") == 0
    assert not labels(tmp_path / "out" / "case.seg.nrrd").any()
    same_place(tmp_path / "out" / "case.seg.nrrd", image)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_photograph_is_segmented(suffix, segment, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "skin", **PHOTOGRAPH)
    picture = np.full((50, 70, 3), 20, np.uint8)
    picture[10:30, 20:60] = 240
    Image.fromarray(picture).save(tmp_path / f"mole{suffix}")
    assert segment(tmp_path / f"mole{suffix}", "--task", "skin", checkpoint=checkpoint, maps="tau_stage4") == 0
    found = labels(tmp_path / "out" / "mole.seg.nrrd").reshape(50, 70) > 0
    assert (found & (picture[..., 0] > 128)).sum() * 2 / (found.sum() + 800) > 0.95


def test_an_alpha_channel_changes_neither_result_nor_picture(segment, tmp_path, capfd):
    checkpoint = write_checkpoint(tmp_path / "skin", **PHOTOGRAPH)
    picture = np.full((50, 70, 4), 20, np.uint8)
    picture[10:30, 20:60] = 240
    picture[..., 3] = 255
    for name, values in (("plain", picture[..., :3]), ("alpha", picture)):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
        assert segment(tmp_path / f"{name}.png", checkpoint=checkpoint) == 0
    plain, alpha = (np.asarray(Image.open(tmp_path / "out" / f"{name}.png")) for name in ("plain", "alpha"))
    assert capfd.readouterr().err == ""
    np.testing.assert_array_equal(alpha, plain)


@pytest.fixture
def ct(tmp_path) -> Path:
    window = {"method": "window", "low": 0, "high": 1000}
    return write_checkpoint(tmp_path / "ct", modality="CT", intensity=window)


def a_series(folder: Path, name: str = "a") -> np.ndarray:
    array = np.full((3, 40, 48), 100, np.int16)
    array[1:, 10:20, 15:30] = 900
    write_series(folder, array, "CT", name=name)
    return array


def test_a_dicom_series_folder_is_one_volume(segment, ct, tmp_path):
    array = a_series(tmp_path / "series")
    assert segment(tmp_path / "series", checkpoint=ct) == 0
    assert names(tmp_path / "out") == ["series.json", "series.png", "series.seg.nrrd"]
    np.testing.assert_array_equal(labels(tmp_path / "out" / "series.seg.nrrd") > 0, array > 250)


def test_the_series_of_the_folder_one_stands_in_is_named_after_it(segment, ct, tmp_path, monkeypatch):
    a_series(tmp_path / "series")
    monkeypatch.chdir(tmp_path / "series")
    assert segment(".", checkpoint=ct) == 0
    assert names(tmp_path / "out") == ["series.json", "series.png", "series.seg.nrrd"]


def test_a_folder_of_dicom_series_folders_is_a_batch(segment, ct, tmp_path):
    for name in ("a", "b"):
        a_series(tmp_path / "all" / name, name)
    assert segment(tmp_path / "all", checkpoint=ct) == 0
    assert {"a.seg.nrrd", "b.seg.nrrd"} <= set(names(tmp_path / "out"))


def test_a_batch_with_one_bad_file_finishes_the_others_and_fails(segment, tmp_path, capfd):
    folder = tmp_path / "in"
    folder.mkdir()
    sitk.WriteImage(bright(), str(folder / "a.nrrd"))
    (folder / "b.nrrd").write_text("not an image")
    sitk.WriteImage(bright(), str(folder / "c.nii.gz"))
    (folder / "notes.txt").write_text("ignored")
    assert segment(folder) == 1
    out, err = capfd.readouterr()
    assert names(tmp_path / "out") == [f"{stem}{end}" for stem in "ac" for end in (".json", ".png", ".seg.nrrd")]
    one_line(err, "b.nrrd", "could not be read")
    assert "2 of 3" in out


def test_two_images_of_one_name_do_not_overwrite_each_other(segment, tmp_path):
    """Either both results are there, or the batch says that it failed."""
    folder = tmp_path / "in"
    folder.mkdir()
    sitk.WriteImage(bright(), str(folder / "a.nrrd"))
    sitk.WriteImage(bright() * 0.2, str(folder / "a.nii.gz"))
    status = segment(folder)
    segmentations = [name for name in names(tmp_path / "out") if name.endswith(".seg.nrrd")]
    assert status == 1 or len(segmentations) == 2


def nan_case(path: Path) -> Path:
    array = np.full((2, 40, 40), 0.1, np.float32)
    array[0, 0, 0] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


def test_a_failed_run_leaves_nothing_not_even_its_folder(segment, tmp_path, capfd):
    assert segment(nan_case(tmp_path / "bad.nrrd")) == 1
    one_line(capfd.readouterr().err, "'bad'", "1 voxels", "NaN", "Replace them")
    assert not (tmp_path / "out").exists()


def test_a_failure_while_writing_leaves_nothing_not_even_its_folder(segment, a_case, tmp_path, monkeypatch, capfd):
    from MedSegAttentionLib.scene import files

    def full_disk(*_arguments):
        raise InputError("the disk is full")

    monkeypatch.setattr(files, "save_scene", full_disk)
    output = tmp_path / "new" / "deep"
    assert (
        main(["segment", str(a_case), "--checkpoint", str(_checkpoint(tmp_path)), "--output", str(output), "--scene"])
        == 1
    )
    one_line(capfd.readouterr().err, "the disk is full")
    assert not (tmp_path / "new").exists()


def _checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "own")


def test_a_failed_run_leaves_the_files_of_others_alone(segment, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("keep me")
    assert segment(nan_case(tmp_path / "bad.nrrd")) == 1
    assert names(tmp_path / "out") == ["old.txt"]


def test_a_result_that_cannot_take_its_place_leaves_nothing_of_itself(segment, a_case, tmp_path, capfd):
    (tmp_path / "out" / "case.png").mkdir(parents=True)  # a folder stands where the picture should go
    assert segment(a_case) == 1
    one_line(capfd.readouterr().err, "case.png")
    assert names(tmp_path / "out") == ["case.png"]


@pytest.mark.parametrize("output", ["case.nrrd", "case.nrrd/deeper"])
def test_an_output_that_is_no_folder_is_refused(output, a_checkpoint, a_case, tmp_path, capfd):
    where = ["--checkpoint", str(a_checkpoint), "--output", str(tmp_path / output)]
    assert main(["segment", str(a_case), *where]) == 1
    one_line(capfd.readouterr().err, str(tmp_path / output), "cannot be written", "choose another folder")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["segmentt"],
        ["segment"],
        ["segment", "x.nrrd", "--task", "prostate"],
        ["segment", "x.nrrd", "--output", "o", "--task", "brain"],
        ["segment", "x.nrrd", "--output", "o", "--task", "prostate", "--device", "gpu"],
        ["segment", "x.nrrd", "--output", "o", "--task", "prostate", "--axis", "x"],
        ["segment", "x.nrrd", "--output", "o", "--task", "prostate", "--batch-size", "many"],
        ["segment", "x.nrrd", "--output", "o", "--task", "prostate", "--batch-size", "0"],
        ["segment", "x.nrrd", "--output", "o", "--task", "prostate", "--attention-grid", "fine"],
        ["segment", "x.nrrd", "--output", "o"],
        ["segment", "x.nrrd", "y.nrrd", "--output", "o", "--task", "prostate"],
        ["checkpoints"],
    ],
    ids=" ".join,
)
def test_wrong_use_is_status_2_and_one_line(arguments, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sitk.WriteImage(bright(), "x.nrrd")
    try:
        status = main(arguments)
    except SystemExit as leaving:
        status = leaving.code
    one_line(capfd.readouterr().err)
    assert status == 2
    assert not Path("o").exists()


@pytest.mark.parametrize(
    ("name", "words"), [("none.nrrd", ["does not exist", "expected"]), ("empty", ["0 DICOM series", "exactly one"])]
)
def test_a_missing_input_is_one_line(name, words, segment, tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    assert segment(tmp_path / name) == 1
    one_line(capfd.readouterr().err, *words)


def test_an_unknown_checkpoint_and_an_unknown_map_are_one_line(segment, a_case, capfd):
    assert segment(a_case, checkpoint=Path("no-such")) == 1
    one_line(capfd.readouterr().err, "'no-such' was not found")
    assert segment(a_case, maps="nose") == 1
    one_line(capfd.readouterr().err, "'nose'", "tau_stage4")


def test_an_unexpected_failure_is_one_line_and_a_traceback_with_debug(
    a_checkpoint, a_case, tmp_path, monkeypatch, capfd
):
    from MedSegAttentionLib.scene import writing

    def fail(*_arguments):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(writing, "write_result", fail)
    arguments = ["segment", str(a_case), "--checkpoint", str(a_checkpoint), "--output", str(tmp_path / "out")]
    assert main(arguments) == 1
    one_line(capfd.readouterr().err, "RuntimeError: two lines")
    with pytest.raises(RuntimeError, match="two"):
        main(["--debug", *arguments])
    assert not (tmp_path / "out").exists()


def test_an_unexpected_failure_of_one_case_does_not_end_the_batch(segment, tmp_path, monkeypatch):
    from MedSegAttentionLib.scene import writing

    write, calls = writing.write_result, []

    def fail_once(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("out of luck")
        return write(*arguments)

    monkeypatch.setattr(writing, "write_result", fail_once)
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.nrrd", "b.nrrd"):
        sitk.WriteImage(bright(), str(folder / name))
    assert segment(folder) == 1
    assert names(tmp_path / "out") == ["b.json", "b.png", "b.seg.nrrd"]


def test_what_force_overrides_is_said_and_kept(segment, tmp_path, capfd):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 40, 40), np.float32)), str(tmp_path / "flat.nrrd"))
    assert segment(tmp_path / "flat.nrrd") == 1
    one_line(capfd.readouterr().err, "the same value, 0, everywhere", "--force")
    assert segment(tmp_path / "flat.nrrd", "--force") == 0
    assert "the same value" in json.loads((tmp_path / "out" / "flat.json").read_text())["warnings"][0]
    assert "the same value" in capfd.readouterr().err


def test_a_volume_acquired_along_another_axis_is_warned_about_where_the_user_looks(segment, tmp_path, capfd):
    image = bright("plain")
    image.SetSpacing((5.0, 1.0, 1.0))
    sitk.WriteImage(image, str(tmp_path / "case.nrrd"))
    assert segment(tmp_path / "case.nrrd") == 0
    assert "acquired along axis i" in json.loads((tmp_path / "out" / "case.json").read_text())["warnings"][0]
    assert "acquired along axis i" in capfd.readouterr().err


def test_an_axis_can_be_chosen(segment, a_case, tmp_path):
    assert segment(a_case, "--axis", "j", "--batch-size", "3") == 0
    provenance = json.loads((tmp_path / "out" / "case.json").read_text())
    assert provenance["slice_axis"] == "j"
    assert provenance["slices"] == [40, 40]


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "Checkpoints"
    write_checkpoint(folder / "prostate-klo-net")
    monkeypatch.setattr(catalogue, "SHIPPED", folder)
    return folder


def test_a_task_alone_finds_its_checkpoint(installed, a_case, tmp_path):
    assert main(["segment", str(a_case), "--task", "prostate", "--output", str(tmp_path / "out")]) == 0


def test_checkpoints_are_listed_and_verified(installed, capfd):
    assert main(["checkpoints", "list"]) == 0
    assert "prostate-klo-net  MR, version 1.0" in capfd.readouterr().out
    for names_given in ([], ["prostate-klo-net"], [str(installed / "prostate-klo-net")]):
        assert main(["checkpoints", "verify", *names_given]) == 0
        assert "are whole" in capfd.readouterr().out
    weights = installed / "prostate-klo-net" / "models" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert main(["checkpoints", "verify"]) == 1
    one_line(capfd.readouterr().err, "damaged or altered")


def test_verify_names_every_damaged_checkpoint(installed, capfd):
    for name in ("a", "b"):
        shutil.copytree(installed / "prostate-klo-net", installed / name)
        (installed / name / "models" / "model.safetensors").write_bytes(b"")
    assert main(["checkpoints", "verify"]) == 1
    out, err = capfd.readouterr()
    assert str(installed / "a") in err
    assert str(installed / "b") in err
    assert "prostate-klo-net: weights and card are whole" in out


def test_debug_may_stand_after_the_command(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        main(["segment", str(tmp_path / "x.nrrd"), "--task", "prostate", "--output", str(tmp_path / "o"), "--debug"])


def test_unknown_networks_are_wrong_use(capfd):
    assert main(["complexity", "nosuch"]) == 2
    one_line(capfd.readouterr().err, "nosuch", "klo-net")


def test_the_doctor_reports_a_broken_card_and_goes_on(installed, capfd):
    assert main(["doctor"]) == 0
    assert "checkpoint prostate-klo-net: whole" in capfd.readouterr().out
    (installed / "broken" / "configs").mkdir(parents=True)
    (installed / "broken" / "configs" / "metadata.json").write_text("{")
    assert main(["doctor"]) == 1
    out, err = capfd.readouterr()
    assert "checkpoint prostate-klo-net: whole" in out
    assert "broken" in err


def test_it_runs_as_a_module_from_any_folder(tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "MedSegAttentionLib", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    from MedSegAttentionLib import __version__

    version, wrong = run("--version"), run("segment")
    assert (version.returncode, version.stdout.strip(), version.stderr) == (0, __version__, "")
    assert wrong.returncode == 2
    one_line(wrong.stderr, "--output")
