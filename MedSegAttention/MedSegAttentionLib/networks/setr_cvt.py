"""SETR with a CvT encoder (Wu et al., arXiv 2103.15808) and QKV, KV or KV+Pos attention (arXiv 2503.18862).

CvT-13 with w = ``width`` (64): three stages of w, 3w, 6w channels at 1/4, 1/8, 1/16 with 1, 2, 10 pre-norm blocks and
1, 3, 6 heads. Each begins with a convolution (7x7 of stride 4, then 3x3 of stride 2) and a LayerNorm; there is no
position embedding. Query, key and value are each a depthwise 3x3 convolution, batch normalisation and a linear layer,
and scores are scaled by the width of all heads together, ``C^-1/2``. The class token is left out; the decoder is SETR's
(:class:`~.setr.ProgressiveUpsampling`).

**Strides.** CvT gives query a stride of 1 and key and value one of 2, a quarter of the keys. In KV attention the key
also stands where the query stood, one row for each position of the output, so it cannot have a stride of 2: leaving the
query out of the official network would give an output on a quarter of the positions. Either both have stride 1 here,
the fair comparison and the default; or ``kv_stride=2``: for QKV the official network, and for KV (ours, not published)
the key at stride 1 on the query's side while keys and values are averaged over 2 x 2 positions.

One channel in, three classes, 256 x 256: QKV 22.262 M, KV 20.658 M parameters, -7.2 % (encoder alone 19.605 and 18.001
M, -8.2 %). Besides ``C^2 + C`` of the linear layer KV saves the 9C + 2C of the query's convolution and its norm.
``width=24``: 3.55 M.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .layers.key_value_attention import KeyValueAttention, check_attention
from .layers.transformer import TransformerBlock, initialise_linear, record_attention
from .picture_network import Record
from .setr import DECODER_WIDTH, ProgressiveUpsampling, TransformerNetwork, default_grid

FACTORS, DEPTHS, HEADS = (1, 3, 6), (1, 2, 10), (1, 3, 6)
STRIDE = 16


class ConvolutionalProjection(nn.Module):
    """Depthwise convolution, batch normalisation and linear layer for each of query, key and value.

    Args:
        channels: ``C``.
        attention: without a query (all but ``"qkv"``) the key takes its side.
        kv_stride: of key and value; see the module for how it is reached without a query.

    Shape:
        ``[B, h, w, C] -> [B, h, w, C]`` and twice ``[B, h / kv_stride, w / kv_stride, C]``.
    """

    def __init__(self, channels: int, attention: str, kv_stride: int) -> None:
        super().__init__()
        self.has_query, self.kv_stride = attention == "qkv", kv_stride
        names = ("query", "key", "value") if self.has_query else ("key", "value")
        strides = dict.fromkeys(names, 1)
        if self.has_query:
            strides["key"] = strides["value"] = kv_stride
        self.local = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Conv2d(channels, channels, 3, strides[name], padding=1, groups=channels, bias=False),
                    nn.BatchNorm2d(channels),
                )
                for name in names
            }
        )
        self.linear = nn.ModuleDict({name: nn.Linear(channels, channels) for name in names})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        x = x.movedim(3, 1)
        if self.has_query:
            return self._part("query", x), self._part("key", x), self._part("value", x)
        key, value = self._part("key", x), self._part("value", x)
        return key, self._pooled(key), self._pooled(value)

    def _part(self, name: str, x: Tensor) -> Tensor:
        return self.linear[name](self.local[name](x).movedim(1, 3))

    def _pooled(self, x: Tensor) -> Tensor:
        if self.kv_stride == 1:
            return x
        return F.avg_pool2d(x.movedim(3, 1), self.kv_stride).movedim(1, 3)


class ConvolutionalStage(nn.Module):
    """Strided convolution, LayerNorm and blocks: ``[B, before, H, W] -> [B, C, H / stride, W / stride]``."""

    def __init__(
        self, before: int, channels: int, kernel: int, stride: int, blocks: dict[str, TransformerBlock]
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(before, channels, kernel, stride, padding=kernel // 2 if kernel < 7 else 2)
        self.norm = nn.LayerNorm(channels)
        self.blocks = nn.ModuleDict(blocks)

    def forward(self, x: Tensor, record: Record | None, *, rollout: bool) -> Tensor:
        """See the class; fills ``record`` unless it is None."""
        x = self.norm(self.embed(x).movedim(1, 3))
        for place, block in self.blocks.items():
            x = block(x, place, record)
        if record is not None:
            record_attention(self.blocks, record, rollout=rollout)
        return x.movedim(3, 1)


class SETRCvT(TransformerNetwork):
    """SETR with a CvT encoder.

    Args:
        in_channels: channels of the picture.
        out_channels: ``K``, one logit map for each class.
        width: channels of the first stage, a multiple of 4 (CvT-13: 64; 24 gives 3.55 M parameters).
        attention: ``"qkv"``, ``"kv"`` or ``"kv-pos"``, see :mod:`.layers.key_value_attention`.
        kv_stride: 1, or 2 for fewer keys; see the module. The picture is padded to multiples of ``16 kv_stride``.
        mlp_ratio: hidden width of the MLPs over their channels.
        drop_rate: dropout on both branches of a block (CvT drops whole branches instead).
        dynamic_tau: see :class:`~.picture_network.PictureNetwork`; it follows the last block, at 1/16.

    Attention maps in [0, 1), for block J of stage I from 1, ``[B, 1, H / c, W / c]`` with c = 4, 8, 16:
        ``received_encoderI_J``: attention a position receives from all, mean over heads, on a fixed scale: 1/2 is the
        average. With ``kv_stride=2`` the 2 x 2 positions of one key share its value.
        ``bias_encoderI_J``: with KV+Pos, how much all prefer that place; the same for every picture.
        ``rollout_encoder3_10``: what a position of stage 3 contributes to all outputs by attention rollout through that
        stage alone, 1/2 for the average.
        None says for which class, nor how certain the network is.

    Raises:
        ValueError: ``width`` is not a multiple of 4, another ``kv_stride`` than 1 or 2, or an unknown ``attention``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 64,
        attention: str = "qkv",
        kv_stride: int = 1,
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.1,
        dynamic_tau: bool = False,
    ) -> None:
        if width <= 0 or width % 4:
            raise ValueError(f"width must be a positive multiple of 4; got {width}")
        if kv_stride not in (1, 2):
            raise ValueError(f"kv_stride must be 1 or 2; got {kv_stride}")
        check_attention(attention)
        widths = [factor * width for factor in FACTORS]
        super().__init__(
            in_channels, out_channels, stride=STRIDE * kv_stride, deepest=widths[-1], dynamic_tau=dynamic_tau
        )
        self.stages = nn.ModuleList()
        before = in_channels
        for number, channels in enumerate(widths):
            grid = default_grid(self.cell(number) * kv_stride)
            blocks = {
                f"encoder{number + 1}_{block + 1}": TransformerBlock(
                    channels,
                    KeyValueAttention(
                        channels,
                        HEADS[number],
                        attention,
                        grid=grid,
                        scale=channels**-0.5,
                        projection=ConvolutionalProjection(channels, attention, kv_stride),
                    ),
                    mlp_ratio,
                    drop_rate,
                )
                for block in range(DEPTHS[number])
            }
            kernel, stride = (3, 2) if number else (7, 4)
            self.stages.append(ConvolutionalStage(before, channels, kernel, stride, blocks))
            before = channels
        initialise_linear(self.stages)
        self.decoder = ProgressiveUpsampling(before, min(DECODER_WIDTH, before), out_channels)

    @staticmethod
    def cell(stage: int) -> int:
        """Pixels of the picture to one position of ``stage``, from 0."""
        return 4 * 2**stage

    def segment(self, x: Tensor, record: Record | None) -> Tensor:
        """``[B, in_channels, H, W] -> [B, K, H, W]``, H and W multiples of the stride."""
        for stage in self.stages:
            x = stage(x, record, rollout=stage is self.stages[-1])
        return self.decoder(self.at_bottleneck(x, record))

    @property
    def cells(self) -> dict[str, int]:
        """Stage with a row of attention -> pixels of the picture to one of its positions."""
        return {stage: STRIDE if stage == "bottleneck" else cell for stage, cell in super().cells.items()}

    @property
    def attention_layers(self) -> dict[str, tuple[TransformerBlock, int]]:
        """Place -> the block there, and pixels of the picture to one of its positions."""
        return {
            place: (block, self.cell(number))
            for number, stage in enumerate(self.stages)
            for place, block in stage.blocks.items()
        }


NETWORKS = {"setr-cvt": SETRCvT}
