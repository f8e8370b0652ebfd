"""SETR, SETR-conv and SETR-CvT: sizes, costs and savings, strides, maps, and training."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.networks.layers.key_value_attention import ATTENTIONS
from MedSegAttentionLib.networks.setr_conv import StandardisedConv2d, group_norm
from MedSegAttentionTraining.measuring.complexity import measure_complexity
from MedSegAttentionTraining.measuring.key_value_savings import CASES, savings_table

torch.set_num_threads(1)
NAMES = ["setr", "setr-conv", "setr-cvt"]
CVT_CELLS = {1: 4, 2: 8, 3: 16}


def build(name: str, **config) -> nn.Module:
    torch.manual_seed(0)
    return build_network(name, **{"in_channels": 1, "out_channels": 2, "width": 16, **config})


def on_meta(name: str, **config) -> nn.Module:
    """Nothing is drawn or computed there, but shapes are."""
    with torch.device("meta"):
        return build_network(name, **{"in_channels": 1, "out_channels": 3, **config})


def count(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


@pytest.mark.parametrize(
    ("name", "config", "with_query", "without"),
    [
        ("setr", {"width": 768}, 88_991_747, 81_904_643),
        ("setr", {}, 24_148_355, 22_374_275),
        ("setr-conv", {"width": 768, "in_channels": 3}, 105_322_291, 98_235_187),
        ("setr-cvt", {}, 22_262_083, 20_658_243),
        ("setr-cvt", {"kv_stride": 2}, 22_262_083, 20_658_243),
    ],
)
def test_parameters(name, config, with_query, without):
    found = {attention: count(on_meta(name, attention=attention, **config)) for attention in ATTENTIONS}
    layers = 12 if name != "setr-cvt" else 13
    assert found == {"qkv": with_query, "kv": without, "kv-pos": without + 51 * layers}


def test_kv_leaves_out_one_linear_layer_for_each_block():
    saved = {name: count(on_meta(name)) - count(on_meta(name, attention="kv")) for name in NAMES}
    vit = 12 * (384**2 + 384)
    cvt = sum(depth * (c**2 + c + 9 * c + 2 * c) for c, depth in ((64, 1), (192, 2), (384, 10)))
    assert saved == {"setr": vit, "setr-conv": vit, "setr-cvt": cvt}


def test_parameters_of_the_encoders_alone():
    """85.45 and 78.36 M of ViT-B; 19.605 and 18.001 M of CvT-13."""
    found = {}
    for name, config in (("setr", {"width": 768}), ("setr-cvt", {})):
        for attention in ("qkv", "kv"):
            network = on_meta(name, attention=attention, **config)
            found[name, attention] = count(network) - count(network.decoder)
    assert found == {
        ("setr", "qkv"): 85_449_984,
        ("setr", "kv"): 78_362_880,
        ("setr-cvt", "qkv"): 19_605_056,
        ("setr-cvt", "kv"): 18_001_216,
    }


@pytest.mark.parametrize(
    ("name", "config", "giga"),
    [
        ("setr", {"width": 768}, {"qkv": 36.19, "kv": 34.38, "kv-pos": 34.38}),
        ("setr", {}, {"qkv": 19.03, "kv": 18.57, "kv-pos": 18.57}),
        ("setr-cvt", {}, {"qkv": 22.39, "kv": 21.91, "kv-pos": 21.91}),
        ("setr-cvt", {"kv_stride": 2}, {"qkv": 19.08, "kv": 19.32, "kv-pos": 19.32}),
    ],
)
def test_costs_with_all_products(name, config, giga):
    for attention, wanted in giga.items():
        found = measure_complexity(name, on_meta(name, attention=attention, **config), (1, 1, 256, 256))
        assert found.mac / 1e9 == pytest.approx(wanted, abs=6e-3), attention


def test_about_ten_percent_depends_on_what_is_counted():
    """Parameters and MACs with all products, whole and encoder alone: 1 / (4 + 2 mlp_ratio) of a transformer."""
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in savings_table([CASES[1], CASES[2], *CASES[5:]]).splitlines()[4:]
    ]
    found = {row[0]: (row[2], row[3], row[5], row[6]) for row in rows}
    assert found["setr (width 768)"] == ("-8.0 %", "-8.3 %", "-5.0 %", "-7.9 %")
    assert found["setr (width 768, mlp_ratio 3, decoder naive)"] == ("-9.9 %", "-9.9 %", "-9.3 %", "-9.4 %")
    assert found["setr-cvt"] == ("-7.2 %", "-8.2 %", "-2.2 %", "-5.1 %")
    assert found["setr-cvt (kv_stride 2)"][2] == "+1.3 %"


@pytest.mark.parametrize("name", NAMES)
def test_maps_in_half_precision_are_those_of_full_precision(name):
    network, x = build(name, attention="kv-pos").eval(), torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        full = network.forward_with_attention(x).attention
        with torch.autocast("cpu", torch.bfloat16):
            half = network.forward_with_attention(x).attention
    for key, values in half.items():
        assert values.dtype == torch.float32, key
        assert (values - full[key]).abs().max() < 0.02, key


def test_attention_products_are_counted_also_where_the_kernel_is_fused():
    network = build("setr", width=64)
    found = measure_complexity("setr", network, (1, 1, 64, 64))
    assert found.mac - found.mac_without_attention == 12 * 2 * 16**2 * 64


@pytest.mark.parametrize(("name", "width"), [("setr", 128), ("setr", 160), ("setr-conv", 128), ("setr-cvt", 24)])
def test_small_ones_ship(name, width):
    assert count(on_meta(name, width=width, dynamic_tau=True)) < 5e6


def places(name: str) -> dict[str, int]:
    if name != "setr-cvt":
        return {f"layer{number}": 16 for number in range(1, 13)}
    return {f"encoder{s}_{b}": CVT_CELLS[s] for s, blocks in ((1, 1), (2, 2), (3, 10)) for b in range(1, blocks + 1)}


@pytest.mark.parametrize("size", [(64, 64), (45, 70)])
@pytest.mark.parametrize(
    ("name", "config"),
    [("setr", {}), ("setr-conv", {"attention": "kv"}), ("setr-cvt", {"attention": "kv-pos", "kv_stride": 2})],
)
def test_maps_have_their_grid_and_range(name, config, size):
    network = build(name, dynamic_tau=True, **config).eval()
    with torch.no_grad():
        maps = network.forward_with_attention(torch.rand(2, 1, *size)).attention
    cells = {f"received_{place}": cell for place, cell in places(name).items()}
    if config.get("attention") == "kv-pos":
        cells |= {f"bias_{place}": cell for place, cell in places(name).items()}
    cells |= {f"rollout_{list(places(name))[-1]}": 16, "tau_bottleneck": 16, "k_bottleneck": 16}
    assert sorted(maps) == sorted(cells)
    stride = 32 if "kv_stride" in config else 16
    assert network.stride == stride
    for key, values in maps.items():
        grid = tuple(-(-side // stride) * stride // cells[key] for side in size)
        assert values.shape == (2, 1, *grid), key
        assert network.attention_grid(size, key.split("_", 1)[1]) == grid
        assert 0 < values.min() <= values.max() <= 1, key


@pytest.mark.parametrize(
    ("name", "attention", "config"),
    [
        ("setr", "qkv", {}),
        ("setr", "kv", {}),
        ("setr", "kv-pos", {}),
        ("setr-conv", "kv-pos", {}),
        ("setr-cvt", "kv-pos", {}),
        ("setr-cvt", "qkv", {"kv_stride": 2}),
        ("setr-cvt", "kv-pos", {"kv_stride": 2}),
    ],
)
def test_rows_agree_with_what_a_position_receives(name, attention, config):
    network, x = build(name, attention=attention, dynamic_tau=True, **config).eval(), torch.rand(1, 1, 64, 64)
    stage = "layer2" if name != "setr-cvt" else "encoder3_2"
    assert network.attention_grid((64, 64), stage) == (4, 4)
    with torch.no_grad():
        rows = [network.attention_row(x, stage, (n // 4, n % 4)) for n in range(16)]
        received = network.forward_with_attention(x).attention[f"received_{stage}"]
        assert network.attention_row(x, "bottleneck", (3, 1)).sum().item() == pytest.approx(1, abs=1e-5)
    assert all(row.sum().item() == pytest.approx(1, abs=1e-5) for row in rows)
    ratio = 16 * torch.stack(rows).mean(dim=0)
    torch.testing.assert_close(received, ratio / (1 + ratio))
    with pytest.raises(ValueError, match="stage 'stage4' has no attention rows"):
        network.attention_row(x, "stage4", (0, 0))
    with pytest.raises(ValueError, match=r"\(4, 0\) lies off the 4 x 4 grid"):
        network.attention_row(x, stage, (4, 0))


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("setr", {"width": 12}, "multiple of 8; got 12"),
        ("setr", {"attention": "vk"}, "'vk'.*kv-pos"),
        ("setr", {"decoder": "mla"}, "'mla'.*pup, naive"),
        ("setr", {"depth": 0}, "at least 1; got 0"),
        ("setr-conv", {"stem_width": 12}, "stem_width.*multiple of 8; got 12"),
        ("setr-conv", {"attention": "vk"}, "'vk'"),
        ("setr-cvt", {"width": 6}, "multiple of 4; got 6"),
        ("setr-cvt", {"kv_stride": 3}, "kv_stride must be 1 or 2; got 3"),
        ("setr-cvt", {"attention": "vk"}, "'vk'"),
    ],
)
def test_impossible_options_are_refused(name, config, words):
    with pytest.raises(ValueError, match=words):
        build(name, **config)


def test_groups_of_the_stem_are_the_published_ones_and_never_single_channels():
    assert [group_norm(channels).num_groups for channels in (64, 256, 1024)] == [32, 32, 32]
    assert [group_norm(channels).num_groups for channels in (8, 24, 32)] == [4, 4, 16]


def test_weights_of_the_stem_are_standardised():
    convolution = StandardisedConv2d(3, 8, 3)
    nn.init.normal_(convolution.weight, mean=2.0, std=3.0)
    x, weight = torch.rand(1, 3, 9, 9), convolution.weight
    flat = weight.flatten(1)
    wanted = (flat - flat.mean(dim=1, keepdim=True)) / (flat.var(dim=1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(convolution(x), F.conv2d(x, wanted.reshape(weight.shape), padding=1))
