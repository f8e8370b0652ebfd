"""KLO-Net and its ablation rows: sizes, costs, shapes, the exact number of neighbours, and a gate that learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.networks.known import built_in_networks
from MedSegAttentionLib.networks.layers import dynamic_knn_attention as module
from MedSegAttentionLib.networks.layers.dynamic_knn_attention import DynamicKNNAttention
from MedSegAttentionLib.networks.layers.nearest import nearest_mask, nearest_of_many
from MedSegAttentionTraining.measuring.complexity import measure_complexity, vanilla_unet

torch.set_num_threads(1)
NAMES = sorted(built_in_networks())
PAPER_INPUT = (1, 1, 256, 256)


def build(name: str, **config) -> nn.Module:
    torch.manual_seed(0)
    return build_network(name, **{"in_channels": 1, "out_channels": 1, **config})


def a_layer(channels: int = 16, **config) -> DynamicKNNAttention:
    """With a lively gate, so that tau differs from place to place."""
    torch.manual_seed(1)
    layer = DynamicKNNAttention(channels, **{"heads": 4, "k_min": 2, "k_max": 12, **config}).eval()
    nn.init.normal_(layer.gate[2].weight, std=2)
    nn.init.normal_(layer.out.weight, std=0.5)
    return layer


def features(channels: int = 16, height: int = 5, width: int = 6, batch: int = 2) -> Tensor:
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(2))


def paper_k(tau: float, k_min: int, k_max: int, positions: int) -> int:
    return min(positions, max(k_min, min(k_max, math.floor(tau * k_max))))


@torch.no_grad()
def literal_attention(layer: DynamicKNNAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features and ``[B, heads, N, N]`` weights by the paper's words, one position after the other."""
    batch, channels, height, width = x.shape
    positions, depth = height * width, channels // layer.heads
    normed = nn.functional.group_norm(x, 1, layer.norm.weight, layer.norm.bias, layer.norm.eps)
    hidden = torch.relu(nn.functional.conv2d(normed, layer.gate[0].weight, layer.gate[0].bias))
    tau = torch.sigmoid(nn.functional.conv2d(hidden, layer.gate[2].weight, layer.gate[2].bias)).reshape(
        batch, positions
    )
    tokens = normed.reshape(batch, channels, positions).transpose(1, 2)
    projected = tokens @ layer.qkv.weight[:, :, 0, 0].T + layer.qkv.bias
    query, key, value = projected.split(channels, dim=-1)
    weights = torch.zeros(batch, layer.heads, positions, positions)
    attended = torch.zeros(batch, positions, channels)
    for b in range(batch):
        for head in range(layer.heads):
            part = slice(head * depth, (head + 1) * depth)
            for n in range(positions):
                scores = [float(query[b, n, part] @ key[b, m, part]) / math.sqrt(depth) for m in range(positions)]
                k = paper_k(float(tau[b, n]), layer.k_min, layer.k_max, positions)
                nearest = sorted(range(positions), key=lambda m: -scores[m])[:k]
                total = sum(math.exp(scores[m]) for m in nearest)
                for m in nearest:
                    weights[b, head, n, m] = math.exp(scores[m]) / total
                    attended[b, n, part] += weights[b, head, n, m] * value[b, m, part]
    mixed = attended @ layer.out.weight[:, :, 0, 0].T + layer.out.bias
    return x + mixed.transpose(1, 2).reshape(x.shape), weights


@pytest.mark.parametrize(
    ("name", "parameters"), [("unet", 7_849_025), ("csp-unet", 6_287_489), ("klo-net", 7_683_587 + 1_536)]
)
def test_parameters_are_those_of_the_paper(name, parameters):
    assert sum(value.numel() for value in build(name).parameters()) == parameters


def test_the_norms_of_klo_net_are_counted_apart():
    network = build("klo-net")
    norms = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    assert sum(value.numel() for module in norms for value in module.parameters()) == 1_536


@pytest.mark.parametrize(
    ("name", "mac", "without", "thop"),
    [("csp-unet", 12.654, 12.654, 12.853), ("klo-net", 13.829, 13.225, 13.424)],
)
def test_costs_are_those_of_the_paper_by_each_counting_rule(name, mac, without, thop):
    found = measure_complexity(name, build(name), PAPER_INPUT)
    assert found.mac / 1e9 == pytest.approx(mac, abs=1e-3)
    assert found.mac_without_attention / 1e9 == pytest.approx(without, abs=1e-3)
    assert found.mac_thop / 1e9 == pytest.approx(thop, abs=1e-3)


def test_the_cost_is_per_picture_and_the_gate_is_told_apart():
    network = build("klo-net", width=8)
    one, three = (measure_complexity("klo-net", network, (n, 1, 64, 64)) for n in (1, 3))
    assert one.mac == three.mac
    assert one.mac_thop == three.mac_thop
    assert one.gate_parameters == sum(v.numel() for k, v in network.named_parameters() if ".gate." in k) > 0


def test_the_vanilla_unet_is_the_one_savings_are_measured_against():
    assert sum(value.numel() for value in vanilla_unet().parameters()) == pytest.approx(17.26e6, rel=1e-3)


@pytest.mark.parametrize("size", [(64, 64), (45, 70)])
def test_maps_have_the_grid_the_network_promises(size):
    network = build("klo-net", width=8).eval()
    with torch.no_grad():
        maps = network.forward_with_attention(torch.rand(2, 1, *size)).attention
    assert sorted(maps) == ["k_bottleneck", "k_stage4", "tau_bottleneck", "tau_stage4"]
    for name, values in maps.items():
        stage = name.split("_", 1)[1]
        cell = {"stage4": 8, "bottleneck": 16}[stage]
        padded = [-(-side // 16) * 16 for side in size]
        assert values.shape == (2, 1, padded[0] // cell, padded[1] // cell)
        assert network.attention_grid(size, stage) == values.shape[-2:]
        assert values.min() > 0
        assert values.max() <= 1


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"heads": 7}, "multiple of heads"),
        ({"k_min": 9, "k_max": 8}, "k_min <= k_max"),
        ({"k_min": 0}, "k_min <= k_max"),
    ],
)
def test_impossible_options_are_refused(config, words):
    with pytest.raises(ValueError, match=words):
        build("klo-net", width=8, **config)


@pytest.mark.parametrize("positions", [1000, 64, 40, 5])
def test_k_is_the_formula_of_the_paper_to_the_last_neighbour(positions):
    layer = DynamicKNNAttention(16)
    edges = [n / 64 for n in range(65)]
    taus = sorted({0.0, 1e-6, 0.1249, 0.125, 0.99999, 1.0, *edges, *(edge - 1e-6 for edge in edges[1:])})
    tau = torch.tensor(taus, dtype=torch.float64)
    assert layer.neighbours(tau, positions).tolist() == [paper_k(value, 8, 64, positions) for value in taus]


@pytest.mark.parametrize(("logit", "k"), [(-20.0, 2), (20.0, 12), (0.0, 6), (-0.7, 3)])
def test_a_gate_set_by_hand_gives_its_k_and_so_many_neighbours(logit, k):
    """sigmoid(-0.7) * 12 is 3.98; the two large ones reach the clamps."""
    layer = a_layer()
    nn.init.zeros_(layer.gate[2].weight)
    nn.init.constant_(layer.gate[2].bias, logit)
    with torch.no_grad():
        _, _, k_share = layer.attend(features())
        assert torch.equal((k_share * 12).round(), torch.full_like(k_share, k))
        row = DynamicKNNAttention.row(layer, features()[:1], (2, 3))
    _, weights = literal_attention(layer, features()[:1])
    assert ((weights > 0).sum(dim=-1) == k).all()
    assert k <= int((row > 0).sum()) <= k * layer.heads


def test_fewer_positions_than_k_means_all_of_them():
    layer = a_layer(k_min=8, k_max=64)
    x = features(height=2, width=3)
    with torch.no_grad():
        found, _, k_share = layer.attend(x)
    assert torch.equal((k_share * 64).round(), torch.full_like(k_share, 6))
    torch.testing.assert_close(found, literal_attention(layer, x)[0].detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("gradient", [False, True])
def test_sparse_attention_equals_the_literal_one(gradient):
    layer, x = a_layer(), features()
    with torch.set_grad_enabled(gradient):
        found = layer.attend(x)
    wanted, weights = literal_attention(layer, x)
    counts = (weights > 0).sum(dim=-1)
    assert len(counts.unique()) > 3  # the gate does choose
    torch.testing.assert_close(found.features, wanted, atol=1e-5, rtol=1e-5)
    assert torch.equal((found.k_share * 12).round().flatten(2)[:, 0].long(), counts[:, 0])


def test_training_sees_the_same_values_as_use():
    layer, x = a_layer(), features()
    trained = layer.train()(x)
    with torch.no_grad():
        used = layer.eval()(x)
    torch.testing.assert_close(trained, used, atol=1e-5, rtol=1e-5)


def test_equal_scores_never_add_a_neighbour():
    layer = a_layer()
    x = torch.ones(1, 16, 5, 6)  # all positions alike: every score ties
    with torch.no_grad():
        found = layer.attend(x)
        weights = layer._weights(torch.zeros(1, 4, 30, 30), found.tau)
    assert torch.equal((weights > 0).sum(dim=-1)[0, 0], (found.k_share[0, 0] * 12).round().long().flatten())
    torch.testing.assert_close(found.features, layer.attend(x).features, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(13, 8), (11, 9)])
def test_the_form_for_many_positions_equals_the_others(size, monkeypatch):
    """By blocks of rows of which the last is shorter, and by groups of which some scores are left over."""
    layer, x = a_layer(), features(height=size[0], width=size[1])
    with torch.no_grad():
        wanted = layer.attend(x)
        monkeypatch.setattr(module, "MANY_POSITIONS", 1)
        monkeypatch.setattr(module, "ROWS", 30)
        monkeypatch.setattr(layer, "_attend_head_by_head", None)
        found = layer.attend(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = layer.attend(x)
    torch.testing.assert_close(found.features, wanted.features, atol=1e-5, rtol=1e-5)
    assert torch.isfinite(half.features).all()


@pytest.mark.parametrize("positions", [80, 96, 103])
@pytest.mark.parametrize("levels", [5, 10_000])
def test_the_nearest_of_many_are_those_of_topk_also_where_they_tie(positions, levels):
    scores = torch.randint(0, levels, (200, positions), generator=torch.Generator().manual_seed(0)).float()
    values, index = nearest_of_many(scores, 10)
    assert torch.equal(values, scores.topk(10).values)
    assert torch.equal(scores.gather(1, index), values)
    assert (index.sort(dim=-1).values.diff() > 0).all()


def test_the_mask_keeps_the_k_largest_of_each_row_also_where_they_tie():
    scores = torch.randint(0, 5, (3, 2, 40, 30), generator=torch.Generator().manual_seed(0)).float()
    k = torch.randint(1, 13, (3, 1, 40, 1), generator=torch.Generator().manual_seed(1))
    kept = nearest_mask(scores, k, 12)
    assert torch.equal(kept.sum(dim=-1, keepdim=True), k.expand(3, 2, 40, 1))
    worst_kept = scores.masked_fill(~kept, torch.inf).amin(dim=-1)
    best_left = scores.masked_fill(kept, -torch.inf).amax(dim=-1)
    assert (worst_kept >= best_left).all()


@pytest.mark.parametrize("logit", [-6.0, 6.0])
def test_a_gate_beyond_its_bounds_still_learns(logit):
    layer = a_layer().train()
    nn.init.constant_(layer.gate[2].bias, logit)
    nn.init.zeros_(layer.gate[2].weight)
    layer(features()).square().mean().backward()
    assert layer.gate[2].bias.grad.abs() > 0


def test_half_precision_training_has_no_nan():
    network = build("klo-net", width=8).train()
    with torch.autocast("cpu", torch.bfloat16):
        output = network.forward_with_attention(torch.randn(2, 1, 64, 64))
        loss = output.logits.float().square().mean()
    loss.backward()
    assert torch.isfinite(output.logits).all()
    assert all(torch.isfinite(value.grad).all() for value in network.parameters())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        used = network.eval().forward_with_attention(torch.randn(2, 1, 64, 64))
    assert torch.isfinite(used.logits).all()
    assert used.attention["tau_stage4"].dtype == torch.float32
