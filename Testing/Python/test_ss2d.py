"""The 2-D selective scan: its directions, and the layer against its equations written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from MedSegAttentionLib.networks.layers.ss2d import SCANS, SS2D, scan_order
from test_selective_scan import literal_scan

torch.set_num_threads(1)


def a_layer(scan: str = "cross", channels: int = 6, states: int = 3) -> SS2D:
    torch.manual_seed(0)
    layer = SS2D(channels, states=states, scan=scan)
    with torch.no_grad():
        layer.dt_bias.add_(2)  # lively steps
        layer.in_projection.weight.mul_(2)
    return layer


def literal_ss2d(layer: SS2D, u: Tensor) -> tuple[Tensor, Tensor]:
    """Features and step map by the equations, every direction on its own sequence."""
    batch, height, width, _ = u.shape
    inner = layer.d.shape[1]
    both = u @ layer.in_projection.weight.T
    x, z = both[..., :inner], both[..., inner:]
    x = F.conv2d(x.permute(0, 3, 1, 2), layer.depthwise.weight, layer.depthwise.bias, padding=1, groups=inner)
    x = F.silu(x).permute(0, 2, 3, 1).reshape(batch, height * width, inner)
    total, share = torch.zeros_like(x), torch.zeros(batch, height * width)
    for k, order in enumerate(scan_order(height, width, layer.scan).tolist()):
        sequence = x[:, order]
        low, write, read = (sequence @ layer.x_projection[k].T).split([layer.rank, layer.states, layer.states], dim=-1)
        dt = F.softplus(low @ layer.dt_weight[k].T + layer.dt_bias[k])
        a = -torch.exp(layer.a_log[k]).T
        sequence, dt, write, read = (value.transpose(0, 1)[:, :, None] for value in (sequence, dt, write, read))
        y = literal_scan(sequence, dt, a[None], write, read, layer.d[k][None])
        for place, position in enumerate(order):
            total[:, position] += y[place, :, 0]
            share[:, position] += (1 - torch.exp(-dt[place, :, 0])).mean(dim=-1) / 4
    normed = F.layer_norm(total, (inner,), layer.norm.weight, layer.norm.bias).reshape(batch, height, width, inner)
    return (normed * F.silu(z)) @ layer.out_projection.weight.T, share.reshape(batch, 1, height, width)


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("size", [(5, 7), (4, 4), (1, 3), (6, 1)])
def test_the_layer_equals_its_equations(scan, size):
    layer = a_layer(scan)
    u = torch.randn(2, *size, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features, step = layer.scan_with_step(u)
        wanted, wanted_step = literal_ss2d(layer, u)
    torch.testing.assert_close(features, wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(step, wanted_step, atol=1e-5, rtol=1e-5)
    assert torch.equal(layer(u), features)
    assert 0 < step.min() < step.max() < 1


def test_gradcheck():
    layer = a_layer(channels=2, states=2).double()
    u = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, u)
    layer(u).square().sum().backward()
    assert all(value.grad.abs().sum() > 0 for value in layer.parameters())


def test_cross_goes_by_rows_by_columns_and_back():
    assert scan_order(2, 3, "cross").tolist() == [
        [0, 1, 2, 3, 4, 5],
        [0, 3, 1, 4, 2, 5],
        [5, 4, 3, 2, 1, 0],
        [5, 2, 4, 1, 3, 0],
    ]


def test_spiral_goes_from_the_outside_to_the_centre_and_back():
    order = scan_order(3, 4, "spiral").tolist()
    assert order[0] == [0, 1, 2, 3, 7, 11, 10, 9, 8, 4, 5, 6]
    assert order[1] == [0, 4, 8, 9, 10, 11, 7, 3, 2, 1, 5, 6]
    assert order[2:] == [order[0][::-1], order[1][::-1]]


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (6, 1), (5, 5), (4, 7)])
def test_every_direction_visits_every_position_once_and_spirals_move_inwards(size):
    for scan in SCANS:
        for order in scan_order(*size, scan):
            assert sorted(order.tolist()) == list(range(size[0] * size[1]))
    rows, columns = scan_order(*size, "spiral")[0] // size[1], scan_order(*size, "spiral")[0] % size[1]
    depth = torch.stack((rows, columns, size[0] - 1 - rows, size[1] - 1 - columns)).amin(dim=0)
    assert (depth.diff() >= 0).all()


@pytest.mark.parametrize(("channels", "parameters"), [(96, 105_216), (192, 339_456), (768, 4_454_400)])
def test_parameters(channels, parameters):
    assert sum(value.numel() for value in SS2D(channels).parameters()) == parameters


def test_the_first_steps_lie_in_their_range():
    dt = F.softplus(SS2D(32).dt_bias)
    assert dt.min() >= 1e-3 - 1e-6
    assert dt.max() <= 0.1 + 1e-6


def test_autocast_scans_in_float32():
    layer = a_layer()
    with torch.autocast("cpu", torch.bfloat16):
        features, step = layer.scan_with_step(torch.randn(1, 4, 4, 6))
    features.float().sum().backward()
    assert step.dtype == torch.float32
    assert all(torch.isfinite(value.grad).all() for value in layer.parameters())


def test_an_unknown_scan_is_named():
    with pytest.raises(ValueError, match=r"'zigzag'.*cross, spiral"):
        SS2D(4, scan="zigzag")
