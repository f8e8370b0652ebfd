"""VMKLA-UNet (Scientific Reports 15:13258): the encoder of VM-UNet with a decoder of KAN linear attention.

Encoder, skips and expansions are those of :mod:`.vm_unet`. A decoder block (MKCSA), on ``[B, h, w, C]``:

    x = x + depthwise3x3(x)                                  position, learned from the neighbourhood
    y = LN x
    main = LN(KAN linear attention(SiLU(depthwise3x3(W y))))
    side = spatial attention(channel attention(y))
    x = x + DropPath(W (main * side))
    x = x + depthwise3x3(x)
    x = x + DropPath(MLP(LN x))                              C -> 4C -> C, GELU

The block is built as the paper describes it. The released code differs in five ways that are not followed: its rotary
encoding sees one axis only, its B-spline recursion lacks brackets, it reshapes between layouts where it should permute
(tokens and channels get mixed), its "maximum" in the channel attention is a second mean, and its learning rate rises
again after 50 epochs. The published scores come from that code.

Variants of the paper's ablation (``variant``), as far as it tells: ``"mkcsa"`` as above; ``"mkla"`` without channel and
spatial attention, with MLLA's gate ``SiLU(W y)`` as the side branch; ``"csa"`` with the side branch alone; ``"mlla"``
and ``"mlcsa"`` as ``"mkla"`` and ``"mkcsa"``, with one linear layer instead of the KAN for queries and keys.

Three channels in and one out, decoder 2-2-2-1: 44.97 M parameters at the released encoder depths 2-2-9-2, 36.60 M at
2-2-2-2; ``width=16``: 2.34 M and 1.95 M.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from .layers.channel_spatial_attention import ChannelSpatialAttention
from .layers.kan_linear_attention import KANLinearAttention
from .picture_network import Record
from .vm_unet import VMUNet, drop_path

VARIANTS = ("mkcsa", "mkla", "csa", "mlla", "mlcsa")
HEAD_WIDTH = 32


def head_count(channels: int) -> int:
    """Heads of about 32 channels, a divisor of ``channels``: 3, 6, 12, 24 at the published widths."""
    return next(heads for heads in range(max(1, channels // HEAD_WIDTH), 0, -1) if channels % heads == 0)


class MKCSABlock(nn.Module):
    """Decoder block, ``[B, h, w, C] -> [B, h, w, C]``; see the module for its equations and variants."""

    def __init__(self, channels: int, drop_rate: float, variant: str) -> None:
        super().__init__()
        self.drop_rate = drop_rate
        self.position = nn.ModuleList(_depthwise(channels) for _ in range(2))
        self.norm = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        attends = variant != "csa"
        self.in_projection = nn.Linear(channels, channels) if attends else None
        self.depthwise = _depthwise(channels) if attends else None
        kan = variant.startswith("mk")
        self.attention = KANLinearAttention(channels, head_count(channels), kan=kan) if attends else None
        self.attention_norm = nn.LayerNorm(channels) if attends else None
        self.channel_spatial = ChannelSpatialAttention(channels) if variant.endswith("csa") else None
        self.side = nn.Linear(channels, channels) if self.channel_spatial is None else None
        self.out_projection = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor, place: str, record: Record | None) -> Tensor:
        """``[B, h, w, C] -> [B, h, w, C]``; records ``spatial_PLACE`` and ``received_PLACE``."""
        x = x + _channels_last(self.position[0], x)
        y = self.norm[0](x)
        mixed = self._side(y, place, record)
        if self.attention is not None:
            mixed = mixed * self._main(y, place, record)
        x = x + drop_path(self.out_projection(mixed), self.drop_rate, training=self.training)
        x = x + _channels_last(self.position[1], x)
        return x + drop_path(self.mlp(self.norm[1](x)), self.drop_rate, training=self.training)

    def _main(self, y: Tensor, place: str, record: Record | None) -> Tensor:
        """Linear attention over all positions."""
        y = F.silu(_channels_last(self.depthwise, self.in_projection(y)))
        attended = self.attention.attend(y)
        if record is not None:
            record.inputs[place] = y
            received = self.attention.received(attended.query, attended.key, *y.shape[1:3])
            record.maps[f"received_{place}"] = received.float()
        return self.attention_norm(attended.tokens)

    def _side(self, y: Tensor, place: str, record: Record | None) -> Tensor:
        """Channel and spatial attention, or MLLA's gate."""
        if self.channel_spatial is None:
            return F.silu(self.side(y))
        gated, spatial = self.channel_spatial.attend(y.movedim(3, 1))
        if record is not None:
            record.maps[f"spatial_{place}"] = spatial
        return gated.movedim(1, 3)


def _depthwise(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels)


def _channels_last(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """``convolution`` on ``[B, h, w, C]``."""
    return convolution(x.movedim(3, 1)).movedim(1, 3)


class VMKLAUNet(VMUNet):
    """VMKLA-UNet.

    Args:
        in_channels: channels of the picture.
        out_channels: ``K``, one logit map for each class.
        width: channels of the first stage, a multiple of 8 (paper: 96; 16 gives 2.34 M parameters).
        depths: blocks of the four encoder stages (released: 2-2-9-2; the paper also 2-2-2-2).
        variant: decoder block, one of ``mkcsa``, ``mkla``, ``csa``, ``mlla``, ``mlcsa``.
        **options: ``decoder_depths``, ``drop_rate``, ``scan``, ``dynamic_tau`` of :class:`~.vm_unet.VMUNet`.

    Attention maps, each ``[B, 1, h, w]`` in [0, 1], for block J of decoder stage I (both from 1; stage 1, the
    deepest, at 1/32, stage 4 at 1/4), besides the ``step_encoderI_J`` of :class:`~.vm_unet.VMUNet`:
        ``spatial_decoderI_J``: the gate of the spatial attention: the share of the features that passes.
        ``received_decoderI_J``: how much linear attention a position receives from all others, 1/2 for the average; see
        :meth:`~.layers.kan_linear_attention.KANLinearAttention.received`.
        Neither says for which class, nor how certain the network is.

    Raises:
        ValueError: unknown ``variant``, or what :class:`~.vm_unet.VMUNet` refuses.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 96,
        depths: Sequence[int] = (2, 2, 9, 2),
        variant: str = "mkcsa",
        **options: Any,
    ) -> None:
        if variant not in VARIANTS:
            raise ValueError(f"variant '{variant}' is not known; expected one of {', '.join(VARIANTS)}")
        self.variant = variant
        super().__init__(in_channels, out_channels, width=width, depths=depths, **options)

    def decoder_block(self, channels: int, drop_rate: float) -> nn.Module:
        """A block of the decoder."""
        return MKCSABlock(channels, drop_rate, self.variant)

    @property
    def cells(self) -> dict[str, int]:
        """Stage with a row of attention -> pixels of the picture to one of its positions."""
        rows = {}
        for stage, blocks in enumerate(self.decoder, start=1):
            for number, block in enumerate(blocks, start=1):
                if block.attention is not None:
                    rows[f"decoder{stage}_{number}"] = self.stride // 2 ** (stage - 1)
        return super().cells | rows

    def row_layer(self, stage: str) -> nn.Module:
        """The layer whose ``row`` takes the recorded input of ``stage``."""
        if stage == "bottleneck":
            return super().row_layer(stage)
        number, block = stage.removeprefix("decoder").split("_")
        return self.decoder[int(number) - 1][int(block) - 1].attention


NETWORKS = {"vmkla-unet": VMKLAUNet}
