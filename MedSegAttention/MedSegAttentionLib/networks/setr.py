"""SETR (Zheng et al., arXiv 2012.15840) with QKV, KV or KV+Pos attention (Hwa et al., arXiv 2503.18862).

A plain vision transformer on patches of 16 x 16 pixels, then a convolutional decoder. The paper on KV attention gives
neither depth, width nor decoder; settled here: 12 layers of 384 channels (ViT-S; ``width=768`` is ViT-B), heads of 64,
an MLP of 4, and SETR's decoder by progressive upsampling (PUP):

    4 x (3x3 convolution to 256 channels, norm, ReLU, bilinear upsampling x 2), 1x1 convolution to the classes

SETR's auxiliary heads are left out. One channel in, three classes, 256 x 256 (``complexity`` counts them):

    width 768   QKV 88.992 M, 36.19 G MAC   KV 81.905 M, 34.38 G    -8.0 % parameters, -5.0 % MAC
    width 384   QKV 24.148 M, 19.03 G MAC   KV 22.374 M, 18.57 G    -7.3 %, -2.4 %
    width 128   QKV 3.036 M                 KV 2.838 M              small enough to ship

The paper's "about 10 %" depends on what is counted. KV leaves 1 / (4 + 2 mlp_ratio) of the transformer out: 8.3 % at
``mlp_ratio=4``, 10.0 % at 3; a heavy decoder dilutes it, ``decoder="naive"`` hardly does.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .layers.convolution import ConvNormAct, initialise_convolutions
from .layers.key_value_attention import check_attention
from .layers.transformer import TransformerBlock, VisionTransformer
from .picture_network import PictureNetwork, Record

PATCH, DEFAULT_SIZE, DECODER_WIDTH = 16, 256, 256
DECODERS = ("pup", "naive")


def default_grid(stride: int) -> tuple[int, int]:
    """(rows, columns) of a grid of one cell for ``stride`` pixels at the default picture size of 256 x 256."""
    return DEFAULT_SIZE // stride, DEFAULT_SIZE // stride


class ProgressiveUpsampling(nn.Module):
    """SETR-PUP, ``[B, before, h, w] -> [B, classes, 16 h, 16 w]``.

    Args:
        before: channels of the encoder.
        width: channels of the decoder.
        classes: logit maps.
    """

    def __init__(self, before: int, width: int, classes: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ConvNormAct(before if step == 0 else width, width) for step in range(4))
        self.head = nn.Conv2d(width, classes, 1)
        initialise_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        for block in self.blocks:
            x = F.interpolate(block(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.head(x)


class NaiveUpsampling(nn.Module):
    """SETR-Naive, ``[B, before, h, w] -> [B, classes, 16 h, 16 w]``: two 1x1 convolutions, then one upsampling."""

    def __init__(self, before: int, width: int, classes: int) -> None:
        super().__init__()
        self.block = ConvNormAct(before, width, 1)
        self.head = nn.Conv2d(width, classes, 1)
        initialise_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.interpolate(self.head(self.block(x)), scale_factor=16.0, mode="bilinear", align_corners=False)


class TransformerNetwork(PictureNetwork):
    """What the three SETR share: rows of attention for each of their transformer blocks."""

    @property
    def attention_layers(self) -> dict[str, tuple[TransformerBlock, int]]:
        """Place -> the block there, and pixels of the picture to one of its positions.

        Those of ``self.transformer`` at the stride of the network; one built otherwise says which it has.
        """
        return {place: (block, self.stride) for place, block in self.transformer.blocks.items()}

    @property
    def cells(self) -> dict[str, int]:
        """Stage with a row of attention -> pixels of the picture to one of its positions."""
        return super().cells | {place: cell for place, (_, cell) in self.attention_layers.items()}

    def row_layer(self, stage: str) -> nn.Module:
        """The layer whose ``row`` takes the recorded input of ``stage``."""
        return super().row_layer(stage) if stage == "bottleneck" else self.attention_layers[stage][0].attention


class SETR(TransformerNetwork):
    """SETR.

    Args:
        in_channels: channels of the picture.
        out_channels: ``K``, one logit map for each class.
        width: channels of the transformer, a multiple of 8 (384 and 768 are ViT-S and ViT-B; 128 gives 3 M parameters).
        attention: ``"qkv"``, ``"kv"`` or ``"kv-pos"``, see :mod:`.layers.key_value_attention`.
        depth: layers.
        mlp_ratio: hidden width of the MLP over ``width``.
        decoder: ``"pup"`` or ``"naive"``.
        decoder_width: channels of the decoder; None means 256, and ``width`` where that is less.
        drop_rate: dropout on the embedding and on both branches of a layer.
        dynamic_tau: see :class:`~.picture_network.PictureNetwork`; it follows the last layer.

    Attention maps, each ``[B, 1, H / 16, W / 16]`` in [0, 1), for layer L from 1:
        ``received_layerL``: attention a position receives from all, mean over heads; 1/2 is the average (fixed scale).
        ``bias_layerL``: with KV+Pos, how much all prefer that place; the same for every picture.
        ``rollout_layerL``, of the last layer: what an input patch contributes to all outputs by attention rollout, 1/2
        for the average. The MLPs and the values are left out of it.
        None says for which class, nor how certain the network is.

    Raises:
        ValueError: ``width`` is not a multiple of 8, an unknown ``attention`` or ``decoder``, or no layers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 384,
        attention: str = "qkv",
        depth: int = 12,
        mlp_ratio: float = 4.0,
        decoder: str = "pup",
        decoder_width: int | None = None,
        drop_rate: float = 0.1,
        dynamic_tau: bool = False,
    ) -> None:
        check_options(width, depth, attention)
        if decoder not in DECODERS:
            raise ValueError(f"decoder '{decoder}' is not known; expected one of {', '.join(DECODERS)}")
        super().__init__(in_channels, out_channels, stride=PATCH, deepest=width, dynamic_tau=dynamic_tau)
        self.embed = nn.Conv2d(in_channels, width, PATCH, stride=PATCH)
        self.transformer = VisionTransformer(width, depth, attention, default_grid(PATCH), mlp_ratio, drop_rate)
        upsampling = ProgressiveUpsampling if decoder == "pup" else NaiveUpsampling
        self.decoder = upsampling(width, decoder_width or min(DECODER_WIDTH, width), out_channels)

    def segment(self, x: Tensor, record: Record | None) -> Tensor:
        """``[B, in_channels, H, W] -> [B, K, H, W]``, H and W multiples of 16."""
        x = self.transformer(self.embed(x), record)
        return self.decoder(self.at_bottleneck(x, record))


def check_options(width: int, depth: int, attention: str) -> None:
    """Raise ValueError unless ``width`` is a positive multiple of 8, ``depth`` positive and ``attention`` known."""
    check_attention(attention)
    if width <= 0 or width % 8:
        raise ValueError(f"width must be a positive multiple of 8; got {width}")
    if depth < 1:
        raise ValueError(f"depth must be at least 1; got {depth}")


NETWORKS = {"setr": SETR}
