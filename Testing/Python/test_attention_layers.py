"""Multi-scale attention and channel-spatial attention against their equations written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from MedSegAttentionLib.networks.layers.channel_spatial_attention import ChannelSpatialAttention
from MedSegAttentionLib.networks.layers.efficient_multiscale_attention import EfficientMultiscaleAttention

torch.set_num_threads(1)


def features(*shape: int, dtype=torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def literal_ema(layer: EfficientMultiscaleAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """One picture, one group after the other."""
    channels, height, width = x.shape[1:]
    c = channels // layer.groups
    out, gates = torch.zeros_like(x), torch.zeros(len(x), layer.groups, height, width)
    pointwise = layer.conv1x1.weight[:, :, 0, 0]
    for b in range(len(x)):
        for g in range(layer.groups):
            part = x[b, g * c : (g + 1) * c]
            row = torch.sigmoid(pointwise @ part.mean(dim=2) + layer.conv1x1.bias[:, None])
            column = torch.sigmoid(pointwise @ part.mean(dim=1) + layer.conv1x1.bias[:, None])
            gated = part * row[:, :, None] * column[:, None, :]
            far = torch.stack(
                [
                    (gated[i] - gated[i].mean())
                    / (gated[i].var(unbiased=False) + layer.norm.eps).sqrt()
                    * layer.norm.weight[i]
                    + layer.norm.bias[i]
                    for i in range(c)
                ]
            )
            near = F.conv2d(part[None], layer.conv3x3.weight, layer.conv3x3.bias, padding=1)[0]
            by_far, by_near = (torch.softmax(p.mean(dim=(1, 2)), dim=0) for p in (far, near))
            summed = sum(by_far[i] * near[i] + by_near[i] * far[i] for i in range(c))
            gates[b, g] = torch.sigmoid(summed)
            out[b, g * c : (g + 1) * c] = part * gates[b, g]
    return out, gates.mean(dim=1, keepdim=True)


def literal_channel_spatial(layer: ChannelSpatialAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    first, second = layer.channel[0].weight[:, :, 0, 0], layer.channel[2].weight[:, :, 0, 0]
    out, gates = torch.zeros_like(x), torch.zeros(len(x), 1, *x.shape[2:])
    for b in range(len(x)):
        mean, largest = x[b].mean(dim=(1, 2)), x[b].flatten(1).max(dim=1).values
        gate = torch.sigmoid(second @ torch.relu(first @ mean) + second @ torch.relu(first @ largest))
        y = x[b] * gate[:, None, None]
        pooled = torch.stack((y.mean(dim=0), y.max(dim=0).values))
        gates[b] = torch.sigmoid(F.conv2d(pooled[None], layer.spatial.weight, padding=3)[0])
        out[b] = y * gates[b]
    return out, gates


def layers() -> dict:
    torch.manual_seed(0)
    ema, gate = EfficientMultiscaleAttention(12, groups=4), ChannelSpatialAttention(32)
    torch.nn.init.normal_(ema.norm.weight)
    torch.nn.init.normal_(ema.norm.bias)
    return {"ema": (ema, literal_ema, 12), "channel-spatial": (gate, literal_channel_spatial, 32)}


@pytest.mark.parametrize("name", ["ema", "channel-spatial"])
@pytest.mark.parametrize("size", [(5, 7), (4, 4), (1, 3)])
def test_the_layer_and_its_map_equal_the_equations(name, size):
    layer, literal, channels = layers()[name]
    x = features(2, channels, *size)
    with torch.no_grad():
        found, shown = layer.attend(x)
        wanted, wanted_map = literal(layer, x)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shown, wanted_map, atol=1e-5, rtol=1e-5)
    assert torch.equal(layer(x), found)


@pytest.mark.parametrize("name", ["ema", "channel-spatial"])
def test_gradcheck(name):
    layer, _, channels = layers()[name]
    x = features(1, channels, 2, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(layer.double(), x)


@pytest.mark.parametrize(("channels", "parameters"), [(16, 48), (128, 10 * 256 + 64)])
def test_parameters_of_multiscale_attention(channels, parameters):
    assert sum(value.numel() for value in EfficientMultiscaleAttention(channels).parameters()) == parameters


@pytest.mark.parametrize(("channels", "parameters"), [(96, 1_250), (8, 2 * 8 + 98)])
def test_parameters_of_channel_spatial_attention(channels, parameters):
    assert sum(value.numel() for value in ChannelSpatialAttention(channels).parameters()) == parameters


def test_impossible_groups_are_named():
    with pytest.raises(ValueError, match="channels=12, groups=8"):
        EfficientMultiscaleAttention(12)
