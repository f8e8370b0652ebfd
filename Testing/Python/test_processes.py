"""Training in several processes: what each takes, and that two of them train one network."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from torch import nn

from MedSegAttentionLib.data.errors import UsageError
from MedSegAttentionTraining.fitting.processes import Processes, SharedSampler, training_processes

HERE = Path(__file__).parent


@pytest.mark.parametrize(("number", "batch_size", "count"), [(12, 4, 2), (11, 4, 4), (7, 2, 1)])
def test_the_processes_together_draw_what_one_would(number, batch_size, count):
    weights = [1.0, 0.3, 1.0, 1.0, 0.3, 1.0, 1.0]

    def drawn(rank: int, count: int) -> list[int]:
        torch.manual_seed(5)
        sampler = SharedSampler(weights, number, batch_size, Processes(rank, count))
        found = list(sampler)
        assert len(sampler) == len(found)
        return found

    alone = drawn(0, 1)
    assert len(alone) == number // batch_size * batch_size
    shares = [drawn(rank, count) for rank in range(count)]
    share = Processes(0, count).share_of(batch_size)
    for first in range(0, len(alone), batch_size):
        step = first // batch_size * share
        together = [index for part in shares for index in part[step : step + share]]
        assert sorted(together) == sorted(alone[first : first + batch_size])


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(UsageError, match="batch of 8 cannot be divided among 3"):
        Processes(0, 3).share_of(8)


def test_one_process_alone_joins_nothing(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with training_processes("cpu") as (processes, device):
        assert processes == Processes()
        assert device == torch.device("cpu")
    network = nn.Sequential(nn.BatchNorm2d(3))
    assert processes.averaging(network) is network
    assert processes.mean((1.5, 2.5), device) == [1.5, 2.5]


def test_batch_normalisation_is_shared_on_cuda_alone_and_keeps_its_names():
    network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3))
    names = list(network.state_dict())
    joined = Processes(0, 2, joined=True)
    assert not isinstance(joined.prepared(network, torch.device("cpu"))[1], nn.SyncBatchNorm)
    shared = joined.prepared(network, torch.device("cuda", 0))
    assert isinstance(shared[1], nn.SyncBatchNorm)
    assert list(shared.state_dict()) == names


@pytest.mark.parametrize("device", ["mps", "cuda"])
def test_a_device_that_cannot_be_shared_is_refused(monkeypatch, device):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("LOCAL_RANK", "99")
    with pytest.raises(UsageError, match="expected"), training_processes(device):
        pass


def _made(folder: Path) -> tuple[Path, Path]:
    """A small configuration and two cases of discs in noise."""
    rows, columns = np.mgrid[:32, :32]
    rng = np.random.default_rng(0)
    for number, name in enumerate("ab"):
        disc = ((rows - 14 - 3 * number) ** 2 + (columns - 16) ** 2 < 64).astype(np.uint8)
        labels = np.stack([disc * 0, disc, disc, disc])
        for sub, array in (("images", rng.normal(100, 10, labels.shape) + 80 * labels), ("labels", labels)):
            (folder / "discs" / sub).mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / "discs" / sub / f"{name}.nii.gz"))
    (folder / "discs" / "dataset.json").write_text(json.dumps({"labels": {"prostate": 1}}))
    config = {
        "checkpoint": "prostate-klo-net",
        "task": "prostate",
        "network": {"name": "klo-net", "width": 4},
        "classes": ["prostate"],
        "intensity": {"method": "window", "low": 0, "high": 200},
        "stages": [{"fit": {"fit": "spacing", "mm": 1.0, "size": 32}, "epochs": 2}],
        "augmentation": {"rotation": 20, "noise": 0.1},
        "epoch_slices": 9,
        "batch_size": 4,
        "tau_budget": 0.1,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "config.json", folder / "discs"


def test_two_processes_train_one_network_and_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path):
    config, data = _made(tmp_path)
    output = tmp_path / "runs"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launch, str(HERE / "train_in_processes.py"), str(config), str(data), str(output)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    kept = {path.name: torch.load(path, weights_only=True) for path in output.glob("*.pt")}
    assert sorted(kept) == [f"{run}.rank{rank}.pt" for run in ("broken", "whole") for rank in (0, 1)]
    first, second, resumed = (kept[name] for name in ("whole.rank0.pt", "whole.rank1.pt", "broken.rank0.pt"))
    assert len(first["seen"]) == len(second["seen"]) == 4
    assert first["seen"] != second["seen"], "each has slices and changes of its own"
    assert resumed["seen"] == first["seen"][2:]
    for name, values in first["network"].items():
        if "running" not in name:  # on a CPU each process has the statistics of its last batch
            assert torch.equal(values, second["network"][name]), f"{name} differs though gradients were averaged"
        assert torch.equal(values, resumed["network"][name]), f"{name} differs after a break"

    saved = torch.load(output / "whole" / "last.pt", weights_only=True)
    assert all(torch.equal(saved["network"][name], value) for name, value in first["network"].items())
    assert saved["step"] == 4
    with open(output / "whole" / "log.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    assert done.stdout.count("epoch 1:") == 2, "the first process alone logs, once for each run"
    assert done.stdout.count("going on after epoch 1") == 1
    assert (output / "whole" / "best.safetensors").is_file()
