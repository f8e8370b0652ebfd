"""KAN linear layer: its closed-form splines against the recursion of Cox and de Boor."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from MedSegAttentionLib.networks.layers.kan_linear import KANLinear

torch.set_num_threads(1)


def cox_de_boor(x: Tensor, grid: int = 5, order: int = 3, low: float = -1.0, high: float = 1.0) -> Tensor:
    """B-splines of ``order`` by the recursion, ``[...] -> [..., grid + order]``."""
    h = (high - low) / grid
    knots = [low + h * (i - order) for i in range(grid + 2 * order + 1)]
    bases = [((x >= knots[i]) & (x < knots[i + 1])).to(x.dtype) for i in range(len(knots) - 1)]
    for k in range(1, order + 1):
        bases = [
            (x - knots[i]) / (knots[i + k] - knots[i]) * bases[i]
            + (knots[i + k + 1] - x) / (knots[i + k + 1] - knots[i + 1]) * bases[i + 1]
            for i in range(len(bases) - 1)
        ]
    return torch.stack(bases, dim=-1)


def a_layer(in_features: int = 5, out_features: int = 4, basis: str = "spline") -> KANLinear:
    torch.manual_seed(0)
    layer = KANLinear(in_features, out_features, basis)
    torch.nn.init.normal_(layer.spline_weight)
    return layer


def test_the_closed_form_equals_the_recursion_also_outside_the_range():
    x = torch.linspace(-3.1, 3.1, 1237)
    torch.testing.assert_close(a_layer().basis_values(x), cox_de_boor(x.double()).float(), atol=1e-6, rtol=0)


def test_splines_sum_to_one_inside_and_vanish_far_outside():
    layer = a_layer()
    inside = layer.basis_values(torch.linspace(-1, 1, 101)).sum(dim=-1)
    torch.testing.assert_close(inside, torch.ones(101), atol=1e-6, rtol=0)
    assert layer.basis_values(torch.tensor([-2.3, 2.3, 50.0, -1e3])).abs().max() < 1e-6


def test_the_layer_is_the_sum_over_its_edges():
    layer, x = a_layer(), torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(1))
    bases, wanted = cox_de_boor(x), torch.zeros(3, 2, 4)
    for j in range(4):
        for i in range(5):
            spline = (layer.spline_weight[j, i] * bases[..., i, :]).sum(dim=-1)
            wanted[..., j] += layer.base_weight[j, i] * F.silu(x[..., i]) + layer.spline_scale[j, i] * spline
    torch.testing.assert_close(layer(x), wanted, atol=1e-5, rtol=1e-5)


def test_the_gaussian_basis_is_another_function():
    layer, x = a_layer(basis="rbf"), torch.tensor([0.3])
    centres = torch.arange(-1.4, 1.5, 0.4)
    torch.testing.assert_close(layer.basis_values(x)[0], torch.exp(-(((0.3 - centres) / 0.4) ** 2)))


@pytest.mark.parametrize("basis", ["spline", "rbf"])
def test_gradcheck(basis):
    layer = a_layer(basis=basis).double()
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    layer(x).square().sum().backward()
    assert all(value.grad.abs().sum() > 0 for value in layer.parameters())


def test_ten_numbers_for_each_edge():
    assert sum(value.numel() for value in KANLinear(7, 9).parameters()) == 10 * 63


def test_the_first_splines_are_small_noise():
    layer = KANLinear(32, 32)
    curves = layer.basis_values(torch.linspace(-1, 1, 6)) @ layer.spline_weight.flatten(0, 1).T
    assert 0.005 < curves.abs().max() <= 0.0101  # +-0.05 / 5


def test_half_precision_places_inputs_on_the_grid_in_float32():
    layer, x = a_layer(), torch.randn(6, 5).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x)
    torch.testing.assert_close(found.float(), layer(x.float()), atol=0.05, rtol=0.05)


def test_an_unknown_basis_is_named():
    with pytest.raises(ValueError, match=r"'wavelet'.*spline, rbf"):
        KANLinear(2, 2, "wavelet")
