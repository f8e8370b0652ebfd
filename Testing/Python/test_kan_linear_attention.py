"""KAN linear attention against the same attention with its N x N weights written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from MedSegAttentionLib.networks.layers.kan_linear_attention import KANLinearAttention, rotary_angles, rotate

torch.set_num_threads(1)


def a_layer(kan: bool = True, channels: int = 8, heads: int = 2) -> KANLinearAttention:
    torch.manual_seed(0)
    layer = KANLinearAttention(channels, heads, kan=kan)
    for value in layer.query_key.parameters():
        torch.nn.init.normal_(value, std=0.5)
    return layer


def features(layer: KANLinearAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    query, key = layer.query_key(x).chunk(2, dim=-1)
    return F.elu(query) + 1, F.elu(key) + 1


def turned(vector: list[float], row: int, column: int) -> list[float]:
    """Rotary encoding of one token, pair by pair."""
    channels, out = len(vector), list(vector)
    for pair in range(channels // 2):
        quarter = channels // 4
        theta = 10_000 ** (-(pair % quarter) / quarter)
        angle = (row if pair < quarter else column) * theta
        a, b = vector[2 * pair], vector[2 * pair + 1]
        out[2 * pair] = a * math.cos(angle) - b * math.sin(angle)
        out[2 * pair + 1] = a * math.sin(angle) + b * math.cos(angle)
    return out


def literal_attention(layer: KANLinearAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features and un-rotated weights ``[B, heads, N, N]``, token by token."""
    batch, height, width, channels = x.shape
    count, depth = height * width, channels // layer.heads
    query, key = (part.reshape(batch, count, channels) for part in features(layer, x))
    value, out = x.reshape(batch, count, channels), torch.zeros(batch, count, channels)
    shown = torch.zeros(batch, layer.heads, count, count)
    for b in range(batch):
        turn_q, turn_k = (
            torch.tensor([turned(t.tolist(), n // width, n % width) for n, t in enumerate(part[b])])
            for part in (query, key)
        )
        for head in range(layer.heads):
            part = slice(head * depth, (head + 1) * depth)
            for i in range(count):
                plain = torch.stack([query[b, i, part] @ key[b, j, part] for j in range(count)])
                shown[b, head, i] = plain / plain.sum()
                for j in range(count):
                    weight = turn_q[i, part] @ turn_k[j, part] / count / (plain.mean() + 1e-6)
                    out[b, i, part] += weight * value[b, j, part]
    local = F.conv2d(x.permute(0, 3, 1, 2), layer.local.weight, layer.local.bias, padding=1, groups=channels)
    return out.reshape(x.shape) + local.permute(0, 2, 3, 1), shown


@pytest.mark.parametrize("kan", [True, False])
def test_linear_attention_equals_the_quadratic_one(kan):
    layer, x = a_layer(kan), torch.randn(2, 3, 4, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted, weights = literal_attention(layer, x)
        found = layer.attend(x)
        torch.testing.assert_close(found.tokens, wanted, atol=1e-5, rtol=1e-4)
        ratio = weights.mean(dim=(1, 2)).reshape(2, 1, 3, 4) * 12
        torch.testing.assert_close(layer.received(found.query, found.key, 3, 4), ratio / (1 + ratio))
        row = layer.row(x, (2, 1))
    torch.testing.assert_close(row, weights[:, :, 9].mean(dim=1).reshape(2, 1, 3, 4))
    torch.testing.assert_close(row.sum(dim=(2, 3)), torch.ones(2, 1))


def test_rotary_products_depend_on_the_distance_along_both_axes():
    angles = rotary_angles(6, 7, 8, device=torch.device("cpu"), dtype=torch.float64)
    query, key = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    turned_q = rotate(query.expand(1, 6, 7, 8), angles)[0]
    turned_k = rotate(key.expand(1, 6, 7, 8), angles)[0]
    torch.testing.assert_close(turned_q[1, 2] @ turned_k[3, 5], turned_q[3, 1] @ turned_k[5, 4])
    assert not torch.isclose(turned_q[1, 2] @ turned_k[3, 5], turned_q[1, 2] @ turned_k[3, 4])
    assert not torch.isclose(turned_q[1, 2] @ turned_k[3, 5], turned_q[1, 2] @ turned_k[2, 5])


def test_gradcheck():
    layer = a_layer(channels=4, heads=1).double()
    x = torch.randn(1, 2, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)


@pytest.mark.parametrize(("channels", "parameters"), [(96, 184_320 + 960), (192, 368_640 + 1_920)])
def test_parameters(channels, parameters):
    assert sum(value.numel() for value in KANLinearAttention(channels, 3).parameters()) == parameters


def test_autocast_stays_finite_and_close():
    layer, x = a_layer(), torch.randn(1, 4, 4, 8)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        found = layer(x)
    torch.testing.assert_close(found.float(), layer(x), atol=0.1, rtol=0.1)


@pytest.mark.parametrize(("channels", "heads"), [(6, 1), (8, 3)])
def test_impossible_channels_are_named(channels, heads):
    with pytest.raises(ValueError, match=f"channels={channels}, heads={heads}"):
        KANLinearAttention(channels, heads)
