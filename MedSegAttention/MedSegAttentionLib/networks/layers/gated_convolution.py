"""SS2D (:mod:`.ss2d`) with a convolution in the place of its scan.

    x, z = split(W_in u)                                C -> 2 * inner, inner = 2 C
    x    = SiLU(depthwise 3x3 (x))
    y    = depthwise 7x7 (x)                            instead of the selective scan in four directions
    out  = W_out (LayerNorm(y) * SiLU(z))               inner -> C

Not a published layer: it is what the scan has to beat.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

KERNEL, EXPAND = 7, 2


class GatedConvolution(nn.Module):
    """See the module.

    Args:
        channels: ``C``.

    Shape:
        ``[B, h, w, C] -> [B, h, w, C]`` (channels last).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = EXPAND * channels
        self.in_projection = nn.Linear(channels, 2 * inner, bias=False)
        self.depthwise = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.mixing = nn.Conv2d(inner, inner, KERNEL, padding=KERNEL // 2, groups=inner)
        self.norm = nn.LayerNorm(inner)
        self.out_projection = nn.Linear(inner, channels, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        """``[B, h, w, C] -> [B, h, w, C]``."""
        x, z = self.in_projection(u).chunk(2, dim=-1)
        y = self.mixing(F.silu(self.depthwise(x.movedim(-1, 1)))).movedim(1, -1)
        return self.out_projection(self.norm(y) * F.silu(z))

    def scan_with_step(self, u: Tensor, *, wants_step: bool = True) -> tuple[Tensor, None]:
        """As :meth:`.ss2d.SS2D.scan_with_step`; there is no step."""
        return self(u), None
