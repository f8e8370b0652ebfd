"""How good a segment probably is, and which slices to look at first, from the calibrated probabilities of the run.

For each class and slice three sums over the pixels of the canvas are kept: of the probability p, of the mask m, and of
p m. Were the probabilities exactly right, 2 sum(p m) / (sum(p) + sum(m)) would be the Dice to expect (soft Dice
confidence, Borges et al., arXiv 2402.10665), and sum(p) + sum(m) - 2 sum(p m) the number of wrong pixels. Networks are
surer than they should be, so the card holds how the one becomes the other, fitted on cases kept aside; a card without
it shows no expected Dice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.labels import Label

FEWEST_SLICES = 5
"""Of a volume that has slices to look at first."""
SHARE_TO_LOOK_AT = 0.2


def slice_sums(probabilities: Tensor, labels: Tensor) -> np.ndarray:
    """Sums over the canvas by slice and class.

    Args:
        probabilities: ``[B, K, H, W]``, channel 0 the background.
        labels: ``[B, H, W]``, the classes as they are kept.

    Returns:
        ``[B, K - 1, 3]`` float64: of p, of m, of p m.
    """
    kept = torch.stack([labels == value for value in range(1, probabilities.shape[1])], 1).to(probabilities.dtype)
    p = probabilities[:, 1:]
    sums = torch.stack([p.sum((2, 3)), kept.sum((2, 3)), (p * kept).sum((2, 3))], -1)
    return sums.double().numpy()


def soft_dice(sums: np.ndarray) -> np.ndarray:
    """``[..., 3]`` sums to the soft Dice confidence ``[...]`` in [0, 1]; NaN where nothing was found."""
    p, m, both = np.moveaxis(sums, -1, 0)
    return np.divide(2 * both, p + m, out=np.full(p.shape, np.nan), where=m > 0)


def expected_dice(confidence: float, how: dict[str, Any]) -> tuple[float, tuple[float, float]]:
    """The Dice to expect of a segment, and its interval.

    Args:
        confidence: see :func:`soft_dice`, over all slices of the segment.
        how: ``quality`` of the card: ``{"confidence": [ascending], "dice": [each its mean], "low": [...],
            "high": [...]}``, between which is interpolated.

    Returns:
        All in [0, 1]; ``low`` and ``high`` hold ``how["coverage"]`` of the true values, on the cases it was fitted on.
    """
    value, low, high = (float(np.interp(confidence, how["confidence"], how[key])) for key in ("dice", "low", "high"))
    return value, (low, high)


def slices_to_look_at(sums: np.ndarray, labels: Sequence[Label], wanted: Sequence[Label]) -> dict[int, str]:
    """The slices with most wrong pixels to expect, the worst first: a fifth of all at most.

    Args:
        sums: ``[S, classes, 3]`` of all slices of the run.
        labels: the classes of the card.
        wanted: those of them that were made.

    Returns:
        Place in ``sums`` -> the reason, one sentence.
    """
    if len(sums) < FEWEST_SLICES:
        return {}
    chosen = [place for place, label in enumerate(labels) if label in wanted]
    p, m, both = np.moveaxis(sums[:, chosen], -1, 0)
    names = [labels[place].name for place in chosen]
    wrong = p + m - 2 * both
    total = wrong.sum(1)
    count = int(np.ceil(SHARE_TO_LOOK_AT * len(sums)))
    worst = [int(number) for number in np.argsort(-total, kind="stable")[:count] if total[number] >= 1]
    return {number: _reason(number, wrong, m, both, names) for number in worst}


def _reason(number: int, wrong: np.ndarray, m: np.ndarray, both: np.ndarray, names: list[str]) -> str:
    worst = int(wrong[number].argmax())
    name, found = names[worst], np.flatnonzero(m[:, worst])
    if not m[number, worst]:
        return f"{name}: not found here, but it may be there."
    if both[number, worst] < 0.5 * m[number, worst]:
        return f"{name}: found here, but it may not be there."
    if number in (found[0], found[-1]):
        return f"{name}: its {'first' if number == found[0] else 'last'} slice; where it ends is uncertain."
    return f"{name}: its outline is uncertain."
