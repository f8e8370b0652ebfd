"""How far probabilities differ from the share of pixels that are right, and the temperature that mends it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from .averaging import RESAMPLES

BINS = 15
TEMPERATURES = (0.05, 20.0)
REGIONS = ("all", "boundary")


def fit_temperature(logits: Tensor, reference: Tensor) -> float:
    """The temperature that minimises the mean negative log likelihood of ``reference`` ``[N]`` under ``[N, K]``."""

    def loss(log_temperature: float) -> float:
        return F.cross_entropy(logits / float(np.exp(log_temperature)), reference).item()

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))


def bin_table(logits: Tensor, reference: Tensor) -> np.ndarray:
    """Sums by bin of the largest probability.

    Args:
        logits: ``[N, K]``.
        reference: ``[N]``.

    Returns:
        ``[BINS, 4]``: number of pixels, and their sums of confidence, of being right (0 or 1) and of the negative log
        likelihood. Bins are equally wide over [0, 1].
    """
    log_probabilities = F.log_softmax(logits.double(), 1)
    confidence, found = log_probabilities.exp().max(1)
    loss = -log_probabilities.gather(1, reference[:, None])[:, 0]
    place = (confidence * BINS).long().clamp(max=BINS - 1).numpy()
    columns = (torch.ones_like(loss), confidence, (found == reference).double(), loss)
    return np.stack([np.bincount(place, column.numpy(), BINS) for column in columns], 1)


def expected_calibration_error(tables: np.ndarray) -> np.ndarray:
    """``[..., BINS, 4]`` to ``[...]``: mean over the pixels of their bin's |accuracy - confidence|; NaN without any."""
    pixels = tables[..., 0].sum(-1)
    gaps = np.abs(tables[..., 1] - tables[..., 2]).sum(-1)
    return np.divide(gaps, pixels, out=np.full(pixels.shape, np.nan), where=pixels > 0)


def calibration(tables: np.ndarray) -> dict[str, Any]:
    """Figures of ``[cases, REGIONS, 2, BINS, 4]`` over all cases together, before and after the temperature.

    ``change`` is the 95 % percentile bootstrap interval, over cases, of the ECE after less the ECE before.
    """
    count, total = len(tables), tables.sum(0)
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    errors = expected_calibration_error((draws @ tables.reshape(count, -1)).reshape(RESAMPLES, *tables.shape[1:]))
    changes = np.nanpercentile(errors[..., 1] - errors[..., 0], (2.5, 97.5), axis=0).T
    return {
        region: {
            "pixels": int(total[place, 0, :, 0].sum()),
            **{when: _figures(total[place, number]) for number, when in enumerate(("before", "after"))},
            "change": changes[place].tolist() if count > 1 else None,
        }
        for place, region in enumerate(REGIONS)
    }


def _figures(table: np.ndarray) -> dict[str, Any]:
    """ECE, mean negative log likelihood and the filled bins of ``[BINS, 4]``; it must have a pixel."""
    bins = table[table[:, 0] > 0]
    return {
        "ece": float(expected_calibration_error(table)),
        "nll": float(table[:, 3].sum() / table[:, 0].sum()),
        "diagram": [
            {"pixels": int(pixels), "confidence": confidence / pixels, "accuracy": right / pixels}
            for pixels, confidence, right, _ in bins.tolist()
        ],
    }
