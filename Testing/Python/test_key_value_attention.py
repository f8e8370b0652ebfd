"""QKV, KV and KV+Pos: literal references, the published n^2 form, symmetry, sizes, maps and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedSegAttentionLib.networks.layers.key_value_attention import (
    ATTENTIONS,
    KeyPosition,
    KeyValueAttention,
    LinearProjection,
    head_count,
    sinusoid,
)
from MedSegAttentionLib.networks.layers.transformer import TransformerBlock, VisionTransformer, record_attention
from MedSegAttentionLib.networks.picture_network import Record
from MedSegAttentionLib.networks.setr_cvt import ConvolutionalProjection

torch.set_num_threads(1)
GRID = (4, 5)


def a_layer(attention: str, channels: int = 12, heads: int = 3, **config) -> KeyValueAttention:
    """With weights large enough that the softmax is far from even."""
    torch.manual_seed(1)
    layer = KeyValueAttention(channels, heads, attention, **{"grid": GRID, **config}).eval()
    nn.init.normal_(layer.projection.weight, std=0.5)
    if layer.position is not None:
        nn.init.normal_(layer.position.mix.weight, std=0.5)
        nn.init.constant_(layer.position.mix.bias, 0.7)
    return layer


def features(height: int = GRID[0], width: int = GRID[1], channels: int = 12, batch: int = 2) -> Tensor:
    return torch.randn(batch, height, width, channels, generator=torch.Generator().manual_seed(2))


def published_position(positions: int, channels: int) -> Tensor:
    """``[n, n, channels]``: a sinusoid of the row and of the column of the attention matrix, entry by entry."""
    half = 2 * math.ceil(channels / 4)
    table = torch.zeros(positions, positions, channels)
    for i in range(positions):
        for j in range(positions):
            code = []
            for place, length in ((i, half), (j, channels - half)):
                for n in range(length):
                    angle = place * 10_000 ** (-2 * (n // 2) / half)
                    code.append(math.cos(angle) if n % 2 else math.sin(angle))
            table[i, j] = torch.tensor(code)
    return table


@torch.no_grad()
def literal_attention(layer: KeyValueAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output and ``[B, heads, N, N]`` weights by the equations, one head after the other."""
    batch, channels = len(x), x.shape[-1]
    tokens = x.reshape(batch, -1, channels)
    projected = tokens @ layer.projection.weight.T + layer.projection.bias
    parts = projected.split(channels, dim=-1)
    query, key, value = (parts[0], parts[1], parts[2]) if len(parts) == 3 else (parts[0], parts[0], parts[1])
    depth, outputs, all_weights = channels // layer.heads, [], []
    for head in range(layer.heads):
        part = slice(head * depth, (head + 1) * depth)
        score = torch.einsum("bic,bjc->bij", query[..., part], key[..., part]) / math.sqrt(depth)
        if layer.position is not None:  # as published: every score beside all channels of the sinusoid of (i, j)
            table = published_position(tokens.shape[1], layer.position.mix.in_features)
            score = layer.position.mix(score[..., None] + table).squeeze(-1)
        weights = score.softmax(dim=-1)
        all_weights.append(weights)
        outputs.append(weights @ value[..., part])
    out = torch.cat(outputs, dim=-1) @ layer.out.weight.T + layer.out.bias
    return out.reshape(x.shape), torch.stack(all_weights, dim=1)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("gradient", [False, True])
def test_attention_equals_the_literal_form(attention, gradient):
    """For KV+Pos the literal form is the published one of N x N x 50."""
    layer, x = a_layer(attention), features()
    with torch.set_grad_enabled(gradient):
        found = layer(x)
    wanted, weights = literal_attention(layer, x)
    assert weights.max() > 0.3  # far from even: the test can tell
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.weights(x).detach(), weights.mean(dim=1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pos_dim", [4, 6, 50])
def test_the_collapsed_position_is_the_published_one_for_any_pos_dim(pos_dim):
    layer, x = a_layer("kv-pos", pos_dim=pos_dim), features()
    torch.testing.assert_close(layer(x), literal_attention(layer, x)[0], atol=1e-5, rtol=1e-5)


def test_position_changes_the_result_and_not_alike_for_all_places():
    layer, x = a_layer("kv-pos"), features()
    bias = layer.position.key_bias(GRID)
    assert bias.std() > 0.1
    assert layer.position.temperature.item() == pytest.approx(layer.position.mix.weight.sum().item())
    plain = a_layer("kv")
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if "position" not in k})
    assert (layer(x) - plain(x)).abs().max() > 0.01


def test_untrained_kv_pos_has_a_temperature_of_one():
    position = KeyPosition(GRID)
    assert position.temperature.item() == pytest.approx(1)
    assert position.key_bias(GRID).abs().max() < 0.5


def test_the_sinusoid_is_the_one_of_the_attention_matrix():
    table = published_position(7, 50)
    assert torch.allclose(sinusoid(7, 26), table[:, 0, :26], atol=1e-5)
    assert torch.allclose(sinusoid(7, 26)[:, :24], table[0, :, 26:], atol=1e-5)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_logits_are_symmetric_without_query_alone(attention):
    logits = a_layer(attention).logits(features()).detach()
    assert torch.allclose(logits, logits.transpose(-2, -1), atol=1e-5) == (attention == "kv")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("channels", [48, 96])
def test_kv_removes_exactly_the_query(bias, channels):
    count = {}
    for attention in ATTENTIONS:
        layer = KeyValueAttention(channels, 4, attention, bias=bias)
        count[attention] = sum(value.numel() for value in layer.parameters())
    assert count["qkv"] - count["kv"] == channels**2 + channels * bias
    assert count["kv-pos"] - count["kv"] == 50 + 1


def test_other_grids_interpolate_the_key_bias():
    position = KeyPosition((4, 4))
    nn.init.normal_(position.mix.weight)
    found, base = position.key_bias((8, 8)), position.key_bias((4, 4))
    assert found.shape == (8, 8)
    assert torch.allclose(found[3:5, 3:5].mean(), base[1:3, 1:3].mean(), atol=1e-5)
    layer = a_layer("kv-pos")
    assert layer(features(6, 3)).shape == (2, 6, 3, 12)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_maps_and_rows_come_from_the_weights(attention, monkeypatch):
    layer, x = a_layer(attention), features()
    monkeypatch.setattr("MedSegAttentionLib.networks.layers.key_value_attention.ROWS_AT_ONCE", 7)
    weights = literal_attention(layer, x)[1].mean(dim=1)
    with torch.no_grad():
        row, received = layer.row(x, (2, 3)), layer.received(x)
    torch.testing.assert_close(row.flatten(1), weights[:, 2 * 5 + 3], atol=1e-5, rtol=1e-5)
    ratio = 20 * weights.mean(dim=1).reshape(2, 1, *GRID)
    torch.testing.assert_close(received, ratio / (1 + ratio), atol=1e-5, rtol=1e-5)


def test_the_map_of_the_bias_is_a_fixed_function_of_it():
    layer = a_layer("kv-pos")
    with torch.no_grad():
        found, bias = layer.bias_map(features()), layer.position.key_bias(GRID)
    assert found.shape == (2, 1, *GRID)
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0, 0], torch.sigmoid(bias - bias.mean()))


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_gradients_are_those_of_the_function(attention):
    layer = a_layer(attention, channels=4, heads=2, grid=(2, 2), pos_dim=4).double()
    x = features(2, 2, 4, batch=1).double().requires_grad_()
    assert torch.autograd.gradcheck(layer, x)
    layer(x).square().sum().backward()
    assert [name for name, value in layer.named_parameters() if value.grad is None] == []
    if layer.position is not None:
        assert layer.position.mix.weight.grad.abs().min() > 0
        assert abs(layer.position.mix.bias.grad.item()) < 1e-10  # it cancels in the softmax


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_strided_keys_keep_one_row_for_each_position(attention):
    """The trap of CvT: the output has the query's grid, whatever the stride of the keys."""
    torch.manual_seed(0)
    projection = ConvolutionalProjection(12, attention, 2).eval()
    layer = KeyValueAttention(12, 3, attention, grid=(2, 3), projection=projection).eval()
    x = features(4, 6)
    with torch.no_grad():
        query, key, value = projection(x)
        assert query.shape == x.shape
        assert key.shape == value.shape == (2, 2, 3, 12)
        assert layer(x).shape == x.shape
        weights = layer.weights(x)
        row, received = layer.row(x, (3, 2)), layer.received(x)
    assert weights.shape == (2, 24, 24)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 24))
    torch.testing.assert_close(row.flatten(1), weights[:, 3 * 6 + 2])
    ratio = 24 * weights.mean(dim=1).reshape(2, 1, 4, 6)
    torch.testing.assert_close(received, ratio / (1 + ratio))
    torch.testing.assert_close(row[..., 0::2, 0::2], row[..., 1::2, 1::2])
    if attention != "qkv":
        wanted = F.avg_pool2d(query.movedim(-1, 1), 2).movedim(1, -1)
        torch.testing.assert_close(key, wanted)


def test_rollout_equals_the_product_of_the_matrices():
    torch.manual_seed(0)
    blocks = nn.ModuleDict({f"layer{n}": TransformerBlock(12, a_layer("kv"), 2, 0.0) for n in (1, 2, 3)}).eval()
    record, x = Record(), features()
    with torch.no_grad():
        for place, block in blocks.items():
            x = block(x, place, record)
        record_attention(blocks, record, rollout=True)
        product = torch.eye(20).expand(2, 20, 20)
        for place, block in blocks.items():
            product = (block.attention.weights(record.inputs[place]) + torch.eye(20)) / 2 @ product
    ratio = 20 * product.mean(dim=1).reshape(2, 1, *GRID)
    torch.testing.assert_close(record.maps["rollout_layer3"], ratio / (1 + ratio))
    assert record.maps["rollout_layer3"].std() > 0.01


@torch.no_grad()
def test_the_block_is_pre_norm():
    block, x = TransformerBlock(12, a_layer("qkv"), 2, 0.3).eval(), features()
    wanted = x + literal_attention(block.attention, F.layer_norm(x, (12,)))[0]
    hidden = F.gelu(F.layer_norm(wanted, (12,)) @ block.mlp[0].weight.T + block.mlp[0].bias)
    wanted = wanted + hidden @ block.mlp[2].weight.T + block.mlp[2].bias
    torch.testing.assert_close(block(x, "", None), wanted, atol=1e-5, rtol=1e-5)


def test_the_position_embedding_is_interpolated_on_other_grids():
    transformer = VisionTransformer(8, 1, "kv", (4, 4), 2, 0.0).eval()
    assert transformer.position_on((4, 4)) is transformer.position
    wide = transformer.position_on((4, 8)).detach()
    assert wide.shape == (1, 8, 4, 8)
    pairs = wide.unflatten(-1, (4, 2)).mean(dim=-1)
    torch.testing.assert_close(
        pairs[..., 1:-1],
        (
            0.75 * transformer.position[..., 1:-1]
            + 0.125 * (transformer.position[..., :-2] + transformer.position[..., 2:])
        ).detach(),
    )


def test_initialisation_keeps_the_temperature():
    transformer = VisionTransformer(8, 2, "kv-pos", (4, 4), 2, 0.0)
    assert [block.attention.position.temperature.item() for block in transformer.blocks.values()] == [
        pytest.approx(1),
        pytest.approx(1),
    ]


def test_heads_are_those_of_vit():
    assert [head_count(channels) for channels in (8, 128, 160, 384, 768, 1024)] == [1, 2, 2, 6, 12, 16]


def test_half_precision_stays_near():
    layer, x = a_layer("kv-pos"), features()
    with torch.no_grad():
        full = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = layer(x)
            weights = layer.weights(x)
    assert half.dtype == torch.bfloat16
    assert weights.dtype == torch.float32
    assert (half.float() - full).abs().max() < 0.05 * full.abs().max()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: KeyValueAttention(12, 3, "kvq"), "'kvq'.*qkv, kv, kv-pos"),
        (lambda: KeyValueAttention(12, 5), "multiple of heads; got channels=12, heads=5"),
        (lambda: KeyPosition(GRID, 5), "pos_dim must be even.*got 5"),
    ],
)
def test_impossible_options_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_the_projection_without_query_is_one_linear_layer():
    projection, x = LinearProjection(12, "kv"), features()
    query, key, value = projection(x)
    assert torch.equal(query, key)
    assert not torch.equal(key, value)
