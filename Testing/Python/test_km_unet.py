"""KM-UNet: its published size, its switches, its maps, and training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.networks.km_unet import SEM, KMUNet, TokenKAN
from MedSegAttentionLib.networks.layers import ss2d
from test_selective_scan import literal_scan

torch.set_num_threads(1)
PLACES = {"skip1": 2, "skip2": 4, "skip3": 8, "decoder1": 16, "decoder2": 8, "decoder3": 4, "decoder4": 2}


def build(**config) -> KMUNet:
    torch.manual_seed(0)
    return build_network("km-unet", **{"in_channels": 1, "out_channels": 2, "width": 8, **config})


def count(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def test_parameters_are_those_of_the_released_wiring():
    plain = build(in_channels=3, out_channels=1, width=16)
    assert count(plain) == 5_739_009
    never_called_there = count(build(in_channels=3, out_channels=1, width=16, decoder_kan=True)) - count(plain)
    assert never_called_there == 1_270_464 + 576
    cbam = 2_505
    assert count(plain) + never_called_there + cbam == 7_012_554


def test_input_channels_are_honoured():
    assert count(build(in_channels=3, width=16)) - count(build(in_channels=1, width=16)) == 2 * 9 * 16


@pytest.mark.parametrize("scan", ["cross", "spiral"])
def test_the_network_equals_itself_with_a_step_loop(scan, monkeypatch):
    """In training mode: with untrained running statistics the logits would hardly depend on the picture."""
    network, x = build(scan=scan).train(), torch.rand(2, 1, 64, 32)
    with torch.no_grad():
        found = network(x)
        monkeypatch.setattr(ss2d, "selective_scan", literal_scan)
        torch.testing.assert_close(found, network(x), atol=1e-3, rtol=1e-3)
    assert found.std() > 0.1


def test_the_switches_change_the_result_and_only_what_they_name():
    x, cross, spiral = torch.rand(2, 1, 64, 64), build().train(), build(scan="spiral").train()
    spiral.load_state_dict(cross.state_dict())
    with torch.no_grad():
        assert (cross(x) - spiral(x)).abs().max() > 0.01
    assert sum(isinstance(module, TokenKAN) for module in cross.modules()) == 2
    assert sum(isinstance(module, TokenKAN) for module in build(decoder_kan=True).modules()) == 4
    assert sum(isinstance(module, SEM) for module in cross.modules()) == 7


@pytest.mark.parametrize("size", [(64, 64), (45, 70)])
def test_maps_have_their_grid_and_range(size):
    network = build(dynamic_tau=True).eval()
    with torch.no_grad():
        output = network.forward_with_attention(torch.rand(2, 1, *size))
    cells = {f"{kind}_{place}": cell for kind in ("ema", "step") for place, cell in PLACES.items()}
    cells |= {"tau_bottleneck": 32, "k_bottleneck": 32}
    assert sorted(output.attention) == sorted(cells)
    for name, values in output.attention.items():
        assert values.shape == (2, 1, *(-(-side // 32) * 32 // cells[name] for side in size))
        assert 0 < values.min() <= values.max() < 1


def test_maps_are_those_of_the_layers():
    """Sigmoids and steps of one place, taken by a hook and from the layer called by hand."""
    network, seen = build().eval(), {}
    network.skip_sem[1].register_forward_pre_hook(lambda _, inputs: seen.update(x=inputs[0]))
    with torch.no_grad():
        maps = network.forward_with_attention(torch.rand(1, 1, 64, 64)).attention
        sem = network.skip_sem[1]
        scanned, step = sem.ss2d.scan_with_step(seen["x"].movedim(1, -1))
        torch.testing.assert_close(maps["step_skip2"], step)
        torch.testing.assert_close(maps["ema_skip2"], sem.ema.attend(scanned.movedim(-1, 1))[1])


@pytest.mark.parametrize(
    ("config", "words"),
    [({"width": 12}, "multiple of 8; got 12"), ({"scan": "zigzag"}, "zigzag"), ({"basis": "wavelet"}, "wavelet")],
)
def test_impossible_options_are_refused(config, words):
    with pytest.raises(ValueError, match=words):
        build(**config)
