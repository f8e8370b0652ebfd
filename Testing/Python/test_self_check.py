"""The self-check says what is there and what is wrong, whatever is missing."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.checkpoints import catalogue
from MedSegAttentionLib.setup import python_process, self_check, torch_probe
from MedSegAttentionLib.setup.self_check import Finding, as_text, report, supports, torch_findings
from small_checkpoint import write_checkpoint

CARD = {"name": "Card X", "capability": [12, 0], "free": 3e9, "total": 8e9}
FACTS = {
    "version": "2.8.0",
    "threads": 4,
    "built_for_cuda": "12.8",
    "architectures": ["sm_80", "sm_90"],
    "mps": False,
    "cuda": True,
    "cards": [{**CARD, "capability": [8, 6]}],
}


@pytest.fixture
def a_shipped_checkpoint(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(catalogue, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv(catalogue.USER_FOLDER_VARIABLE, str(tmp_path / "own"))
    return write_checkpoint(tmp_path / "shipped" / "prostate-klo-net")


@pytest.fixture
def a_process(monkeypatch):
    """Set its ``answer`` (exit status, stdout, stderr) for the question to torch."""
    process = SimpleNamespace(answer=(0, json.dumps(FACTS), ""), nvidia="")

    def run_module(name, timeout):
        assert (name, timeout) == (torch_probe.__name__, self_check.TORCH_TIMEOUT)
        return subprocess.CompletedProcess([], *process.answer)

    def run(_command, **_keywords):
        if not process.nvidia:
            raise FileNotFoundError("nvidia-smi")
        return subprocess.CompletedProcess([], 0, process.nvidia, "")

    monkeypatch.setattr(self_check, "run_module", run_module)
    monkeypatch.setattr(self_check.subprocess, "run", run)
    return process


def problems(findings: list[Finding]) -> list[str]:
    return [finding.text for finding in findings if finding.problem]


def test_a_whole_installation_has_no_problem(a_shipped_checkpoint, a_process):
    a_process.nvidia = "Card X, 570.1, 8.6, 7000 MiB, 8000 MiB\n"
    text = as_text(report("3D Slicer 5.10"))
    digest = catalogue.read_card(a_shipped_checkpoint).weights_sha256
    for word in (
        "MedSegAttention 0.",
        "3D Slicer 5.10",
        f"torch {torch.__version__}",
        "psutil ",
        "Card X, driver 570.1, compute capability 8.6, memory 7000 MiB free of 8000 MiB",
        "CUDA: available",
        "memory 3.0 GB free of 8.0 GB, compute capability 8.6; this torch was built for sm_80 sm_90",
        f"prostate-klo-net: whole, version 1.0, SHA-256 {digest}",
        f"your checkpoints: {catalogue.user_folder()}",
        "GB free",
        "No problem found.",
    ):
        assert word in text
    assert "PROBLEM" not in text


def test_it_works_without_torch_and_says_what_is_missing(a_shipped_checkpoint, a_process, monkeypatch):
    monkeypatch.setattr(self_check, "is_whole", lambda name: name != "torch")
    monkeypatch.setattr(self_check, "run_module", lambda *_args, **_kw: pytest.fail("asked a torch that is not there"))
    monkeypatch.setattr(self_check, "torch_problem", lambda: "")
    text = as_text(report())
    assert "PROBLEM: torch is not installed" in text
    assert "prostate-klo-net: whole" in text
    assert text.endswith("1 problem(s) found.")
    monkeypatch.setattr(self_check, "torch_problem", lambda: "PyTorch is half installed: delete it")
    assert problems(report()) == ["PyTorch is half installed: delete it"]


def test_a_damaged_checkpoint_is_named_and_the_others_still_checked(a_shipped_checkpoint, a_process):
    broken = shutil.copytree(a_shipped_checkpoint, catalogue.user_folder() / "prostate-a-net")
    (broken / "models" / "model.safetensors").write_bytes(b"x")
    (problem,) = problems(report())
    assert "prostate-a-net" in problem
    assert "damaged" in problem
    assert any("prostate-klo-net: whole" in finding.text for finding in report())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((-11, "", ""), ["torch does not work", "exit status -11"]),
        ((1, "", "Traceback\nOSError: libcudart.so not found\n"), ["libcudart.so not found", "PyTorch Utils"]),
        ((0, "hello\n", ""), ["torch does not work"]),
    ],
)
def test_a_torch_that_crashes_is_a_line_of_the_report(a_shipped_checkpoint, a_process, answer, words):
    a_process.answer = answer
    (problem,) = problems(report())
    for word in words:
        assert word in problem


@pytest.mark.parametrize(
    ("changes", "driver", "words"),
    [
        ({"built_for_cuda": None, "cuda": False, "cards": []}, True, ["built for the CPU alone", "card is not used"]),
        ({"cuda": False, "cards": []}, True, ["driver may be too old for CUDA 12.8"]),
        ({"cards": [CARD]}, True, ["does not support Card X (compute capability 12.0)", "choose CPU"]),
    ],
    ids=["CPU build", "old driver", "new card"],
)
def test_a_card_that_is_not_used_is_said_plainly(changes, driver, words):
    (problem,) = problems(list(torch_findings(driver, FACTS | changes)))
    for word in words:
        assert word in problem


def test_a_computer_without_a_card_has_no_problem():
    no_card = {"built_for_cuda": None, "cuda": False, "cards": [], "architectures": []}
    assert problems(list(torch_findings(False, FACTS | no_card))) == []


@pytest.mark.parametrize(
    ("capability", "architectures", "expected"),
    [
        ((8, 6), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_80", "sm_86"], False),
        ((12, 0), ["sm_80", "sm_90", "compute_90"], True),
        ((9, 0), ["sm_90a"], True),
        ((9, 1), ["sm_90a"], False),
        ((12, 1), ["sm_120"], True),
        ((12, 1), ["compute_120f"], True),
        ((13, 0), ["compute_120f"], False),
        ((6, 1), ["sm_75", "gfx906", ""], False),
        ((6, 1), [], False),
    ],
)
def test_compute_capability_against_the_build(capability, architectures, expected):
    assert supports(capability, architectures) is expected


def test_little_disk_space_is_a_problem(a_shipped_checkpoint, a_process, monkeypatch):
    monkeypatch.setattr(self_check.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    assert all("1.0 GB free; free some disk space" in text for text in problems(report()))
    assert len(problems(report())) == 4


def test_torch_is_asked_in_a_process_of_its_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    answer = python_process.run_module(torch_probe.__name__, timeout=120)
    assert json.loads(answer.stdout)["version"] == torch.__version__


def test_slicers_python_is_used_in_slicer(monkeypatch):
    commands = []
    monkeypatch.setattr(python_process.shutil, "which", {"PythonSlicer": "/slicer/PythonSlicer"}.get)
    monkeypatch.setattr(python_process.subprocess, "run", lambda command, **_keywords: commands.append(command))
    python_process.run_module("a.b", "c", timeout=1)
    assert commands == [["/slicer/PythonSlicer", "-m", "a.b", "c"]]


def test_the_doctor_prints_the_report_and_fails_on_a_problem(a_shipped_checkpoint, a_process, capfd):
    assert main(["doctor"]) == 0
    assert "prostate-klo-net: whole" in capfd.readouterr().out
    a_process.answer = (1, "", "")
    assert main(["doctor"]) == 1
    assert "torch does not work" in capfd.readouterr().err
