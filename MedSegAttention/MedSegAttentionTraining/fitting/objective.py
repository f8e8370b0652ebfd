"""What a training step makes small."""

from __future__ import annotations

import math
from itertools import combinations

import torch
from monai.losses import DiceCELoss, HausdorffDTLoss
from torch import Tensor, nn
from torch.nn import functional as F

from MedSegAttentionLib.networks.contract import SegmentationOutput, in_picture

from .config import TrainingConfig


class Objective(nn.Module):
    """Network and loss as one module, so that several processes can average its gradients.

    Args:
        network: see :mod:`MedSegAttentionLib.networks`.
        config: its classes and the weights of the terms, see :class:`~.config.TrainingConfig`.
        bfloat16: run the network in bfloat16 where that is safe; the loss is float32.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig, bfloat16: bool) -> None:
        super().__init__()
        single = config.out_channels == 1
        self.network, self.config, self.bfloat16 = network, config, bfloat16
        of_classes = {"sigmoid": single, "softmax": not single, "to_onehot_y": not single, "include_background": single}
        self.loss = StructureLoss() if config.loss == "structure" else DiceCELoss(**of_classes, batch=True)
        self.boundary_loss = HausdorffDTLoss(**of_classes)

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, C, H, W]`` and ``[B, 1, H, W]`` to the loss and the mean tau (NaN without one, no gradient)."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bfloat16):
            output = self.network.forward_with_attention(images)
        config, logits, labels = self.config, output.logits.float(), labels.float()
        loss = self.loss(logits, labels)
        if config.boundary:
            far = self.boundary_loss(logits, labels)  # in squared pixels: brought to the size of the other loss
            loss = loss + config.boundary * far * (loss.detach() / far.detach().clamp(min=1e-6))
        if config.subsets and output.heads:
            loss = loss + config.subsets * self._of_subsets(output.heads, labels)
        if config.presence and output.presence is not None:
            loss = loss + config.presence * presence_loss(output.presence.float(), labels)
        taus = {name: value for name, value in output.attention.items() if name.startswith("tau_")}
        if config.tau_budget and taus:
            loss = loss + config.tau_budget * sum((tau.mean() - 0.5) ** 2 for tau in taus.values())
        if config.tau_error and taus:
            loss = loss + config.tau_error * self._tau_loss(output, labels)
        return loss, torch.stack([tau.mean() for tau in taus.values()]).mean().detach() if taus else loss.new_tensor(
            math.nan
        )

    def _of_subsets(self, heads: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Mean loss of the summed logits of every non-empty subset of ``heads``, on the finest head's grid.

        Supervising mixtures of the decoder's outputs ("MUTATION", Rahman and Marculescu, MERIT, arXiv 2303.16892).
        """
        size = heads[-1].shape[-2:]
        same = [F.interpolate(head.float(), size, mode="bilinear", align_corners=False) for head in heads]
        labels = F.interpolate(labels, size, mode="nearest-exact")
        subsets = [part for count in range(1, len(same) + 1) for part in combinations(same, count)]
        return sum(self.loss(sum(part), labels) for part in subsets) / len(subsets)

    def _tau_loss(self, output: SegmentationOutput, labels: Tensor) -> Tensor:
        """Binary cross-entropy that draws tau at each position towards the network's own error there.

        The target is the square root of the mean error in the cell, brought to the range that the number of neighbours
        can use; no gradient reaches the logits from here.
        """
        wrong = own_error(output.logits.detach().float(), labels)
        lowest = self.config.tau_lowest
        total = wrong.new_zeros(())
        names = [name for name in output.attention if name.startswith("tau_")]
        for name in names:
            tau = output.attention[name].float()
            target = lowest + (1 - lowest) * F.adaptive_avg_pool2d(wrong, tau.shape[-2:]).sqrt()
            total = total + F.binary_cross_entropy(tau.clamp(1e-6, 1 - 1e-6), target)
        return total / len(names)


class StructureLoss(nn.Module):
    """Cross-entropy and IoU, by picture, weighted ``1 + 5 |mean of the mask around - mask|`` (Wei et al., F3Net, 2020).

    Args:
        radius: of the square over which the mean is taken, in pixels of a canvas of 352; scaled to the canvas.
    """

    def __init__(self, radius: int = 15) -> None:
        super().__init__()
        self.radius = radius

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """``[B, 1, H, W]`` each, labels 0 or 1, to a scalar."""
        radius = max(1, round(self.radius * logits.shape[-1] / 352))
        around = F.avg_pool2d(labels, 2 * radius + 1, 1, radius)
        weight = 1 + 5 * (around - labels).abs()
        entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        entropy = (weight * entropy).sum((2, 3)) / weight.sum((2, 3))
        found = logits.sigmoid()
        both = (found * labels * weight).sum((2, 3))
        either = ((found + labels) * weight).sum((2, 3)) - both
        return (entropy + 1 - (both + 1) / (either + 1)).mean()


def presence_loss(presence: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of whether each class is in the picture; ``[B, classes, h, w]`` logits, ``[B, 1, H, W]`` labels."""
    values = torch.arange(1, presence.shape[1] + 1, device=labels.device).view(1, -1, 1)
    there = (labels.flatten(2) == values).any(-1).float()
    return F.binary_cross_entropy_with_logits(in_picture(presence), there)


def own_error(logits: Tensor, labels: Tensor) -> Tensor:
    """``[B, 1, H, W]``: one minus the probability that the network gives the true class of each pixel."""
    if logits.shape[1] == 1:
        return (logits.sigmoid() - labels).abs()
    return 1 - logits.softmax(1).gather(1, labels.long())
