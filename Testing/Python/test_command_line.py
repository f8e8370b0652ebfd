"""The command line: exit status, one line when something is wrong, and nothing left behind."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

from command_tools import bright, names, nan_case, one_line
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.checkpoints import catalogue
from MedSegAttentionLib.data.errors import CheckpointError, InputError
from small_checkpoint import write_checkpoint

pytest_plugins = ["command_fixtures"]


def test_a_failed_run_leaves_nothing_not_even_its_folder(segment, tmp_path, capfd):
    assert segment(nan_case(tmp_path / "bad.nrrd")) == 1
    one_line(capfd.readouterr().err, "'bad'", "1 voxels", "NaN", "force")
    assert not (tmp_path / "out").exists()


def test_a_failure_while_writing_leaves_nothing_not_even_its_folder(segment, a_case, tmp_path, monkeypatch, capfd):
    from MedSegAttentionLib.output import case_files

    def full_disk(*_arguments):
        raise InputError("the disk is full")

    monkeypatch.setattr(case_files, "save_scene", full_disk)
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
    ("name", "words"),
    [("none.nrrd", ["does not exist", "expected"]), ("empty", ["holds no image", "PNG", "DICOM series"])],
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
    from MedSegAttentionLib.output import case_files

    def fail(*_arguments):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(case_files, "write_result", fail)
    arguments = ["segment", str(a_case), "--checkpoint", str(a_checkpoint), "--output", str(tmp_path / "out")]
    assert main(arguments) == 1
    one_line(capfd.readouterr().err, "RuntimeError: two lines")
    with pytest.raises(RuntimeError, match="two"):
        main(["--debug", *arguments])
    assert not (tmp_path / "out").exists()


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


@pytest.mark.parametrize(
    "arguments",
    [
        ["--debug", "checkpoints", "remove", "nosuch"],
        ["checkpoints", "--debug", "remove", "nosuch"],
        ["checkpoints", "remove", "nosuch", "--debug"],
    ],
)
def test_debug_may_stand_anywhere(arguments, capfd):
    with pytest.raises(CheckpointError, match="nosuch"):
        main(arguments)
    assert main([word for word in arguments if word != "--debug"]) == 1
    one_line(capfd.readouterr().err, "nosuch")


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


def test_a_name_the_console_cannot_show_does_not_end_a_batch(tmp_path, monkeypatch):
    """As on Windows, where redirected output has an encoding of its own."""
    (tmp_path / "in").mkdir()
    for name in ("\u524d\u5217.nrrd", "b.nrrd"):
        (tmp_path / "in" / name).write_text("no image")
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "cp1252", write_through=True))
    assert main(["segment", str(tmp_path / "in"), "--task", "prostate", "--output", str(tmp_path / "out")]) == 1
    told = shown.getvalue().decode("cp1252")
    assert "\\u524d\\u5217.nrrd" in told
    assert "0 of 2 segmented" in told
