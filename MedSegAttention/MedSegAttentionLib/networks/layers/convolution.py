"""The convolution every U-shaped network here is made of."""

from __future__ import annotations

from torch import nn


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch normalisation, ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: odd side of the kernel; the padding keeps height and width.

    Shape:
        ``[B, in_channels, H, W] -> [B, out_channels, H, W]``
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


def initialise_convolutions(module: nn.Module) -> None:
    """Draw the weights of every convolution in ``module`` Kaiming-normal for ReLU; biases become zero."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)
