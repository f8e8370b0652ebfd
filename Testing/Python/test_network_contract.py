"""What every network promises, whichever it is: input, logits, maps, rows, dynamic tau, parameters that all count."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.networks.known import built_in_networks
from MedSegAttentionLib.networks.vmkla_unet import VARIANTS

torch.set_num_threads(1)
NAMES = sorted(built_in_networks())
WITH_TAU = {"klo-net": 2, "knn-unet": 2, "klo-lite": 3}
"""Networks that have the attention unasked -> their stages with it."""
STATE_SPACE: dict[str, Any] = {"depths": (1, 1, 1, 1), "drop_rate": 0.0}
SMALL = {"vm-unet": STATE_SPACE, "vmkla-unet": STATE_SPACE}
"""Fewer of the layers that are all alike, and none of them dropped."""
OPTIONS = [
    *((name, {}) for name in NAMES),
    ("km-unet", {"decoder_kan": True, "residual_sem": True}),
    *((name, {"attention": kind}) for name in ("setr", "setr-conv", "setr-cvt") for kind in ("kv", "kv-pos")),
    ("klo-lite", {"deep": False}),
    ("klo-lite", {"attention": False}),
    *(("vmkla-unet", {"variant": variant}) for variant in VARIANTS[1:]),
]


def build(name: str, **config: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_network(
        name, **{"in_channels": 1, "out_channels": 2, "width": 8, **SMALL.get(name, {}), **config}
    ).eval()


def padded(side: int, stride: int) -> int:
    return -(-side // stride) * stride


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(64, 64), (32, 80), (45, 70), (33, 63)])
@torch.no_grad()
def test_any_size_gives_logits_of_that_size_and_asking_for_maps_changes_none(name, size):
    network = build(name, in_channels=3, out_channels=4)
    x = torch.rand(2, 3, *size)
    output = network.forward_with_attention(x)
    assert output.logits.shape == (2, 4, *size)
    assert torch.isfinite(output.logits).all()
    assert torch.equal(network(x), output.logits)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_picture_of_another_size_is_padded_by_its_edge(name):
    network, picture = build(name), torch.rand(1, 1, 40, 50)
    margin = (0, padded(50, network.stride) - 50, 0, padded(40, network.stride) - 40)
    by_hand = F.pad(picture, margin, mode="replicate")
    torch.testing.assert_close(network(picture), network(by_hand)[..., :40, :50])


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_shape_is_named(name):
    network = build(name)
    for shape in ((1, 2, 64, 64), (1, 64, 64), (1, 1, 31, 64), (1, 1, 64, 31)):
        with pytest.raises(ValueError, match=r"takes \[B, 1, H, W\].*at least 32; got \[1, "):
            network(torch.zeros(shape))
    assert network(torch.zeros(1, 1, 32, 32)).shape == (1, 2, 32, 32)


def test_an_unknown_network_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'no-net'.*klo-net"):
        build_network("no-net", in_channels=1, out_channels=1)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_named(name):
    with pytest.raises(ValueError, match="wings"):
        build(name, wings=2)


@pytest.mark.parametrize(("name", "config"), OPTIONS)
def test_no_parameter_is_dead(name, config):
    network = build(name, dynamic_tau=True, **config).train()
    network(torch.rand(2, 1, 64, 64)).square().mean().backward()
    assert [key for key, value in network.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_only_a_tau_gate_has_parameters_called_gate_and_none_comes_unasked(name):
    """Tools count the gate by its name."""
    for dynamic_tau in (False, True):
        keys = [key for key, _ in build(name, dynamic_tau=dynamic_tau).named_parameters() if "gate" in key]
        assert bool(keys) == (dynamic_tau or name in WITH_TAU)
    assert len(keys) == 4 * WITH_TAU.get(name, 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_gate_learns_from_the_first_step(name):
    """On 36 positions and more, with fewer than 36 neighbours for a tau of 1/2: else tau would change nothing."""
    network = build(name, dynamic_tau=True).train()
    side = 6 * network.cells["bottleneck"]
    network(torch.rand(1, 1, side, side)).square().mean().backward()
    for key, value in network.named_parameters():
        if "gate" in key:
            assert torch.isfinite(value.grad).all(), key
            assert value.grad.abs().sum() > 0, key


@pytest.mark.parametrize("size", [(64, 64), (45, 70)])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_stages_with_rows_have_the_grid_the_network_promises(name, size):
    network, x = build(name, dynamic_tau=True), torch.rand(1, 1, *size)
    maps = network.forward_with_attention(x).attention
    assert {"tau_bottleneck", "k_bottleneck"} <= set(maps)
    assert all(0 <= values.min() <= values.max() <= 1 for values in maps.values())
    for stage in {*list(network.cells)[-2:], "bottleneck"}:
        grid = tuple(padded(side, network.stride) // network.cells[stage] for side in size)
        assert network.attention_grid(size, stage) == grid
        shapes = {key: values.shape for key, values in maps.items() if key.endswith(f"_{stage}")}
        assert shapes
        assert set(shapes.values()) == {(1, 1, *grid)}, shapes
        row = network.attention_row(x, stage, (grid[0] - 1, 1))
        assert row.shape == (1, 1, *grid)
        assert row.min() >= 0
        assert float(row.sum()) == pytest.approx(1, abs=1e-5)
        for position in ((grid[0], 0), (0, grid[1]), (-1, 0)):
            with pytest.raises(ValueError, match=rf"lies off the {grid[0]} x {grid[1]} grid of stage '{stage}'"):
                network.attention_row(x, stage, position)
    with pytest.raises(ValueError, match=r"stage 'attic' has no attention rows.*bottleneck"):
        network.attention_row(x, "attic", (0, 0))


@pytest.mark.parametrize("name", ["unet", "csp-unet"])
def test_networks_without_attention_have_no_maps(name):
    network = build(name)
    assert network.forward_with_attention(torch.rand(1, 1, 32, 32)).attention == {}
    assert network.cells == {}


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_builds_the_same_network(name):
    first, second = build(name, dynamic_tau=True).state_dict(), build(name, dynamic_tau=True).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
