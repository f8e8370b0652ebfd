"""Encoder EfficientNet-Lite0 (Tan and Le, arXiv 1905.11946, in the Lite form of TensorFlow's TPU models).

Inverted residual blocks (Sandler et al., arXiv 1801.04381) with ReLU6, without squeeze-and-excitation; batch
normalisation with eps 1e-3. No classifier.

TensorFlow pads a convolution of stride 2 on an even side only at the bottom and right ("SAME"). Kernels rotated by 180
degrees and padding at the top and left do the same to a picture rotated by 180 degrees, and that is what symmetric
padding does here, since the last row and column are then never reached. So weights trained in TensorFlow fit exactly
once their kernels are rotated, and nothing has to be padded by a copy.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

BATCH_NORM = {"eps": 1e-3, "momentum": 0.01}
STEM = 32
LEVELS: tuple[tuple[tuple[int, int, int, int, int], ...], ...] = (
    ((1, 3, 1, 1, 16),),
    ((2, 3, 2, 6, 24),),
    ((2, 5, 2, 6, 40),),
    ((3, 3, 2, 6, 80), (3, 5, 1, 6, 112)),
    ((4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)
"""For each level, with strides 2, 4, 8, 16 and 32: (blocks, kernel, stride of the first, expansion, channels)."""

WIDTHS = tuple(groups[-1][-1] for groups in LEVELS)
"""Channels that each level gives: 16, 24, 40, 112, 320."""


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection without activation; the input is added where shapes allow.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: side of the depthwise kernel, 3 or 5.
        stride: 1 or 2.
        expansion: channels between the 1x1 convolutions over ``in_channels``; 1 leaves the first one out.

    Shape:
        ``[B, in_channels, H, W] -> [B, out_channels, H / stride, W / stride]``, H and W even for stride 2.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = in_channels * expansion
        steps = [convolution(in_channels, middle, 1)] if expansion > 1 else []
        steps.append(convolution(middle, middle, kernel, stride, groups=middle))
        steps.append(convolution(middle, out_channels, 1, activation=False))
        self.steps = nn.Sequential(*steps)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x + self.steps(x) if self.residual else self.steps(x)


def convolution(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, *, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    """Convolution without bias, batch normalisation and, unless told otherwise, ReLU6."""
    steps: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels, **BATCH_NORM),
    ]
    return nn.Sequential(*steps, nn.ReLU6(inplace=True)) if activation else nn.Sequential(*steps)


def efficientnet_lite0(in_channels: int, levels: int = len(LEVELS)) -> nn.ModuleList:
    """The first ``levels`` levels of the encoder; level i maps ``[B, C, H, W]`` to half of H and W.

    Args:
        in_channels: channels of the picture. Trained weights expect values of about -1 to 1.
        levels: 4 (down to stride 16) or 5 (stride 32).
    """
    made, channels = nn.ModuleList(), STEM
    for level, groups in enumerate(LEVELS[:levels]):
        blocks = [] if level else [convolution(in_channels, STEM, 3, 2)]
        for count, kernel, stride, expansion, out_channels in groups:
            for index in range(count):
                blocks.append(InvertedResidual(channels, out_channels, kernel, 1 if index else stride, expansion))
                channels = out_channels
        made.append(nn.Sequential(*blocks))
    return made


def in_order(encoder: nn.ModuleList) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Every convolution with its batch normalisation, in the order in which they are applied."""
    modules = [module for module in encoder.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    yield from zip(modules[::2], modules[1::2], strict=True)
