"""Checkpoints are found by the rules, and one that is not whole is refused before anything is built of it."""

from __future__ import annotations

import builtins
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from MedSegAttentionLib.checkpoints import catalogue, loading
from MedSegAttentionLib.checkpoints.catalogue import choose_checkpoint, find_checkpoint, list_checkpoints, read_card
from MedSegAttentionLib.checkpoints.loading import load_checkpoint
from MedSegAttentionLib.data.card import default_checkpoints
from MedSegAttentionLib.data.errors import CheckpointError, InputError, MedSegAttentionError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.runner.in_process import run
from oracle import checkpoint_of
from small_checkpoint import card_values, read_card_values, threshold_network, write_card, write_checkpoint

torch.set_num_threads(1)
CARD, WEIGHTS = Path("configs/metadata.json"), Path("models/model.safetensors")


def a_volume(modality: str | None = None, low: float = 0, kind: type = np.float32) -> VolumeImage:
    array = np.zeros((2, 20, 20), kind)
    array[:, 5:9, 5:9], array[0, 0, 0] = 1, low
    return VolumeImage(array, np.diag([-1.0, -1.0, 1.0, 1.0]), "belly", modality)


@pytest.fixture
def a_checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "small")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch) -> Path:
    """An installation with checkpoints for the prostate and for the abdomen in CT and MR (cards alone)."""
    folder = tmp_path / "Checkpoints"
    for name, task, modality in (
        ("prostate-klo-net", "prostate", "MR"),
        ("abdomen-ct-klo-net", "abdomen", "CT"),
        ("abdomen-mr-klo-net", "abdomen", "MR"),
    ):
        write_card(folder / name, card_values(id=name, task=task, modality=modality))
    monkeypatch.setattr(catalogue, "SHIPPED", folder)

    return folder


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        (a_volume("CT"), "abdomen-ct-klo-net"),
        (a_volume("MR"), "abdomen-mr-klo-net"),
        (a_volume("MR", -1000), "abdomen-mr-klo-net"),
        (a_volume("CT", 0), "abdomen-ct-klo-net"),
        (a_volume(None, -200), "abdomen-ct-klo-net"),
        (a_volume("", -1024, np.int16), "abdomen-ct-klo-net"),
    ],
)
def test_the_modality_chooses_between_ct_and_mr(volume, expected, installed):
    assert choose_checkpoint("abdomen", volume) == installed / expected


def test_a_second_checkpoint_of_a_modality_is_taken_by_name_alone(installed):
    values = card_values(id="abdomen-mr-other", task="abdomen", modality="MR")
    write_card(installed / "abdomen-mr-other", values)
    assert choose_checkpoint("abdomen", a_volume("MR")).name == "abdomen-mr-klo-net"
    assert choose_checkpoint("abdomen", a_volume("MR"), "abdomen-mr-other").name == "abdomen-mr-other"
    defaults = default_checkpoints(list_checkpoints(), "abdomen")
    assert [card.id for card in defaults] == ["abdomen-ct-klo-net", "abdomen-mr-klo-net"]


def test_the_default_of_its_modality_is_taken_wherever_it_stands_in_the_list(installed):
    for name, modality in (("abdomen-mr-other", "MR"), ("prostate-other", "MR"), ("prostate-ct", "CT")):
        task = name.split("-")[0]
        card = card_values(id=name, task=task, modality=modality, default=name != "prostate-ct")
        write_card(installed / name, card)
    assert choose_checkpoint("abdomen", a_volume("MR")).name == "abdomen-mr-other"
    assert choose_checkpoint("abdomen", a_volume("CT")).name == "abdomen-ct-klo-net"
    (installed / "prostate-ct" / CARD).unlink()
    assert choose_checkpoint("prostate", a_volume()).name == "prostate-other"
    assert find_checkpoint("prostate").name == "prostate-other"


def test_a_volume_that_says_nothing_asks_for_a_checkpoint(installed):
    with pytest.raises(InputError, match=r"'belly'.*-199.*choose a checkpoint: abdomen-ct-klo-net, abdomen-mr-klo-net"):
        choose_checkpoint("abdomen", a_volume(None, -199))


def test_a_colour_picture_is_not_asked_for_its_modality(installed):
    picture = VolumeImage(np.zeros((1, 4, 5, 3), np.uint8), np.eye(4), "photo")
    with pytest.raises(InputError, match=r"'photo' is a colour picture.*abdomen-ct-klo-net"):
        choose_checkpoint("abdomen", picture)


def test_a_modality_nothing_was_trained_on_is_named(installed):
    with pytest.raises(InputError, match=r"modality PT.*abdomen-ct-klo-net"):
        choose_checkpoint("abdomen", a_volume("PT", -1000))


def test_other_tasks_do_not_ask_for_the_modality(installed):
    assert choose_checkpoint("prostate", a_volume()).name == "prostate-klo-net"


def test_an_unknown_task_is_named_with_the_known_ones(installed):
    with pytest.raises(InputError, match=r"'brain'.*prostate, skin, polyp, abdomen"):
        choose_checkpoint("brain", a_volume())


def test_a_task_without_a_checkpoint_says_so(installed):
    with pytest.raises(CheckpointError, match="no checkpoint for task 'polyp'"):
        choose_checkpoint("polyp", a_volume())


def test_neither_task_nor_checkpoint_is_refused(installed):
    with pytest.raises(InputError, match="neither task nor checkpoint"):
        choose_checkpoint(None, a_volume())


def test_an_id_or_a_folder_overrides_the_choice(installed, a_checkpoint):
    assert choose_checkpoint("abdomen", a_volume("CT"), "abdomen-mr-klo-net").name == "abdomen-mr-klo-net"
    assert choose_checkpoint(None, a_volume(), str(a_checkpoint)) == a_checkpoint
    assert choose_checkpoint("prostate", a_volume(), a_checkpoint) == a_checkpoint


def test_a_checkpoint_of_another_task_is_refused(installed):
    with pytest.raises(InputError, match=r"abdomen-ct-klo-net.*for task abdomen, not for 'prostate'"):
        choose_checkpoint("prostate", a_volume(), "abdomen-ct-klo-net")


@pytest.mark.parametrize("name", ["brain-klo-net", "../elsewhere", "/no/such/folder"])
def test_an_unknown_checkpoint_is_named_with_the_known_ones(name, installed):
    with pytest.raises(CheckpointError, match=f"'{name}' was not found.*prostate-klo-net"):
        choose_checkpoint(None, a_volume(), name)


def test_a_task_stands_for_its_default_and_not_for_one_of_two_modalities(installed):
    assert find_checkpoint("prostate").name == "prostate-klo-net"
    with pytest.raises(CheckpointError, match="abdomen-ct-klo-net, abdomen-mr-klo-net"):
        find_checkpoint("abdomen")


def test_checkpoints_are_listed_by_id(installed):
    ids = [card.id for card in list_checkpoints()]
    assert ids == ["abdomen-ct-klo-net", "abdomen-mr-klo-net", "prostate-klo-net"]


def test_one_broken_checkpoint_does_not_stand_in_the_way_of_the_others(installed):
    (installed / "abdomen-mr-klo-net" / CARD).write_text("{")
    assert choose_checkpoint("prostate", a_volume()).name == "prostate-klo-net"


def test_a_whole_checkpoint_loads_with_the_weights_it_was_written_with(a_checkpoint):
    loaded = load_checkpoint(a_checkpoint)
    assert loaded.card.id == "prostate-klo-net"
    assert not loaded.network.training
    assert {value.dtype for value in loaded.network.parameters()} == {torch.float32}
    written = threshold_network().state_dict()
    for name, value in loaded.network.state_dict().items():
        torch.testing.assert_close(value, written[name], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("place", [0, 8, 200, -1])
def test_one_flipped_byte_is_refused_by_the_hash_before_anything_is_built(place, a_checkpoint, monkeypatch):
    content = bytearray((a_checkpoint / WEIGHTS).read_bytes())
    content[place] ^= 1
    (a_checkpoint / WEIGHTS).write_bytes(content)
    for name in ("build_network", "load"):
        monkeypatch.setattr(loading, name, lambda *_args, **_kw: pytest.fail("built before the hash was checked"))
    with pytest.raises(CheckpointError, match=r"SHA-256 is [0-9a-f]{64}.*expects [0-9a-f]{64}.*not loaded"):
        load_checkpoint(a_checkpoint)


def test_weights_cut_short_or_gone_are_refused(a_checkpoint):
    content = (a_checkpoint / WEIGHTS).read_bytes()
    (a_checkpoint / WEIGHTS).write_bytes(content[:1000])
    with pytest.raises(CheckpointError, match="damaged or altered"):
        load_checkpoint(a_checkpoint)
    (a_checkpoint / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"model.safetensors.*cannot be read"):
        load_checkpoint(a_checkpoint)


def test_a_run_notices_weights_that_were_changed_after_an_earlier_run(a_checkpoint):
    run(a_volume(), checkpoint=a_checkpoint)
    content = bytearray((a_checkpoint / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (a_checkpoint / WEIGHTS).write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged or altered"):
        run(a_volume(), checkpoint=a_checkpoint)


def test_a_folder_that_is_gone_is_refused(a_checkpoint):
    shutil.rmtree(a_checkpoint)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(a_checkpoint)
    with pytest.raises(CheckpointError, match="was not found"):
        run(a_volume(), checkpoint=a_checkpoint)


def test_slices_that_the_network_would_have_to_pad_are_refused(tmp_path):
    network = build_network("km-unet", in_channels=1, out_channels=1, width=8)
    folder = write_checkpoint(tmp_path / "small", network, network_config={"width": 8})
    for size in (64, 48):
        write_card(folder, read_card_values(folder) | {"network": "km-unet", "fit": {"fit": "stretch", "size": size}})
        if size == 64:
            assert load_checkpoint(folder).network.stride == 32
    with pytest.raises(CheckpointError, match="48 pixels; 'km-unet' needs a multiple of 32"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"medsegattention": null}', '{"medsegattention": []}', "\xff"]
)
def test_a_card_that_is_no_card_is_refused(text, a_checkpoint):
    (a_checkpoint / CARD).write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"metadata\.json"):
        load_checkpoint(a_checkpoint)


def test_a_card_cut_short_is_refused(a_checkpoint):
    text = (a_checkpoint / CARD).read_text()
    (a_checkpoint / CARD).write_text(text[: len(text) // 2])
    with pytest.raises(CheckpointError, match="not a valid checkpoint card"):
        load_checkpoint(a_checkpoint)


@pytest.mark.parametrize("key", sorted(set(card_values()) - {"metrics"}))
def test_a_card_that_lacks_something_is_refused(key, a_checkpoint):
    values = read_card_values(a_checkpoint)
    del values[key]
    write_card(a_checkpoint, values)
    with pytest.raises(CheckpointError, match=rf"not a valid checkpoint card.*{key}"):
        load_checkpoint(a_checkpoint)


@pytest.mark.parametrize(
    "change",
    [
        {"network": "no-net"},
        {"network": ["klo-net"]},
        {"network_config": {"width": 16}},
        {"network_config": {"wings": 2}},
        {"network_config": {"in_channels": 1}},
        {"network_config": {"width": 8, "heads": 0}},
        {"network_config": []},
        {"in_channels": 3},
        {"activation": "tanh"},
        {"orientation": "oblique"},
        {"intensity": {"method": "magic"}},
        {"intensity": {"method": "window", "low": 0}},
        {"fit": {"fit": "spacing", "size": 64}},
        {"fit": {"fit": "zoom", "size": 64}},
        {"fit": {}},
        {"expects": {}},
        {"labels": []},
        {"labels": [{"name": "liver", "colour": [1, 2, 3], "codes": []}]},
        {"labels": [{"name": "liver", "colour": [1, 2, 3]}]},
        {"attention": [{"name": "tau_stage4"}]},
        {"weights_sha256": None},
        {"surprise": 1},
    ],
    ids=lambda change: json.dumps(change)[:60],
)
def test_a_card_with_a_wrong_entry_is_refused_as_such(change, a_checkpoint):
    """Whatever is wrong, the user learns that the checkpoint is, not that Python met a KeyError."""
    write_card(a_checkpoint, read_card_values(a_checkpoint) | change)
    with pytest.raises(CheckpointError):
        run(a_volume(), checkpoint=a_checkpoint)


def test_weights_of_another_network_do_not_fit(a_checkpoint, tmp_path):
    other = write_checkpoint(tmp_path / "other", torch.nn.Conv2d(1, 1, 1))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_checkpoint(other)


def test_no_expression_of_a_bundle_is_evaluated(a_checkpoint, tmp_path, monkeypatch):
    mark = tmp_path / "evaluated"
    expression = f"$open({str(mark)!r}, 'w')"
    values = read_card_values(a_checkpoint)
    values |= {
        "title": expression,
        "description": expression,
        "limits": [expression],
        "metrics": {expression: expression},
    }
    write_card(a_checkpoint, values)
    whole = json.loads((a_checkpoint / CARD).read_text())
    (a_checkpoint / CARD).write_text(json.dumps({**whole, "imports": [expression], "run": [expression]}))
    (a_checkpoint / "configs" / "inference.json").write_text(json.dumps({"imports": [expression], "run": [expression]}))
    (a_checkpoint / "__init__.py").write_text(f"open({str(mark)!r}, 'w')")
    monkeypatch.setattr(builtins, "eval", lambda *_: pytest.fail("evaluated"))
    run(a_volume(), checkpoint=a_checkpoint)
    assert read_card(a_checkpoint).title == expression
    assert not mark.exists()


def test_a_pickle_in_place_of_weights_is_not_unpickled(a_checkpoint, tmp_path):
    """Even with the right hash."""
    import hashlib

    mark = tmp_path / "unpickled"

    class Evil:
        def __reduce__(self):
            return open, (str(mark), "w")

    torch.save({"weights": Evil()}, a_checkpoint / WEIGHTS)
    digest = hashlib.sha256((a_checkpoint / WEIGHTS).read_bytes()).hexdigest()
    write_card(a_checkpoint, read_card_values(a_checkpoint) | {"weights_sha256": digest})
    with pytest.raises(CheckpointError, match="does not fit"):
        load_checkpoint(a_checkpoint)
    assert not mark.exists()


def test_errors_of_checkpoints_share_the_base_of_all_errors():
    assert issubclass(CheckpointError, MedSegAttentionError)


def test_labels_get_their_values_from_their_order(tmp_path):
    labels = [{**card_values()["labels"][0], "name": name} for name in ("liver", "spleen", "aorta")]
    card = checkpoint_of(torch.nn.Identity(), tmp_path, labels=labels, activation="softmax").card
    assert [(label.name, label.value) for label in card.labels] == [("liver", 1), ("spleen", 2), ("aorta", 3)]
    assert card.out_channels == 4
