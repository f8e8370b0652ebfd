"""VM-UNet and VMKLA-UNet: published sizes, the decoder block as described, its variants, maps, and training."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.networks.layers import ss2d
from MedSegAttentionLib.networks.vm_unet import PatchExpand, PatchMerging, drop_path
from MedSegAttentionLib.networks.vmkla_unet import VARIANTS, MKCSABlock, head_count
from test_selective_scan import literal_scan

torch.set_num_threads(1)
SMALL = {"in_channels": 1, "out_channels": 2, "width": 8, "depths": (1, 1, 1, 1)}
CELLS = {1: 32, 2: 16, 3: 8, 4: 4}
DECODER = ["decoder1_1", "decoder1_2", "decoder2_1", "decoder2_2", "decoder3_1", "decoder3_2", "decoder4_1"]


def build(name: str = "vmkla-unet", **config) -> nn.Module:
    torch.manual_seed(0)
    return build_network(name, **{**SMALL, **config})


def count(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


@pytest.mark.parametrize(
    ("name", "depths", "parameters"),
    [
        ("vm-unet", (2, 2, 2, 2), 27_427_561),
        ("vm-unet", (2, 2, 9, 2), 35_797_993),
        ("vmkla-unet", (2, 2, 9, 2), 44_972_727),
        ("vmkla-unet", (2, 2, 2, 2), 36_602_295),
    ],
)
def test_parameters_are_the_published_ones(name, depths, parameters):
    """27.43 M and, for the released VMKLA depths, 44.97 M. On the meta device: nothing is drawn."""
    with torch.device("meta"):
        network = build_network(name, in_channels=3, out_channels=1, depths=depths)
    assert count(network) == parameters


def test_default_depths_are_the_released_ones_and_the_small_one_ships():
    with torch.device("meta"):
        assert count(build_network("vmkla-unet", in_channels=3, out_channels=1)) == 44_972_727
        assert count(build_network("vm-unet", in_channels=3, out_channels=1)) == 27_427_561
    assert count(build(depths=(2, 2, 9, 2), width=16)) < 3e6


def test_heads_at_the_published_widths():
    assert [head_count(channels) for channels in (96, 192, 384, 768)] == [3, 6, 12, 24]
    assert all(channels % head_count(channels) == 0 for channels in range(8, 1024, 8))


@torch.no_grad()
def test_the_block_is_the_one_described():
    torch.manual_seed(0)
    block = MKCSABlock(16, 0.0, "mkcsa").eval()
    x = torch.randn(2, 4, 5, 16)

    def convolved(layer: nn.Conv2d, values: torch.Tensor) -> torch.Tensor:
        return F.conv2d(values.permute(0, 3, 1, 2), layer.weight, layer.bias, padding=1, groups=16).permute(0, 2, 3, 1)

    def normed(layer: nn.LayerNorm, values: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(values, (16,), layer.weight, layer.bias)

    with_position = x + convolved(block.position[0], x)
    y = normed(block.norm[0], with_position)
    main = F.silu(convolved(block.depthwise, block.in_projection(y)))
    main = normed(block.attention_norm, block.attention(main))
    side = block.channel_spatial(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    wanted = with_position + block.out_projection(main * side)
    wanted = wanted + convolved(block.position[1], wanted)
    hidden = F.gelu(normed(block.norm[1], wanted) @ block.mlp[0].weight.T + block.mlp[0].bias)
    wanted = wanted + hidden @ block.mlp[2].weight.T + block.mlp[2].bias
    torch.testing.assert_close(block(x, "", None), wanted, atol=1e-5, rtol=1e-5)


def test_variants_have_the_parts_they_name():
    parts = {}
    for variant in VARIANTS:
        block = MKCSABlock(16, 0.0, variant)
        kan = block.attention is not None and isinstance(block.attention.query_key, nn.Sequential)
        parts[variant] = (block.attention is not None, kan, block.channel_spatial is not None)
    assert parts == {
        "mkcsa": (True, True, True),
        "mkla": (True, True, False),
        "csa": (False, False, True),
        "mlla": (True, False, False),
        "mlcsa": (True, False, True),
    }


@pytest.mark.parametrize("name", ["vm-unet", "vmkla-unet"])
def test_the_network_equals_itself_with_a_step_loop(name, monkeypatch):
    network, x = build(name).eval(), torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        found = network(x)
        monkeypatch.setattr(ss2d, "selective_scan", literal_scan)
        torch.testing.assert_close(found, network(x), atol=1e-4, rtol=1e-3)
    assert found.std() > 0.1


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [(64, 64), (45, 70)])
def test_maps_have_their_grid_and_range(variant, size):
    network = build(variant=variant, dynamic_tau=True).eval()
    with torch.no_grad():
        maps = network.forward_with_attention(torch.rand(2, 1, *size)).attention
    kinds = [kind for kind, has in (("spatial", variant.endswith("csa")), ("received", variant != "csa")) if has]
    cells = {f"{kind}_{place}": CELLS[int(place[7])] for kind in kinds for place in DECODER}
    cells |= {f"step_encoder{stage}_1": 2 ** (stage + 1) for stage in range(1, 5)}
    cells |= {"tau_bottleneck": 32, "k_bottleneck": 32}
    assert sorted(maps) == sorted(cells)
    for name, values in maps.items():
        assert values.shape == (2, 1, *(-(-side // 32) * 32 // cells[name] for side in size))
        assert 0 < values.min() <= values.max() < 1


def test_vm_unet_has_a_step_map_for_each_block():
    with torch.no_grad():
        maps = build("vm-unet").eval().forward_with_attention(torch.rand(1, 1, 64, 64)).attention
    assert sorted(maps) == sorted(f"step_{p}" for p in [*DECODER, *(f"encoder{s}_1" for s in range(1, 5))])


def test_rows_agree_with_what_a_position_receives():
    """The mean of the rows of all positions is the map of attention received."""
    network, x = build(dynamic_tau=True).eval(), torch.rand(1, 1, 64, 64)
    assert network.attention_grid((64, 64), "decoder2_1") == (4, 4)
    with torch.no_grad():
        rows = [network.attention_row(x, "decoder2_1", (n // 4, n % 4)) for n in range(16)]
        received = network.forward_with_attention(x).attention["received_decoder2_1"]
        assert network.attention_row(x, "bottleneck", (0, 1)).shape == (1, 1, 2, 2)
    ratio = 16 * torch.stack(rows).mean(dim=0)
    torch.testing.assert_close(received, ratio / (1 + ratio))
    with pytest.raises(ValueError, match="stage 'encoder1_1' has no attention rows"):
        network.attention_row(x, "encoder1_1", (0, 0))


@torch.no_grad()
def test_merging_joins_neighbours_and_expanding_spreads_them():
    merge, expand = PatchMerging(1), PatchExpand(4, 4, 2)
    merge.norm = merge.reduce = expand.norm = expand.expand = nn.Identity()
    x = torch.arange(16.0).reshape(1, 4, 4, 1)
    assert merge(x)[0, 1, 0].tolist() == [8, 12, 9, 13]
    assert expand(x.reshape(1, 2, 2, 4))[0, :, :, 0].tolist() == [
        [0, 1, 4, 5],
        [2, 3, 6, 7],
        [8, 9, 12, 13],
        [10, 11, 14, 15],
    ]


def test_dropped_paths_keep_their_mean_and_rest_in_use():
    torch.manual_seed(0)
    x = torch.ones(4000, 1, 1, 1)
    dropped = drop_path(x, 0.25, training=True)
    assert dropped.unique().tolist() == [0, pytest.approx(4 / 3)]
    assert float(dropped.mean()) == pytest.approx(1, abs=0.05)
    assert drop_path(x, 0.25, training=False) is x


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"width": 12}, "multiple of 8; got 12"),
        ({"depths": (2, 2, 2)}, r"depths must be 4 positive numbers; got \[2, 2, 2\]"),
        ({"variant": "mamba"}, "'mamba'.*mkcsa"),
        ({"scan": "zigzag"}, "zigzag"),
    ],
)
def test_impossible_options_are_refused(config, words):
    with pytest.raises(ValueError, match=words):
        build(**config)
