"""What a training step makes small."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from MedSegAttentionLib.networks.contract import SegmentationOutput
from MedSegAttentionTraining.fitting.config import TrainingConfig
from MedSegAttentionTraining.fitting.objective import Objective, StructureLoss


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


class Judging(nn.Module):
    """A network with heads, presence and a tau map, each a weight of its own."""

    def __init__(self, shape: tuple[int, ...], presence: float = 0.0) -> None:
        super().__init__()
        self.heads = nn.ParameterList(torch.zeros(1, shape[1], side, side) for side in (8, 16))
        self.logits = nn.Parameter(torch.zeros(shape))
        self.tau = nn.Parameter(torch.full((1, 1, 4, 4), 0.5))
        self.presence = nn.Parameter(torch.full((1, max(1, shape[1] - 1), 2, 2), presence))

    def forward_with_attention(self, images: torch.Tensor) -> SegmentationOutput:
        return SegmentationOutput(self.logits, {"tau_a": self.tau, "k_a": self.tau}, tuple(self.heads), self.presence)


def objective(network: nn.Module, classes: list[str], **weights) -> Objective:
    return Objective(network, TrainingConfig("any", "abdomen", {}, classes, {}, [], **weights), bfloat16=False)


def a_square() -> torch.Tensor:
    labels = torch.zeros(1, 1, 32, 32)
    labels[..., 8:16, 8:16] = 1
    return labels


@pytest.mark.parametrize("loss", ["dice_ce", "structure"])
def test_every_head_learns_from_the_subsets_and_none_without(loss):
    for weight in (0.0, 1.0):
        network = Judging((1, 1, 32, 32))
        objective(network, ["one"], loss=loss, subsets=weight)(torch.zeros(1, 1, 32, 32), a_square())[0].backward()
        for head in network.heads:
            if not weight:
                assert head.grad is None
                continue
            inside, outside = head.grad[0, 0, head.shape[-1] // 3, head.shape[-1] // 3], head.grad[0, 0, -1, -1]
            assert inside < 0 < outside  # down the gradient the logits rise inside and fall outside


def test_tau_is_drawn_towards_the_networks_own_error_and_the_logits_do_not_notice():
    network, labels = Judging((1, 1, 32, 32)), a_square()
    network.logits.data = torch.where(labels == 1, 9.0, -9.0)
    network.logits.data[..., :8, 24:] = 9.0  # one cell of tau is wrong throughout
    before = network.logits.clone()
    optimizer = torch.optim.SGD([network.tau], lr=0.5)
    of_tau = objective(network, ["one"], tau_error=1.0)
    plain = objective(network, ["one"])(torch.zeros(1, 1, 32, 32), labels)[0]
    for _ in range(300):
        network.zero_grad()
        of_tau(torch.zeros(1, 1, 32, 32), labels)[0].backward()
        gradient = network.logits.grad.clone()
        optimizer.step()
        network.tau.data.clamp_(0.01, 0.99)
    tau = network.tau.detach()[0, 0]
    assert tau[0, 3] > 0.95
    assert tau[2, 0] == pytest.approx(0.125, abs=0.05)  # k_min / k_max: no error
    assert torch.equal(network.logits, before)
    network.zero_grad()
    plain = objective(network, ["one"])(torch.zeros(1, 1, 32, 32), labels)[0]
    plain.backward()
    torch.testing.assert_close(network.logits.grad, gradient)


@pytest.mark.parametrize(("labels", "signs"), [(a_square(), [-1, 1]), (torch.zeros(1, 1, 32, 32), [1, 1])])
def test_presence_is_told_class_by_class(labels, signs):
    network = Judging((1, 3, 32, 32))
    objective(network, ["one", "two"], presence=1.0)(torch.zeros(1, 1, 32, 32), labels)[0].backward()
    assert network.presence.grad[0].sum((1, 2)).sign().tolist() == signs


def test_the_structure_loss_of_a_right_and_an_empty_picture_is_small():
    for labels in (a_square(), torch.zeros(1, 1, 32, 32)):
        right = torch.where(labels == 1, 12.0, -12.0)
        assert StructureLoss()(right, labels) < 0.01
        assert StructureLoss()(-right, labels) > 1
