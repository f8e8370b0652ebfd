"""What a training step makes small."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from MedSegAttentionLib.networks.contract import SegmentationOutput
from MedSegAttentionTraining.fitting.config import TrainingConfig
from MedSegAttentionTraining.fitting.objective import Objective


class Fixed(nn.Module):
    """A network whose logits are its only weights, whatever the picture."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward_with_attention(self, images: torch.Tensor) -> SegmentationOutput:
        return SegmentationOutput(self.logits, {})


@pytest.mark.parametrize("classes", [["one"], ["one", "two"]])
def test_the_boundary_loss_doubles_the_loss_and_pulls_at_what_is_far(classes):
    """At weight 1 it is as large as the other loss, and an error far from the outline weighs more than one at it."""
    labels = torch.zeros(1, 1, 32, 32)
    labels[..., 12:20, 4:12] = 1
    wrong = torch.where(labels == 1, 3.0, -3.0)
    wrong[..., 15, 13], wrong[..., 15, 28] = 3.0, 3.0  # two false pixels: beside the object, and far from it
    logits = wrong if len(classes) == 1 else torch.cat([-wrong, wrong, torch.full_like(wrong, -9)], 1)
    grown = {}
    for boundary in (0.0, 1.0):
        network, config = Fixed(logits), TrainingConfig("any", "abdomen", {}, classes, {}, [], boundary=boundary)
        loss, _ = Objective(network, config, bfloat16=False)(torch.zeros(1, 1, 32, 32), labels)
        loss.backward()
        grown[boundary] = loss.item(), network.logits.grad[0, len(classes) - 1, 15].abs().tolist()
    assert grown[1.0][0] == pytest.approx(2 * grown[0.0][0], rel=1e-5)
    assert grown[0.0][1][28] == pytest.approx(grown[0.0][1][13], rel=1e-3)
    assert grown[1.0][1][28] > 3 * grown[1.0][1][13]
