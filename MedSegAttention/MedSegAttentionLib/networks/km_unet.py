"""KM-UNet (Zhang, arXiv 2501.02559): a U-KAN whose skips and decoder pass through SS2D and multi-scale attention.

With w = ``width`` (paper: 16), on a picture of H x W:

* three convolution stages w, 2w, 8w at 1/2, 1/4, 1/8 (two 3x3 convolutions, pooling);
* two token stages 10w, 16w at 1/16, 1/32 (3x3 convolution of stride 2, LayerNorm, one Tok-KAN block each);
* SEM = SS2D (:mod:`.layers.ss2d`), then EMA (:mod:`.layers.efficient_multiscale_attention`), on each of the three
  convolution skips, and in the decoder after each of the four additions of a skip.

Where paper and released code differ, the code is the default and the paper a switch: the paper draws Tok-KAN blocks in
the decoder (``decoder_kan``; the code builds them and never calls them) and a scan "from the outside to the centre"
(``scan="spiral"``; the code scans row by row and column by column). The code ignores the number of input channels;
here it is honoured.

Parameters, three channels in and one out: 5,739,009. The released code counts 7,012,554, because it builds two Tok-KAN
blocks (1,270,464), two norms (576) and three CBAM layers (2,505) that it never calls; the paper prints 7.35 M, which
nothing released explains. The paper's 17.66 "Gflops" is a count of multiply-accumulates for a batch of 8.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from .layers.efficient_multiscale_attention import EfficientMultiscaleAttention
from .layers.gated_convolution import GatedConvolution
from .layers.kan_linear import KANLinear
from .layers.ss2d import SS2D
from .picture_network import PictureNetwork, Record

STRIDE = 32
FACTORS = (1, 2, 8, 10, 16)
"""Channels of the five stages over ``width``."""


def conv_norm_act(before: int, after: int, groups: int = 1) -> nn.Sequential:
    """3x3 convolution with bias, batch normalisation, ReLU: ``[B, before, h, w] -> [B, after, h, w]``."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, groups=groups), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


class TokenKAN(nn.Module):
    """Tok-KAN block with the norm after it, ``[B, C, h, w] -> [B, C, h, w]``.

    ``LN(x + f(f(f(LN x))))``, f = KAN linear C -> C, depthwise 3x3, batch norm, ReLU. With ``basis="mlp"`` one plain
    linear layer stands for each KAN linear.
    """

    def __init__(self, channels: int, basis: str) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(channels), nn.LayerNorm(channels)
        linear = nn.Linear if basis == "mlp" else partial(KANLinear, basis=basis)
        self.linear = nn.ModuleList(linear(channels, channels) for _ in range(3))
        self.mix = nn.ModuleList(conv_norm_act(channels, channels, groups=channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w] -> [B, C, h, w]``."""
        tokens = x.movedim(1, 3)
        y = self.before(tokens)
        for linear, mix in zip(self.linear, self.mix, strict=True):
            y = mix(linear(y).movedim(3, 1)).movedim(1, 3)
        return self.after(tokens + y).movedim(3, 1)


class Tokenizer(nn.Module):
    """3x3 convolution of stride 2 and LayerNorm: ``[B, before, h, w] -> [B, after, h / 2, w / 2]``."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(after)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, before, h, w] -> [B, after, h / 2, w / 2]``."""
        return self.norm(self.convolution(x).movedim(1, 3)).movedim(3, 1)


class SEM(nn.Module):
    """SS2D, then EMA: ``[B, C, h, w] -> [B, C, h, w]``.

    Args:
        channels: ``C``, a multiple of 8.
        scan: order of the scan, see :mod:`.layers.ss2d`; or ``"convolution"``, see :mod:`.layers.gated_convolution`.
        residual: ``x + EMA(SS2D(LN x))`` in place of ``EMA(SS2D(x))``; not in the released code.
    """

    def __init__(self, channels: int, scan: str, *, residual: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels) if residual else None
        self.ss2d = GatedConvolution(channels) if scan == "convolution" else SS2D(channels, scan=scan)
        self.ema = EfficientMultiscaleAttention(channels)

    def forward(self, x: Tensor, place: str, record: Record | None) -> Tensor:
        """``[B, C, h, w] -> [B, C, h, w]``; adds the maps of ``place`` unless ``record`` is None."""
        tokens = x.movedim(1, 3)
        tokens = tokens if self.norm is None else self.norm(tokens)
        scanned, step = self.ss2d.scan_with_step(tokens, wants_step=record is not None)
        out, gate = self.ema.attend(scanned.movedim(3, 1))
        if record is not None:
            record.maps[f"ema_{place}"] = gate
            if step is not None:
                record.maps[f"step_{place}"] = step
        return out if self.norm is None else x + out


class KMUNet(PictureNetwork):
    """KM-UNet.

    Args:
        in_channels: channels of the picture.
        out_channels: ``K``, one logit map for each class.
        width: channels of the first stage, a multiple of 8 (paper: 16).
        scan: ``"cross"`` (released code), ``"spiral"`` (the paper's words), or ``"convolution"``: none, for comparison.
        decoder_kan: Tok-KAN blocks after the SEM at 1/16 and 1/8 in the decoder (the paper's figure).
        residual_sem: SEM with a norm before and the input added after it (neither paper nor code; steadier to train).
        basis: ``"spline"`` (paper) or ``"rbf"``, see :mod:`.layers.kan_linear`; or ``"mlp"``: no KAN, for comparison.
        dynamic_tau: see :class:`~.picture_network.PictureNetwork`.

    Attention maps, each ``[B, 1, h, w]`` in [0, 1], at seven places: ``skip1`` (1/2), ``skip2`` (1/4), ``skip3`` (1/8),
    and ``decoder1`` (1/16) to ``decoder4`` (1/2):
        ``ema_PLACE``: share of the features that the multi-scale attention lets pass, mean over its 8 groups.
        ``step_PLACE``: how much a position replaces in the state of the scan, see :class:`~.layers.ss2d.SS2D`; not
            without a scan.
        Neither says for which class, nor how certain the network is.

    Raises:
        ValueError: ``width`` is not a multiple of 8, or an unknown ``scan`` or ``basis``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 16,
        scan: str = "cross",
        decoder_kan: bool = False,
        residual_sem: bool = False,
        basis: str = "spline",
        dynamic_tau: bool = False,
    ) -> None:
        if width <= 0 or width % 8:
            raise ValueError(f"width must be a positive multiple of 8; got {width}")
        w1, w2, w3, w4, w5 = widths = tuple(factor * width for factor in FACTORS)
        super().__init__(in_channels, out_channels, stride=STRIDE, deepest=w5, dynamic_tau=dynamic_tau)
        sem = partial(SEM, scan=scan, residual=residual_sem)
        self.encoder = nn.ModuleList(
            nn.Sequential(conv_norm_act(before, after), conv_norm_act(after, after))
            for before, after in ((in_channels, w1), (w1, w2), (w2, w3))
        )
        self.tokenizers = nn.ModuleList((Tokenizer(w3, w4), Tokenizer(w4, w5)))
        self.token_blocks = nn.ModuleList((TokenKAN(w4, basis), TokenKAN(w5, basis)))
        self.skip_sem = nn.ModuleList(sem(channels) for channels in widths[:3])
        steps = ((w5, w4), (w4, w3), (w3, w2), (w2, w1), (w1, w1))
        self.decoder = nn.ModuleList(
            nn.Sequential(conv_norm_act(before, before), conv_norm_act(before, after)) for before, after in steps
        )
        self.decoder_sem = nn.ModuleList(sem(channels) for channels in (w4, w3, w2, w1))
        self.decoder_kan = nn.ModuleList((TokenKAN(w4, basis), TokenKAN(w3, basis)) if decoder_kan else ())
        self.head = nn.Conv2d(w1, out_channels, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the convolutions of the plain stages Kaiming-normal; the layers have drawn their own."""
        for module in (self.encoder, self.decoder, self.tokenizers, self.token_blocks, self.decoder_kan):
            for child in module.modules():
                if isinstance(child, nn.Conv2d):
                    nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
                    nn.init.zeros_(child.bias)

    def segment(self, x: Tensor, record: Record | None) -> Tensor:
        """``[B, in_channels, H, W] -> [B, K, H, W]``, H and W multiples of 32."""
        skips: list[Tensor] = []
        for number, (block, sem) in enumerate(zip(self.encoder, self.skip_sem, strict=True), start=1):
            x = F.relu(F.max_pool2d(block(x), 2))
            skips.append(sem(x, f"skip{number}", record))
        for tokenizer, block in zip(self.tokenizers, self.token_blocks, strict=True):
            x = block(tokenizer(x))
            skips.append(x)
        x = self.at_bottleneck(skips.pop(), record)
        for number, block in enumerate(self.decoder):
            x = F.relu(F.interpolate(block(x), scale_factor=2.0, mode="bilinear", align_corners=False))
            if skips:
                x = self.decoder_sem[number](x + skips.pop(), f"decoder{number + 1}", record)
            if number < len(self.decoder_kan):
                x = self.decoder_kan[number](x)
        return self.head(x)


NETWORKS = {"km-unet": KMUNet}
