"""What the epochs of a run are compared by: the Dice of cases kept aside, on the canvas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from MedSegAttentionLib.data.errors import InputError

BATCH = 8


@torch.inference_mode()
def selection_dice(
    network: nn.Module, cases: Sequence[tuple[Tensor, Tensor]], device: torch.device, classes: Sequence[str]
) -> float:
    """Mean over the cases of the mean Dice over the classes each contains; a case without any counts 1 if left empty.

    Args:
        network: left in evaluation mode.
        cases: images ``[S, C, size, size]`` and labels ``[S, 1, size, size]`` of each.
        device: that ``network`` is on.
        classes: their names, for the message.

    Raises:
        InputError: no case shows any class.
    """
    if not any(labels.any() for _, labels in cases):
        raise InputError(
            f"none of the {len(cases)} cases kept aside shows {list(classes)}; the best epoch cannot be chosen. Check "
            "the masks, or choose other cases with seed or validation_share."
        )
    network.eval()
    scores = []
    for images, labels in cases:
        predicted = []
        for part in images.split(BATCH):
            logits = network(part.to(device, memory_format=torch.channels_last))
            predicted.append((logits > 0).byte() if logits.shape[1] == 1 else logits.argmax(1, keepdim=True).byte())
        found = torch.cat(predicted).cpu()
        present = [value for value in labels.unique() if value]
        scores.append(np.mean([_dice(found == v, labels == v) for v in present]) if present else not found.any())
    return float(np.mean(scores))


def _dice(found: Tensor, reference: Tensor) -> float:
    return float(2 * (found & reference).sum() / (found.sum() + reference.sum()).clamp(min=1))
