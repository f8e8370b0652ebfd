"""Quick to say no, quick to begin: what is loaded when, measured by ``sys.modules`` in a fresh process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MedSegAttentionLib.__main__ import main
from small_checkpoint import MAPS, write_checkpoint

HEAVY = {"torch", "monai", "vtk", "vtkmodules", "slicer", "matplotlib", "scipy"}
PROGRAM = """
import json, sys
from MedSegAttentionLib.__main__ import main
status = main(sys.argv[1:])
print(json.dumps([status, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def run(*words: str) -> tuple[int, set[str], str]:
    """Exit status, top-level modules that were loaded, and stderr of a command in a process of its own."""
    path = f"import sys; sys.path[:0] = {sys.path!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", path + PROGRAM, *words], capture_output=True, encoding="utf-8", check=True, timeout=120
    )
    status, modules = json.loads(done.stdout.splitlines()[-1])
    return status, set(modules), done.stderr


@pytest.fixture
def an_image(tmp_path: Path) -> Path:
    array = np.zeros((2, 40, 40), np.float32)
    array[:, 5:20, 5:20] = 1
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "image.nrrd"))
    return tmp_path / "image.nrrd"


def refusals(tmp_path: Path, image: Path) -> dict[str, list[str]]:
    """What is wrong -> the words of the command line after ``segment``."""
    half = tmp_path / "half.nrrd"
    half.write_bytes(image.read_bytes()[:-3000])
    picky = write_checkpoint(tmp_path / "picky", expects={"minimum": [None, None], "maximum": [500, None]})
    plain = write_checkpoint(tmp_path / "plain")
    out = ["--output", str(tmp_path / "out")]
    return {
        "does not exist": [str(tmp_path / "nothing.nrrd"), "--task", "prostate", *out],
        "task 'brain' is not known": [str(image), "--task", "brain", *out],
        "half.nrrd": [str(half), "--task", "prostate", *out],
        "was not found": [str(image), "--checkpoint", "no-such-checkpoint", *out],
        "1": [str(image), "--checkpoint", str(picky), *out],
        "nothing_here": [str(image), "--checkpoint", str(plain), "--attention", "nothing_here", *out],
    }


@pytest.mark.parametrize("number", range(6))
def test_a_refusal_loads_neither_torch_nor_mrml(number, tmp_path, an_image):
    told, words = list(refusals(tmp_path, an_image).items())[number]
    status, modules, error = run("segment", *words)
    assert status in (1, 2)
    assert told in error
    assert not modules & HEAVY
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [0, 1])
def test_what_is_refused_unread_waits_for_no_reader(number, tmp_path, an_image):
    words = list(refusals(tmp_path, an_image).values())[number]
    assert not run("segment", *words)[1] & {"SimpleITK", "pydicom", "nibabel"}


def test_a_run_loads_no_tiles_and_no_plots(tmp_path, an_image):
    folder = write_checkpoint(tmp_path / "checkpoint")
    status, modules, error = run(
        "segment", str(an_image), "--checkpoint", str(folder), "--output", str(tmp_path / "out")
    )
    assert status == 0, error
    assert "slicer" in modules
    # PyTorch is loaded in a worker process meanwhile; vtk loads all of its modules, vtkmodules one
    assert not modules & {"torch", "monai", "matplotlib", "scipy", "vtk"}
    seconds = json.loads((tmp_path / "out" / "image.json").read_text())["seconds"]
    assert seconds["read"] > 0
    assert seconds["start"] > 0


def test_a_process_that_has_no_pytorch_gets_the_same_from_a_worker_that_is_gone_then(tmp_path, an_image, capfd):
    folder = write_checkpoint(tmp_path / "checkpoint")
    words = ["segment", str(an_image), "--checkpoint", str(folder), "--force", "--output"]
    status, modules, error = run(*words, str(tmp_path / "there"))
    assert (status, error) == (0, "")
    assert "torch" not in modules
    assert main([*words, str(tmp_path / "here")]) == 0
    assert capfd.readouterr().out.startswith("slice 1 of 2\nslice 2 of 2\n")
    names = [path.name for path in sorted((tmp_path / "here").glob("*.nrrd"))]
    assert len(names) == 2 + len(MAPS)
    for name in names:
        here, there = (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / at / name))) for at in ("here", "there"))
        np.testing.assert_array_equal(here, there)


def test_what_a_worker_refuses_or_warns_of_is_told_as_if_it_ran_here(tmp_path, an_image):
    changed = write_checkpoint(tmp_path / "changed")
    with open(changed / "models" / "model.safetensors", "ab") as file:
        file.write(b"x")
    status, modules, error = run(
        "segment", str(an_image), "--checkpoint", str(changed), "--output", str(tmp_path / "o")
    )
    assert status == 1
    assert error.count("\n") == 1
    assert "SHA-256" in error
    assert not (tmp_path / "o").exists()
    assert "torch" not in modules
    plain = write_checkpoint(
        tmp_path / "plain", modality="CT", expects={"minimum": [None, -100], "maximum": [None, None]}
    )
    words = ("segment", str(an_image), "--checkpoint", str(plain), "--output", str(tmp_path / "o"))
    status, _, error = run(*words, "--force")
    assert status == 0
    assert error.count("smallest value") == 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_terminated_run_leaves_nothing_unfinished(name, tmp_path):
    """As when a cluster ends it, or its terminal is closed."""
    if not hasattr(signal, name):
        pytest.skip("this system has no such signal")
    noise = np.random.default_rng(0).random((4000, 64, 64), np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(tmp_path / "a.nrrd"))
    folder = write_checkpoint(tmp_path / "checkpoint")
    (tmp_path / "temporary").mkdir()
    words = ["segment", str(tmp_path / "a.nrrd"), "--checkpoint", str(folder), "--output", str(tmp_path / "out")]
    path = f"import sys; sys.path[:0] = {sys.path!r}\n"
    process = subprocess.Popen(
        [sys.executable, "-c", path + PROGRAM, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
    )
    assert any(" left" in line for line in iter(process.stdout.readline, ""))
    assert list((tmp_path / "out").glob(".unfinished-*"))
    assert list((tmp_path / "temporary").iterdir())
    process.send_signal(getattr(signal, name))
    out, error = process.communicate(timeout=60)
    assert json.loads(out.splitlines()[-1])[0] == 1
    assert "stopped" in error
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "temporary").iterdir())
