"""What a training step makes small."""

from __future__ import annotations

import math

import torch
from monai.losses import DiceCELoss
from torch import Tensor, nn

from .config import TrainingConfig


class Objective(nn.Module):
    """Network and loss as one module, so that several processes can average its gradients.

    Args:
        network: see :mod:`MedSegAttentionLib.networks`.
        config: its classes and ``tau_budget``.
        bfloat16: run the network in bfloat16 where that is safe; the loss is float32.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig, bfloat16: bool) -> None:
        super().__init__()
        single = config.out_channels == 1
        self.network, self.tau_budget, self.bfloat16 = network, config.tau_budget, bfloat16
        self.loss = DiceCELoss(
            sigmoid=single, softmax=not single, to_onehot_y=not single, include_background=single, batch=True
        )

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, C, H, W]`` and ``[B, 1, H, W]`` to the loss and the mean tau (NaN without one, no gradient)."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bfloat16):
            output = self.network.forward_with_attention(images)
        loss = self.loss(output.logits.float(), labels.float())
        taus = [value.mean() for name, value in output.attention.items() if name.startswith("tau_")]
        if self.tau_budget and taus:
            loss = loss + self.tau_budget * sum((tau - 0.5) ** 2 for tau in taus)
        return loss, torch.stack(taus).mean().detach() if taus else loss.new_tensor(math.nan)
