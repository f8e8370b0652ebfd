"""Quick to say no, quick to begin: what is loaded when, measured by ``sys.modules`` in a fresh process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from small_checkpoint import write_checkpoint

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
    assert {"torch", "slicer"} <= modules
    assert not modules & {"monai", "matplotlib", "scipy", "vtk"}  # vtk loads all of its modules, vtkmodules one
    seconds = json.loads((tmp_path / "out" / "image.json").read_text())["seconds"]
    assert seconds["read"] > 0
    assert seconds["start"] > 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_terminated_run_leaves_nothing_unfinished(name, tmp_path):
    """As when a cluster ends it, or its terminal is closed."""
    if not hasattr(signal, name):
        pytest.skip("this system has no such signal")
    noise = np.random.default_rng(0).random((4000, 64, 64), np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(tmp_path / "a.nrrd"))
    folder = write_checkpoint(tmp_path / "checkpoint")
    words = ["segment", str(tmp_path / "a.nrrd"), "--checkpoint", str(folder), "--output", str(tmp_path / "out")]
    path = f"import sys; sys.path[:0] = {sys.path!r}\n"
    process = subprocess.Popen(
        [sys.executable, "-c", path + PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().startswith("slice 10 of 4000")
    assert list((tmp_path / "out").glob(".unfinished-*"))
    process.send_signal(getattr(signal, name))
    out, error = process.communicate(timeout=60)
    assert json.loads(out.splitlines()[-1])[0] == 1
    assert "stopped" in error
    assert not (tmp_path / "out").exists()
