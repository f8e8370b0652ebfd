"""What is said of a finished result: what is odd in it, how good it probably is, where to look first."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.findings import border_findings
from ..data.labels import Label
from .anatomy import anatomy_findings
from .preparation import PreparedVolume
from .quality import expected_dice, slices_to_look_at, soft_dice


def judgement(
    prepared: PreparedVolume, labels: np.ndarray, classes: tuple[Label, ...], sums: dict[int, np.ndarray]
) -> dict[str, Any]:
    """The entries of the provenance that judge the result.

    Args:
        prepared: the volume.
        labels: ``[K, J, I]``, post-processed.
        classes: those that were made.
        sums: number of each finished slice -> its sums, see :func:`~.quality.slice_sums`.

    Returns:
        ``findings``: class -> sentences. ``expected``: class that was found -> ``{"dice", "interval"}``; empty where
        the card has nothing to tell it from. ``look_first``: numbers of slices, the worst first, with a sentence each
        in ``look_first_reasons``.
    """
    card, numbers = prepared.card, sorted(sums)
    has_scale = prepared.volume.has_scale
    findings = border_findings(prepared.plan.view(labels), prepared.content, classes, has_scale)
    if has_scale and 1 not in labels.shape:
        odd = anatomy_findings(labels, prepared.volume.ijk_to_ras, classes, set(findings), card.sizes)
        for name, sentences in odd.items():
            findings.setdefault(name, []).extend(sentences)
    stacked = np.stack([sums[number] for number in numbers])
    confidence = soft_dice(stacked.sum(0))
    expected = {}
    for label in classes:
        if card.quality and (labels == label.value).any() and np.isfinite(confidence[label.value - 1]):
            dice, interval = expected_dice(float(confidence[label.value - 1]), card.quality)
            expected[label.name] = {"dice": round(dice, 3), "interval": [round(value, 3) for value in interval]}
    worst = slices_to_look_at(stacked, card.labels, classes)
    return {
        "findings": findings,
        "expected": expected,
        "look_first": [numbers[place] for place in worst],
        "look_first_reasons": list(worst.values()),
    }
