"""Linear layer of a Kolmogorov-Arnold network (Liu et al., arXiv 2404.19756, section 2.2), on a uniform grid.

Instead of one weight, each edge i -> j has a learned function of one variable:

    out_j = sum_i phi_ij(x_i),   phi_ij(x) = w_ij SiLU(x) + s_ij sum_g c_ijg B_g(x)

``B_g`` are the 8 cubic B-splines of a uniform grid of 5 intervals on [-1, 1] (width h = 0.4, extended by 3 knots on
either side). On such a grid the recursion of Cox and de Boor has a closed form: with centre ``m_g`` and
``u = |x - m_g| / h``,

    B_g(x) = ((2 - u)_+^3 - 4 (1 - u)_+^3) / 6

Outside [-1 - 3h, 1 + 3h] every spline is 0 and only the SiLU acts: put a norm before the layer. The grid is never
adapted. ``basis="rbf"`` takes ``exp(-u^2)`` instead (FastKAN, arXiv 2405.06721): faster, but another family of
functions, and not the one of the papers here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GRID, ORDER, RANGE = 5, 3, (-1.0, 1.0)
SPACING = (RANGE[1] - RANGE[0]) / GRID
SPLINES = GRID + ORDER
BASES = ("spline", "rbf")
NOISE = 0.1


def spline_centres() -> Tensor:
    """``m_g``, the middle of each spline's support, ``[8]``."""
    return RANGE[0] + SPACING * (torch.arange(SPLINES) - (ORDER - 1) / 2)


class KANLinear(nn.Module):
    """KAN linear layer: 10 numbers for each edge (1 for the SiLU, 8 splines, 1 scale), no bias.

    Args:
        in_features: size of the last dimension of the input.
        out_features: size of the last dimension of the output.
        basis: ``"spline"`` or ``"rbf"``.

    Shape:
        ``[..., in_features] -> [..., out_features]``
    """

    def __init__(self, in_features: int, out_features: int, basis: str = "spline") -> None:
        super().__init__()
        if basis not in BASES:
            raise ValueError(f"basis '{basis}' is not known; expected one of {', '.join(BASES)}")
        self.in_features, self.out_features, self.basis = in_features, out_features, basis
        self.base_weight = nn.Parameter(torch.empty(out_features, in_features))
        self.spline_weight = nn.Parameter(torch.empty(out_features, in_features, SPLINES))
        self.spline_scale = nn.Parameter(torch.empty(out_features, in_features))
        self.register_buffer("centres", spline_centres(), persistent=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Base and scale Kaiming-uniform; splines fitted by least squares to small noise at the knots."""
        nn.init.kaiming_uniform_(self.base_weight, a=math.sqrt(5))
        nn.init.kaiming_uniform_(self.spline_scale, a=math.sqrt(5))
        at_knots = self.basis_values(torch.linspace(*RANGE, GRID + 1, device=self.centres.device))
        noise = (
            (torch.rand(GRID + 1, self.out_features * self.in_features, device=at_knots.device) - 0.5) * NOISE / GRID
        )
        fitted = torch.linalg.pinv(at_knots) @ noise
        self.spline_weight.copy_(fitted.T.reshape(self.spline_weight.shape))

    def basis_values(self, x: Tensor) -> Tensor:
        """``B_g(x)``: ``[...] -> [..., 8]``, for splines in [0, 2/3] with sum 1 on [-1, 1]."""
        u = (x.unsqueeze(-1) - self.centres.to(x.dtype)) / SPACING
        if self.basis == "rbf":
            return torch.exp(-u.square())
        u = u.abs()
        return (F.relu(2 - u).pow(3) - 4 * F.relu(1 - u).pow(3)) / 6

    def forward(self, x: Tensor) -> Tensor:
        """``[..., in_features] -> [..., out_features]``."""
        # float32 in autocast too: half precision would place x within a hundredth of the grid's width at best.
        splines = self.basis_values(x.float() if x.dtype in (torch.bfloat16, torch.float16) else x).flatten(-2)
        weight = (self.spline_weight * self.spline_scale.unsqueeze(-1)).flatten(1)
        return F.linear(F.silu(x), self.base_weight) + F.linear(splines, weight)
