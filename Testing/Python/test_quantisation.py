"""Weights in 8 bits: small on the disk, nearly the same network, and refused when they are not whole."""

from __future__ import annotations

import hashlib

import pytest
import torch
from safetensors.torch import save

from MedSegAttentionLib.checkpoints.loading import load_checkpoint
from MedSegAttentionLib.checkpoints.quantisation import quantised, restored
from MedSegAttentionLib.data.errors import CheckpointError
from MedSegAttentionLib.networks import build_network
from small_checkpoint import WIDTH, read_card_values, threshold_network, write_card, write_checkpoint


def store(folder, weights):
    content = save(weights)
    (folder / "models" / "model.safetensors").write_bytes(content)
    write_card(folder, read_card_values(folder) | {"weights_sha256": hashlib.sha256(content).hexdigest()})


def test_every_weight_comes_back_within_half_a_step_of_its_channel():
    torch.manual_seed(0)
    weights = {"conv.weight": torch.randn(16, 8, 3, 3) * torch.logspace(-3, 1, 16).view(-1, 1, 1, 1)}
    weights["conv.weight"][3] = 0
    weights |= {"conv.bias": torch.randn(16), "norm.num_batches_tracked": torch.tensor(7), "scale": torch.rand(4)}
    stored = quantised(weights)
    assert stored["conv.weight"].dtype == torch.int8
    back = restored(stored)
    assert set(back) == set(weights)
    step = weights["conv.weight"].abs().amax((1, 2, 3)) / 127
    assert ((back["conv.weight"] - weights["conv.weight"]).abs().amax((1, 2, 3)) <= 0.6 * step).all()
    torch.testing.assert_close(back["conv.bias"], weights["conv.bias"], rtol=1e-3, atol=1e-4)
    assert back["norm.num_batches_tracked"] == 7


def test_a_checkpoint_in_8_bits_gives_nearly_the_same_network_at_half_the_size(tmp_path):
    torch.manual_seed(0)
    network = build_network("klo-net", in_channels=1, out_channels=1, width=WIDTH).eval()
    plain = write_checkpoint(tmp_path / "plain", network)
    small = write_checkpoint(tmp_path / "small", network)
    store(small, quantised(network.state_dict()))
    sizes = [(folder / "models" / "model.safetensors").stat().st_size for folder in (plain, small)]
    assert sizes[1] < 0.6 * sizes[0]
    picture = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        first, second = (load_checkpoint(folder).network(picture) for folder in (plain, small))
    assert not torch.equal(first, second)
    assert torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1] > 0.99


@pytest.mark.parametrize("wrong", [None, torch.ones(3, dtype=torch.float16)])
def test_a_missing_or_foreign_scale_is_refused(wrong, tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint")
    weights = quantised(threshold_network().state_dict())
    name = next(key for key in weights if key.endswith(".scale"))
    weights.pop(name)
    store(folder, weights if wrong is None else weights | {name: wrong})
    with pytest.raises(CheckpointError, match=f"8-bit weight '{name.removesuffix('.scale')}' has no scale"):
        load_checkpoint(folder)
