"""What a training step makes small."""

from __future__ import annotations

import math

import torch
from monai.losses import DiceCELoss, HausdorffDTLoss
from torch import Tensor, nn

from .config import TrainingConfig


class Objective(nn.Module):
    """Network and loss as one module, so that several processes can average its gradients.

    Args:
        network: see :mod:`MedSegAttentionLib.networks`.
        config: its classes, ``tau_budget`` and ``boundary``.
        bfloat16: run the network in bfloat16 where that is safe; the loss is float32.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig, bfloat16: bool) -> None:
        super().__init__()
        single = config.out_channels == 1
        self.network, self.tau_budget, self.bfloat16 = network, config.tau_budget, bfloat16
        of_classes = {"sigmoid": single, "softmax": not single, "to_onehot_y": not single, "include_background": single}
        self.loss = DiceCELoss(**of_classes, batch=True)
        self.boundary, self.boundary_loss = config.boundary, HausdorffDTLoss(**of_classes)

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, C, H, W]`` and ``[B, 1, H, W]`` to the loss and the mean tau (NaN without one, no gradient)."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bfloat16):
            output = self.network.forward_with_attention(images)
        logits, labels = output.logits.float(), labels.float()
        loss = self.loss(logits, labels)
        if self.boundary:
            far = self.boundary_loss(logits, labels)  # in squared pixels: brought to the size of the other loss
            loss = loss + self.boundary * far * (loss.detach() / far.detach().clamp(min=1e-6))
        taus = [value.mean() for name, value in output.attention.items() if name.startswith("tau_")]
        if self.tau_budget and taus:
            loss = loss + self.tau_budget * sum((tau - 0.5) ** 2 for tau in taus)
        return loss, torch.stack(taus).mean().detach() if taus else loss.new_tensor(math.nan)
