"""VM-UNet (Ruan and Xiang, arXiv 2402.02491): a U of visual state-space blocks; the baseline of VMKLA-UNet.

With w = ``width`` (paper: 96), on a picture of H x W:

* patch embedding: 4x4 convolution of stride 4 to w channels, LayerNorm; no position embedding;
* encoder of four stages w, 2w, 4w, 8w at 1/4, 1/8, 1/16, 1/32, of ``x + DropPath(SS2D(LN x))`` blocks without an MLP;
  patch merging between them (2x2 positions joined, LayerNorm, linear 4C -> 2C);
* decoder of four stages 8w, 4w, 2w, w; all but the first begin by adding the *input* of the encoder stage of the same
  size and expanding it (linear C -> 2C, pixel shuffle 2x2, LayerNorm). That of the first encoder stage is not used;
* final expansion: linear w -> 4w, pixel shuffle 4x4, LayerNorm, 1x1 convolution to the classes.

27.43 M parameters at depths 2-2-2-2 and 2-2-2-1 with three channels in and one out. Logits come out, also for one
class (the released code applies the sigmoid inside).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .layers.ss2d import SS2D
from .picture_network import PictureNetwork, Record

STRIDE, PATCH, STAGES = 32, 4, 4


def drop_path(x: Tensor, rate: float, *, training: bool) -> Tensor:
    """Drop the residual branch ``x`` of whole pictures with probability ``rate``, scaled to keep its mean."""
    if not training or rate == 0:
        return x
    kept = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= rate
    return x * kept.to(x.dtype) / (1 - rate)


def spread_drop_rates(rate: float, blocks: int) -> list[float]:
    """Drop rates of a row of blocks, from 0 at the first to ``rate`` at the last."""
    return [rate * number / max(1, blocks - 1) for number in range(blocks)]


class VSSBlock(nn.Module):
    """Visual state-space block ``x + DropPath(SS2D(LN x))``, ``[B, h, w, C] -> [B, h, w, C]``."""

    def __init__(self, channels: int, drop_rate: float, scan: str) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.ss2d = SS2D(channels, scan=scan)
        self.drop_rate = drop_rate

    def forward(self, x: Tensor, place: str, record: Record | None) -> Tensor:
        """``[B, h, w, C] -> [B, h, w, C]``; records ``step_PLACE``."""
        y, step = self.ss2d.scan_with_step(self.norm(x), wants_step=record is not None)
        if record is not None:
            record.maps[f"step_{place}"] = step
        return x + drop_path(y, self.drop_rate, training=self.training)


class PatchMerging(nn.Module):
    """``[B, h, w, C] -> [B, h / 2, w / 2, 2C]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduce = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, h, w, C] -> [B, h / 2, w / 2, 2C]``."""
        batch, height, width, channels = x.shape
        x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 4, 2, 5)
        return self.reduce(self.norm(x.flatten(3)))


class PatchExpand(nn.Module):
    """``[B, h, w, C] -> [B, f h, f w, factor C / f^2]``: linear without bias, pixel shuffle, LayerNorm."""

    def __init__(self, channels: int, factor: int, side: int) -> None:
        super().__init__()
        self.side, after = side, factor * channels // side**2
        self.expand = nn.Linear(channels, factor * channels, bias=False)
        self.norm = nn.LayerNorm(after)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        batch, height, width, _ = x.shape
        x = self.expand(x).reshape(batch, height, width, self.side, self.side, -1).transpose(2, 3)
        return self.norm(x.reshape(batch, height * self.side, width * self.side, -1))


class VMUNet(PictureNetwork):
    """VM-UNet.

    Args:
        in_channels: channels of the picture.
        out_channels: ``K``, one logit map for each class.
        width: channels of the first stage, a multiple of 8 (paper: 96).
        depths: blocks of the four encoder stages.
        decoder_depths: blocks of the four decoder stages, deepest first.
        drop_rate: probability of dropping a residual branch at the last encoder block and at the first decoder block;
            it rises from 0 along the encoder and falls to 0 along the decoder.
        scan: ``"cross"`` (published) or ``"spiral"``, see :mod:`.layers.ss2d`.
        dynamic_tau: see :class:`~.picture_network.PictureNetwork`.

    Attention maps, each ``[B, 1, h, w]`` in [0, 1): ``step_encoderI_J`` and ``step_decoderI_J`` for block J of stage I
    (both from 1; decoder stage 1 is the deepest): how much a position replaces in the state of the scan, see
    :class:`~.layers.ss2d.SS2D`. It says nothing of classes or certainty.

    Raises:
        ValueError: ``width`` is not a multiple of 8, other than four depths, or an unknown ``scan``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 96,
        depths: Sequence[int] = (2, 2, 2, 2),
        decoder_depths: Sequence[int] = (2, 2, 2, 1),
        drop_rate: float = 0.1,
        scan: str = "cross",
        dynamic_tau: bool = False,
    ) -> None:
        if width <= 0 or width % 8:
            raise ValueError(f"width must be a positive multiple of 8; got {width}")
        for name, value in (("depths", depths), ("decoder_depths", decoder_depths)):
            if len(value) != STAGES or min(value) < 1:
                raise ValueError(f"{name} must be {STAGES} positive numbers; got {list(value)}")
        widths = [width * 2**stage for stage in range(STAGES)]
        super().__init__(in_channels, out_channels, stride=STRIDE, deepest=widths[-1], dynamic_tau=dynamic_tau)
        self.scan = scan
        self.embed = nn.Conv2d(in_channels, width, PATCH, stride=PATCH)
        self.embed_norm = nn.LayerNorm(width)
        rates = iter(spread_drop_rates(drop_rate, sum(depths)))
        self.encoder = nn.ModuleList(
            nn.ModuleList(VSSBlock(channels, next(rates), scan) for _ in range(depth))
            for channels, depth in zip(widths, depths, strict=True)
        )
        self.merge = nn.ModuleList(PatchMerging(channels) for channels in widths[:-1])
        rates = iter(spread_drop_rates(drop_rate, sum(decoder_depths))[::-1])
        self.decoder = nn.ModuleList(
            nn.ModuleList(self.decoder_block(channels, next(rates)) for _ in range(depth))
            for channels, depth in zip(widths[::-1], decoder_depths, strict=True)
        )
        self.expand = nn.ModuleList(PatchExpand(channels, 2, 2) for channels in widths[:0:-1])
        self.final_expand = PatchExpand(width, PATCH, PATCH)
        self.head = nn.Conv2d(width // PATCH, out_channels, 1)
        self.reset_parameters()

    def decoder_block(self, channels: int, drop_rate: float) -> nn.Module:
        """A block of the decoder, called like :class:`VSSBlock`."""
        return VSSBlock(channels, drop_rate, self.scan)

    def reset_parameters(self) -> None:
        """Draw every linear layer from a normal distribution of width 0.02, cut at 2; biases become zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def segment(self, x: Tensor, record: Record | None) -> Tensor:
        """``[B, in_channels, H, W] -> [B, K, H, W]``, H and W multiples of 32."""
        x = self.embed_norm(self.embed(x).movedim(1, 3))
        skips: list[Tensor] = []
        for stage, blocks in enumerate(self.encoder):
            x = self.merge[stage - 1](x) if stage else x
            skips.append(x)
            for number, block in enumerate(blocks, start=1):
                x = block(x, f"encoder{stage + 1}_{number}", record)
        x = self.at_bottleneck(x.movedim(3, 1), record).movedim(1, 3)
        for stage, blocks in enumerate(self.decoder):
            if stage:
                x = self.expand[stage - 1](x + skips.pop())
            for number, block in enumerate(blocks, start=1):
                x = block(x, f"decoder{stage + 1}_{number}", record)
        return self.head(self.final_expand(x).movedim(3, 1))


NETWORKS = {"vm-unet": VMUNet}
