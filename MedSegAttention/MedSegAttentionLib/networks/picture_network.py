"""What all networks share: the input they accept, rows of attention, and dynamic tau at the deepest stage."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn import functional as F

from .contract import SegmentationOutput
from .layers.dynamic_knn_attention import DynamicKNNAttention

SMALLEST_SIDE = 32
"""Pixels of a picture's height and width at least: one position of the deepest stage, or two, in every network."""


@dataclass
class Record:
    """What a pass leaves behind besides its logits.

    Attributes:
        maps: name -> ``[B, 1, h, w]`` in [0, 1], the maps of the pass.
        inputs: stage -> what the attention layer of that stage was given.
        heads, presence: see :class:`~.contract.SegmentationOutput`.
    """

    maps: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, Tensor] = field(default_factory=dict)
    heads: tuple[Tensor, ...] = ()
    presence: Tensor | None = None


def attend(layer: DynamicKNNAttention, stage: str, x: Tensor, record: Record | None) -> Tensor:
    """``layer`` on ``x``, ``[B, C, h, w]``; records ``tau_STAGE``, ``k_STAGE`` and its input unless that is None."""
    features, tau, k_share = layer.attend(x)
    if record is not None:
        record.inputs[stage] = x
        record.maps[f"tau_{stage}"], record.maps[f"k_{stage}"] = tau, k_share
    return features


class PictureNetwork(nn.Module):
    """Base of a network that turns a picture into logits of the same size.

    A picture of any size from 32 x 32 on is accepted: sizes that the stride does not divide are padded at the
    bottom and right by repeating the edge, and the logits cut back.

    With ``dynamic_tau`` KLO-Net's dynamic k-NN attention (:mod:`.layers.dynamic_knn_attention`) follows the deepest
    stage. Its maps, each ``[B, 1, H / stride, W / stride]``: ``tau_bottleneck`` in (0, 1), how densely a position
    attends (neither saliency nor certainty), and ``k_bottleneck``, the number of neighbours used over ``k_max``.

    Args:
        in_channels: channels of the picture.
        out_channels: ``K``, one logit map for each class.
        stride: pixels of the picture to one position of the deepest stage.
        deepest: channels of the deepest stage.
        dynamic_tau: add the attention.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, deepest: int, dynamic_tau: bool) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride
        self.dynamic_tau = DynamicKNNAttention(deepest) if dynamic_tau else None

    @abstractmethod
    def segment(self, x: Tensor, record: Record | None) -> Tensor:
        """Logits of ``x``, whose sides the stride divides; fills ``record`` unless that is None."""

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in_channels, H, W] -> [B, K, H, W]`` logits."""
        return self.segment(self.padded(x), None)[..., : x.shape[-2], : x.shape[-1]]

    def forward_with_attention(self, x: Tensor) -> SegmentationOutput:
        """The same logits, and the maps named in the docstring of the class."""
        record = Record()
        logits = self.segment(self.padded(x), record)
        logits = logits[..., : x.shape[-2], : x.shape[-1]]
        return SegmentationOutput(logits, record.maps, record.heads, record.presence)

    def at_bottleneck(self, x: Tensor, record: Record | None) -> Tensor:
        """The dynamic k-NN attention on ``[B, C, h, w]``, where the network has it."""
        return x if self.dynamic_tau is None else attend(self.dynamic_tau, "bottleneck", x, record)

    @property
    def cells(self) -> dict[str, int]:
        """Stage with a row of attention -> pixels of the picture to one of its positions."""
        return {} if self.dynamic_tau is None else {"bottleneck": self.stride}

    def attention_grid(self, size: tuple[int, int], stage: str) -> tuple[int, int]:
        """(rows, columns) of ``stage``, a key of :attr:`cells`, for a picture of ``size`` (H, W)."""
        if stage not in self.cells:
            raise ValueError(f"stage '{stage}' has no attention rows; expected one of {list(self.cells)}")
        return tuple(-(-side // self.stride) * self.stride // self.cells[stage] for side in size)

    def attention_row(self, x: Tensor, stage: str, position: tuple[int, int]) -> Tensor:
        """Attention of one position to all others, mean over heads.

        Args:
            x: ``[B, in_channels, H, W]``.
            stage: a key of :attr:`cells`.
            position: (row, column) on the grid of that stage.

        Returns:
            ``[B, 1, h, w]``, non-negative, summing to 1 over the grid.

        Raises:
            ValueError: unknown stage, or a position off its grid.
        """
        rows, columns = self.attention_grid(x.shape[-2:], stage)
        if not (0 <= position[0] < rows and 0 <= position[1] < columns):
            raise ValueError(f"position {position} lies off the {rows} x {columns} grid of stage '{stage}'")
        record = Record()
        self.segment(self.padded(x), record)
        return self.row_layer(stage).row(record.inputs[stage], position)

    def row_layer(self, stage: str) -> nn.Module:
        """The layer whose ``row`` takes the recorded input of ``stage``."""
        return self.dynamic_tau

    def padded(self, x: Tensor) -> Tensor:
        """``[B, in_channels, H, W]`` to the next multiples of the stride; raises ValueError for another shape."""
        if x.ndim != 4 or x.shape[1] != self.in_channels or min(x.shape[-2:]) < SMALLEST_SIDE:
            raise ValueError(
                f"{type(self).__name__} takes [B, {self.in_channels}, H, W] with H and W of at least {SMALLEST_SIDE}; "
                f"got {list(x.shape)}"
            )
        height, width = x.shape[-2:]
        if height % self.stride or width % self.stride:
            x = F.pad(x, (0, -width % self.stride, 0, -height % self.stride), mode="replicate")
        return x
