"""Every network learns: an epoch of real pictures in bfloat16 without NaN, and two of them by heart in 20 steps.

Small widths and 64 x 64 pixels (32 x 32 in bfloat16, which is slow on most CPUs). Batch normalisation keeps the
statistics of the last batch alone (momentum 1), so that what is trained and what is used agree from the first step on.
"""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.losses import DiceCELoss
from torch import Tensor, nn
from torch.nn import functional as F

from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.networks.known import built_in_networks
from MedSegAttentionTraining.data.cases import read_folder
from MedSegAttentionTraining.data.slices import fitted_slices

torch.set_num_threads(1)
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "skin" / "isic2017_train"
SIZE, STEPS = 64, 20
STATE_SPACE = {"depths": (1, 1, 1, 1), "drop_rate": 0.0}
TRANSFORMER = {"width": 64, "depth": 4, "drop_rate": 0.0}
RECIPES: dict[str, tuple[float, dict[str, Any]]] = {
    "unet": (1e-2, {"width": 8}),
    "csp-unet": (1e-2, {"width": 8}),
    "knn-unet": (1e-2, {"width": 8}),
    "klo-net": (1e-2, {"width": 8}),
    "klo-lite": (1e-2, {"width": 8}),
    "km-unet": (2e-2, {"width": 8}),
    "vm-unet": (5e-3, {"width": 24, **STATE_SPACE}),
    "vmkla-unet": (5e-3, {"width": 16, **STATE_SPACE}),
    "setr": (5e-3, TRANSFORMER),
    "setr-conv": (1e-2, TRANSFORMER),
    "setr-cvt": (3e-3, {"width": 24, "drop_rate": 0.0}),
}
"""Network -> learning rate of AdamW, and what makes it small."""


@pytest.fixture(scope="module")
def pictures() -> tuple[Tensor, Tensor]:
    """Six real photographs, ``[6, 3, 64, 64]``, and masks of skin lesions that cover a tenth of them at least.

    A smaller one has so few pixels here that Dice is a matter of its edge.
    """
    if not DATA.is_dir():
        pytest.skip("the data set skin/isic2017_train is not on this machine")
    data, fit = read_folder(DATA), {"fit": "stretch", "size": SIZE}
    intensity = {"method": "zscore", "percentiles": [0.5, 99.5]}
    fitted = (fitted_slices(data, case, list(data.labels), intensity, fit) for case in data.cases)
    large = islice(((image, label) for image, label in fitted if label.float().mean() > 0.1), 6)
    images, labels = (torch.cat(parts) for parts in zip(*large, strict=True))
    return images, labels.float()


def build(name: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    rate, options = RECIPES[name]
    network = build_network(name, in_channels=3, out_channels=1, **options).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    return network, torch.optim.AdamW(network.parameters(), lr=rate)


def step(network: nn.Module, optimiser: torch.optim.Optimizer, images: Tensor, labels: Tensor, dtype=None) -> float:
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        logits = network(images)
    loss = DiceCELoss(sigmoid=True)(logits.float(), labels)
    optimiser.zero_grad()
    loss.backward()
    assert all(torch.isfinite(value.grad).all() for value in network.parameters() if value.grad is not None)
    optimiser.step()
    return loss.item()


def test_every_network_has_a_recipe():
    assert set(RECIPES) == set(built_in_networks())


@pytest.mark.parametrize("name", RECIPES)
def test_an_epoch_in_bfloat16_has_no_nan(name, pictures):
    network, optimiser = build(name)
    images, labels = (F.avg_pool2d(part, 2) for part in pictures)
    losses = [
        step(network, optimiser, *batch, torch.bfloat16) for batch in zip(images.split(2), labels.split(2), strict=True)
    ]
    assert all(math.isfinite(loss) for loss in losses)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(network.eval()(images)).all()


@pytest.mark.parametrize("name", RECIPES)
def test_two_pictures_are_learned_by_heart_in_20_steps(name, pictures):
    """Mean Dice of the two above 0.9, as used (evaluation mode)."""
    network, optimiser = build(name)
    images, labels = (part[:2] for part in pictures)
    rate = optimiser.param_groups[0]["lr"]
    for number in range(STEPS):
        optimiser.param_groups[0]["lr"] = rate * min(1, (number + 1) / 3) * (1 if number < 14 else 0.3)
        step(network, optimiser, images, labels)
    with torch.no_grad():
        network(images)  # the statistics of the last weights
        found = (network.eval()(images) > 0).float()
    dice = 2 * (found * labels).sum((1, 2, 3)) / (found.sum((1, 2, 3)) + labels.sum((1, 2, 3)))
    assert float(dice.mean()) > 0.9, dice.tolist()
