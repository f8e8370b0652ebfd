"""Images of another kind than those of the training stop a run, unless the user says so."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import load, save

from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.checkpoints.card_file import read_card
from MedSegAttentionLib.checkpoints.catalogue import SHIPPED, WEIGHTS_FILE, list_checkpoints
from MedSegAttentionLib.checkpoints.loading import load_checkpoint
from MedSegAttentionLib.checkpoints.weights import FAMILIAR_FILE
from MedSegAttentionLib.data.errors import CheckpointError, ContractWarning
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.acceptance import accept
from MedSegAttentionLib.inference.familiarity import distance
from MedSegAttentionLib.inference.prediction import Predictor
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.runner.in_process import run
from MedSegAttentionTraining.measuring.familiarity import described, main_directions, threshold_of
from small_checkpoint import card_values, write_card, write_checkpoint

torch.set_num_threads(1)
CPU = RunSettings(device="cpu")
FORCED = RunSettings(device="cpu", force=True)


def a_scan(number: int, slices: int = 8) -> VolumeImage:
    """A bright disc on a soft background, of another size and place in each."""
    generator = np.random.default_rng(number)
    rows, columns = np.indices((64, 64))
    array = np.zeros((slices, 64, 64), np.float32)
    for plane in array:
        row, column, radius = generator.uniform((24, 24, 8), (40, 40, 14))
        plane[:] = 0.15 + 0.05 * np.sin(rows / 9) + 0.5 * (np.hypot(rows - row, columns - column) < radius)
    array += generator.normal(0, 0.02, array.shape)
    return VolumeImage(np.clip(array, 0, 1).astype(np.float32), np.diag([-1.0, -1.0, 3.0, 1.0]), f"scan {number}")


@pytest.fixture(scope="module")
def a_folder(tmp_path_factory):
    """A checkpoint of an untrained KLO-Lite that knows what such scans look like."""
    folder = tmp_path_factory.mktemp("familiar") / "prostate-klo-lite"
    torch.manual_seed(0)
    network = build_network("klo-lite", in_channels=1, out_channels=1, width=8).eval()
    weights = save(network.state_dict())
    (folder / "models").mkdir(parents=True)
    (folder / WEIGHTS_FILE).write_bytes(weights)
    card = card_values(id="prostate-klo-lite", network="klo-lite", network_config={"width": 8}, attention=[])
    card["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    write_card(folder, card)
    checkpoint = load_checkpoint(folder)
    predictor = Predictor(checkpoint.network, "cpu", 1, 128)
    known = main_directions(np.concatenate([described(checkpoint, predictor, a_scan(n)) for n in range(20)]))
    kept = [distance(described(checkpoint, predictor, a_scan(n)), known) for n in range(20, 26)]
    (folder / FAMILIAR_FILE).write_bytes(save(known))
    sha256 = hashlib.sha256((folder / FAMILIAR_FILE).read_bytes()).hexdigest()
    write_card(folder, card | {"familiar": {"threshold": threshold_of(kept), "sha256": sha256}})
    return folder


def other_kind(what: str) -> VolumeImage:
    scan = a_scan(40)
    array = {
        "inverted": 1 - scan.array,
        "noise": np.random.default_rng(0).random(scan.array.shape).astype(np.float32),
        "stripes": np.broadcast_to(np.arange(64) % 4 < 2, scan.array.shape).astype(np.float32),
    }[what]
    return VolumeImage(array.copy(), scan.ijk_to_ras, what)


@pytest.mark.parametrize("number", range(30, 36))
def test_images_like_those_of_the_training_pass(number, a_folder):
    result = run(a_scan(number), checkpoint=a_folder, settings=CPU)
    assert 0.3 < result.provenance["distance"] < load_checkpoint(a_folder).card.familiar["threshold"]
    assert not [text for text in result.provenance["warnings"] if "unlike" in text]


@pytest.mark.parametrize("what", ["inverted", "noise", "stripes"])
def test_others_stop_with_the_reason_and_force_runs_them(what, a_folder):
    with pytest.raises(ContractWarning, match=rf"'{what}' looks unlike .*'prostate-klo-lite'.*distance.*\(force\)"):
        run(other_kind(what), checkpoint=a_folder, settings=CPU)
    result = run(other_kind(what), checkpoint=a_folder, settings=FORCED)
    assert [text for text in result.provenance["warnings"] if "looks unlike" in text]
    assert result.provenance["distance"] > load_checkpoint(a_folder).card.familiar["threshold"]


@pytest.fixture
def installed(a_folder, tmp_path, monkeypatch):
    """The checkpoint that knows such scans, as one of another task, among those that the user added."""
    shutil.copytree(a_folder, tmp_path / "own" / "discs-klo-lite")
    values = json.loads((a_folder / "configs" / "metadata.json").read_text())["medsegattention"]
    values |= {"id": "discs-klo-lite", "task": "discs", "title": "Discs in scans"}
    write_card(tmp_path / "own" / "discs-klo-lite", values)
    monkeypatch.setenv("MEDSEGATTENTION_CHECKPOINTS", str(tmp_path / "own"))


def test_the_nearest_known_kind_is_named_where_another_checkpoint_knows_it(a_folder, installed, tmp_path):
    folder = tmp_path / "stranger"
    shutil.copytree(a_folder, folder)
    tensors = load((folder / FAMILIAR_FILE).read_bytes())
    (folder / FAMILIAR_FILE).write_bytes(save(tensors | {"mean": tensors["mean"] + 40 * tensors["spread"]}))
    values = json.loads((folder / "configs" / "metadata.json").read_text())["medsegattention"]
    sha256 = hashlib.sha256((folder / FAMILIAR_FILE).read_bytes()).hexdigest()
    write_card(folder, values | {"familiar": values["familiar"] | {"sha256": sha256}})
    with pytest.raises(ContractWarning, match=r"unlike.* It looks more like the images of 'discs-klo-lite' \(Discs in"):
        run(a_scan(31), checkpoint=folder, settings=CPU)
    with pytest.raises(ContractWarning, match="unlike") as caught:
        run(other_kind("noise"), checkpoint=folder, settings=CPU)
    assert "looks more like" not in str(caught.value)  # of no kind that is known
    assert "discs-klo-lite" not in str(caught.value)


@pytest.mark.parametrize(
    ("card", "modality", "array", "named"),
    [
        ("prostate-klo-lite", "CT", np.linspace(-1000, 900, 4000), ["abdomen-ct-klo-lite"]),
        ("prostate-klo-lite", None, np.linspace(-1000, 900, 4000), ["abdomen-ct-klo-lite"]),
        ("abdomen-ct-klo-lite", "MR", np.linspace(0, 900, 4000), ["abdomen-mr-klo-lite", "prostate-klo-lite"]),
        ("polyp-klo-lite", "DMS", np.linspace(0, 255, 12000), ["skin-klo-lite"]),
        ("skin-klo-lite", "ES", np.linspace(0, 255, 12000), ["polyp-klo-lite"]),
        ("prostate-klo-lite", "PT", np.linspace(0, 900, 4000), []),
    ],
)
def test_another_modality_or_range_names_the_checkpoints_that_take_it(card, modality, array, named):
    shape = (2, 40, 50) if array.size == 4000 else (2, 40, 50, 3)
    volume = VolumeImage(array.reshape(shape).astype(np.float32), np.diag([-1.0, -1.0, 3.0, 1.0]), "other", modality)
    with pytest.raises(ContractWarning, match=r"\(force\)") as caught:
        accept(volume, read_card(SHIPPED / card), force=False)
    told = str(caught.value)
    assert ("it may be one for" in told) == bool(named)
    assert {one.id for one in list_checkpoints() if f"'{one.id}' (" in told} == set(named)
    assert "may be one for" not in " ".join(accept(volume, read_card(SHIPPED / card), force=True)[1])


def test_the_command_line_stops_and_leaves_nothing(a_folder, tmp_path, capsys):
    sitk.WriteImage(sitk.GetImageFromArray(other_kind("noise").array), str(tmp_path / "noise.nrrd"))
    words = ["segment", str(tmp_path / "noise.nrrd"), "--checkpoint", str(a_folder), "--output", str(tmp_path / "out")]
    assert main(words) == 1
    assert "looks unlike" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*words, "--force"]) == 0
    record = json.loads((tmp_path / "out" / "noise.json").read_text())
    assert any("looks unlike" in text for text in record["warnings"])


def test_blank_slices_are_not_looked_at(a_folder):
    scan = a_scan(31, 20)
    scan.array[5:15] = 0
    assert run(scan, checkpoint=a_folder, settings=CPU).provenance["distance"] < 1.5


def test_a_checkpoint_without_it_judges_nothing(tmp_path):
    result = run(other_kind("noise"), checkpoint=write_checkpoint(tmp_path / "plain"), settings=CPU)
    assert result.provenance["distance"] is None


@pytest.mark.parametrize("what", ["altered", "missing"])
def test_a_file_that_is_not_the_card_s_is_refused(what, a_folder, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(a_folder, folder)
    if what == "missing":
        (folder / FAMILIAR_FILE).unlink()
    else:
        tensors = load((folder / FAMILIAR_FILE).read_bytes())
        (folder / FAMILIAR_FILE).write_bytes(save(tensors | {"rest": tensors["rest"] * 100}))
    with pytest.raises(CheckpointError, match=r"familiar\.safetensors"):
        load_checkpoint(folder)


def test_the_command_counts_the_images_that_are_unlike(a_folder, tmp_path, capfd):
    for number in range(30, 34):
        sitk.WriteImage(sitk.GetImageFromArray(a_scan(number).array), str(tmp_path / f"{number}.nrrd"))
    words = ["familiarity", "--checkpoint", str(a_folder), "--data", str(tmp_path)]
    assert main([*words, "--altered", "none", "inverted", "noise"]) == 0
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(item["alteration"], item["images"], item["unlike"]) for item in found] == [
        ("none", 4, 0),
        ("inverted", 4, 4),
        ("noise", 4, 4),
    ]
    assert found[0]["largest"] < found[0]["threshold"] < found[1]["median"]
    assert main([*words, "--altered", "twisted"]) == 2
    assert "expected one of none, inverted" in capfd.readouterr().err


def test_few_cases_kept_aside_get_a_margin_and_many_a_quantile():
    assert threshold_of([1.0, 1.5]) == pytest.approx(1.5 * (1 + 0.5 / 2**0.5))
    assert threshold_of(list(np.linspace(0, 1, 101))) == pytest.approx(0.98)
