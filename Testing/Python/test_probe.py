"""How long a slice takes here, and what is said when that cannot be measured."""

from __future__ import annotations

import re

import pytest
import torch

from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.data.errors import CheckpointError, InputError
from MedSegAttentionLib.inference import probe
from small_checkpoint import write_checkpoint

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def a_checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def test_three_slices_of_the_trained_size_are_timed_after_a_first_call(a_checkpoint, monkeypatch):
    calls, clock = [], iter([10.0, 11.5])
    monkeypatch.setattr(probe.Predictor, "predict", lambda _self, slices: calls.append(tuple(slices.shape)))
    monkeypatch.setattr(probe, "perf_counter", lambda: next(clock))
    measured = probe.seconds_per_slice(a_checkpoint, "cpu")
    assert calls == [(3, 1, 64, 64)] * 2
    assert measured == probe.SliceTime(0.5, "cpu")


def test_the_command_prints_what_it_measured(a_checkpoint, capfd):
    assert main(["checkpoints", "time", str(a_checkpoint), "--device", "cpu"]) == 0
    seconds = float(re.fullmatch(r"([0-9.]+) s per slice on cpu\n", capfd.readouterr().out).group(1))
    assert 0 < seconds < 60


def test_a_missing_device_or_checkpoint_is_an_error(a_checkpoint, tmp_path):
    with pytest.raises(InputError, match="'mps' is not available"):
        probe.seconds_per_slice(a_checkpoint, "mps")
    with pytest.raises(CheckpointError):
        probe.seconds_per_slice(tmp_path, "cpu")
