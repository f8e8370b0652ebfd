"""A training that starts from a checkpoint: its weights, an encoder that stays as it is, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from monai.data import set_track_meta
from monai.utils import set_determinism
from safetensors.torch import load_file

from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.checkpoints.card_file import read_card
from MedSegAttentionLib.checkpoints.loading import load_checkpoint
from MedSegAttentionLib.data.errors import CheckpointError, InputError
from MedSegAttentionLib.networks import build_network
from MedSegAttentionTraining.data.cases import read_folder
from MedSegAttentionTraining.fitting.config import read_config
from MedSegAttentionTraining.fitting.loop import Options, Trainer
from MedSegAttentionTraining.fitting.record import record_beside
from MedSegAttentionTraining.fitting.starting import start_from
from MedSegAttentionTraining.publishing.origin import learned_cases
from spine_task import write_card_source, write_config, write_data

pytest_plugins = ["command_fixtures"]

NETWORK = {"name": "klo-net", "width": 8}
ABOUT = {"title": "Spines of one hospital", "licence": "vote 12/34", "reference": "unpublished"}
OTHERS = {"title": "Spines of another", "licence": "vote 56/78", "reference": "unpublished too"}


@pytest.fixture(autouse=True)
def quiet_globals():
    """MONAI's seeding and metadata switches are global: put them back."""
    yield
    set_determinism(None)
    set_track_meta(True)


@pytest.fixture(scope="module")
def a_parent(tmp_path_factory) -> Path:
    """A checkpoint that was trained for a step."""
    folder = tmp_path_factory.mktemp("parent")
    config = write_config(folder / "config.json", network=NETWORK, epoch_slices=8)
    data = [read_folder(write_data(folder / "made" / "spine", ABOUT))]
    Trainer(read_config(config), data, folder / "run", Options(max_steps=1)).run()
    words = ["--card", str(write_card_source(folder / "card.json")), "--output", str(folder / "spine-first")]
    assert main(["export", str(config), "--weights", str(folder / "run" / "best.safetensors"), *words]) == 0
    return folder / "spine-first"


@pytest.fixture
def a_config(tmp_path) -> Path:
    return write_config(tmp_path / "config.json", network=NETWORK, epoch_slices=8, seed=5)


@pytest.fixture
def other_data(tmp_path) -> Path:
    return write_data(tmp_path / "other" / "spine", OTHERS)


def train(config: Path, data: Path, output: Path, *more: str) -> int:
    return main(["train", str(config), "--data", str(data), "--output", str(output), "--threads", "1", *more])


def same(run: Path, parent: Path, encoder: bool) -> bool:
    """Whether all weights and statistics of the encoder, or of the rest, are those of the parent."""
    now, then = load_file(run / "best.safetensors"), load_checkpoint(parent).network.state_dict()
    names = [name for name in then if name.startswith("encoder.") == encoder and "num_batches" not in name]
    assert len(names) > 10
    return all(torch.equal(now[name].float(), then[name]) for name in names)


def test_a_frozen_encoder_stays_to_the_bit_and_the_rest_learns(a_parent, a_config, other_data, tmp_path):
    run = tmp_path / "run"
    assert train(a_config, other_data, run, "--from", str(a_parent), "--freeze-encoder", "3") == 0
    assert same(run, a_parent, encoder=True)
    assert not same(run, a_parent, encoder=False)


def test_the_encoder_learns_once_its_epochs_are_over(a_parent, a_config, other_data, tmp_path):
    values = json.loads(a_config.read_text()) | {"frozen_epochs": 1}
    a_config.write_text(json.dumps(values))
    start = start_from(str(a_parent), read_config(a_config))
    data = [read_folder(other_data)]
    trainer = Trainer(read_config(a_config), data, tmp_path / "run", Options(max_steps=2), start=start)
    first = {name: value.clone() for name, value in trainer.network.encoder.state_dict().items()}
    assert all(torch.equal(value, start.weights[f"encoder.{name}"]) for name, value in first.items())
    trainer.run()  # one epoch has two steps
    assert all(torch.equal(value, first[name]) for name, value in trainer.network.encoder.state_dict().items())
    again = Trainer(read_config(a_config), data, tmp_path / "run", Options(), start=start)
    again.run()
    now = again.network.encoder.state_dict()
    changed = [name for name, value in now.items() if not torch.equal(value, first[name])]
    assert any("running_mean" in name for name in changed)
    assert any(name.endswith("weight") for name in changed)


def test_record_card_page_and_licence_say_what_it_started_from(a_parent, a_config, other_data, tmp_path):
    run, output = tmp_path / "run", tmp_path / "spine-second"
    assert train(a_config, other_data, run, "--from", str(a_parent), "--freeze-encoder", "1", "--max-steps", "1") == 0
    record, parent = record_beside(run / "best.safetensors"), read_card(a_parent)
    assert record["pretrained"]["name"] == parent.id
    assert record["pretrained"]["sha256"] == parent.weights_sha256
    assert ABOUT["title"] in record["pretrained"]["source"]
    assert record["parts"][0]["configuration"]["frozen_epochs"] == 1
    assert learned_cases(record) is None  # which cases the parent learned from is not in its card

    configured = json.loads(a_config.read_text()) | {"frozen_epochs": 1}
    a_config.write_text(json.dumps(configured))
    words = ["--card", str(write_card_source(tmp_path / "card.json")), "--output", str(output)]
    assert main(["export", str(a_config), "--weights", str(run / "best.safetensors"), *words]) == 0
    card = read_card(output)
    assert [item["name"] for item in card.training_data] == [OTHERS["title"]]
    assert card.license == f"Research use only; trained on {OTHERS['title']}, starting from {parent.id} (see LICENSE)."
    for text in ((output / "docs" / "README.md").read_text(), (output / "LICENSE").read_text()):
        for wanted in (parent.id, parent.weights_sha256, ABOUT["title"], OTHERS["title"]):
            assert wanted in text
    assert "trained further on" in (output / "LICENSE").read_text()


def test_other_classes_start_the_last_layer_anew(a_parent, a_config, caplog):
    values = json.loads(a_config.read_text()) | {"classes": ["vertebra", "disc"]}
    a_config.write_text(json.dumps(values))
    config = read_config(a_config)
    start = start_from(str(a_parent), config)
    assert "has classes ['vertebra'], the configuration ['vertebra', 'disc']" in caplog.text
    network = build_network("klo-net", in_channels=1, out_channels=3, width=8)
    head = network.head.weight.clone()
    assert start.load_into(network) == ["head.weight", "head.bias"]
    assert torch.equal(network.head.weight, head)
    assert torch.equal(network.state_dict()["encoder.0.project.0.weight"], start.weights["encoder.0.project.0.weight"])


@pytest.mark.parametrize(("change", "wrong"), [
    ({"network": {"name": "klo-net", "width": 16}}, r"options of the network is \{'width': 8\}.*\{'width': 16\}"),
    ({"network": {"name": "unet", "width": 8}}, "network is klo-net, the configuration has unet"),
    ({"in_channels": 3}, "in_channels is 1, the configuration has 3"),
])  # fmt: skip
def test_a_checkpoint_of_another_network_is_refused(change, wrong, a_parent, a_config):
    a_config.write_text(json.dumps(json.loads(a_config.read_text()) | change))
    with pytest.raises(InputError, match=wrong):
        start_from(str(a_parent), read_config(a_config))


def test_what_cannot_be_is_told_before_anything_is_written(a_config, other_data, tmp_path, capsys):
    assert train(a_config, other_data, tmp_path / "run", "--from", "spine-nowhere") == 1
    assert "checkpoint 'spine-nowhere' was not found" in capsys.readouterr().err
    assert train(a_config, other_data, tmp_path / "run", "--freeze-encoder", "99") == 1
    assert "frozen_epochs 99 is not possible; expected 0 to the 3 epochs" in capsys.readouterr().err
    setr = json.loads(a_config.read_text()) | {"network": {"name": "setr", "depth": 2}, "frozen_epochs": 1}
    a_config.write_text(json.dumps(setr))
    assert train(a_config, other_data, tmp_path / "run") == 1
    assert "'setr' has no part called encoder" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    with pytest.raises(CheckpointError, match="was not found"):
        start_from("spine-nowhere", read_config(a_config))
