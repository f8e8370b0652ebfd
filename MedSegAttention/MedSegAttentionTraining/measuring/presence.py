"""The presence score of a card (see :mod:`MedSegAttentionLib.inference.presence`), fitted on slices kept aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.inference.presence import FEATURES

LOST = 0.02
"""Most of the slices that show a class in which the presence score may overlook it."""
PENALTY = 1e-3
SMALLEST_PART = 0.2
"""Of the picture's side: a smaller part, enlarged to a whole picture, is too blurred to be like one."""


def fit_presence(features: np.ndarray, there: np.ndarray, names: Sequence[str], lost: float = LOST) -> dict[str, Any]:
    """Weights by logistic regression over all classes together, a threshold for each class.

    Args:
        features: ``[slices, classes, 3]``, see :func:`presence_features`.
        there: ``[slices, classes]`` bool.
        names: of the classes.
        lost: a threshold is the highest that overlooks at most this share of the slices that show the class.

    Raises:
        InputError: no slice shows a class, or every slice shows all.
    """
    if there.all() or not there.any():
        raise InputError("the cases kept aside show every class in every slice, or none in any; expected both.")
    x, y = features.reshape(-1, len(FEATURES)).astype(float), there.reshape(-1).astype(float)
    spread = x.std(0)
    scaled = np.divide(x, spread, out=np.zeros_like(x), where=spread > 0)
    balance = np.where(y > 0, 0.5 / y.mean(), 0.5 / (1 - y.mean()))

    def loss(parameters: np.ndarray) -> float:
        z = scaled @ parameters[:-1] + parameters[-1]
        return float((balance * (np.logaddexp(0, z) - y * z)).mean() + PENALTY * (parameters[:-1] ** 2).sum())

    bounds = [(0, None)] * len(FEATURES) + [(None, None)]
    found = minimize(loss, np.append(np.ones(len(FEATURES)), 0.0), method="L-BFGS-B", bounds=bounds).x
    weights = np.divide(found[:-1], spread, out=np.zeros_like(spread), where=spread > 0)
    scores = 1 / (1 + np.exp(-(features @ weights + found[-1])))
    thresholds = [_threshold(scores[:, n][there[:, n]], lost) for n in range(len(names))]
    return {
        "weights": {name: round(float(value), 6) for name, value in zip(FEATURES, weights, strict=True)},
        "bias": round(float(found[-1]), 6),
        "thresholds": thresholds,
        "measured": {
            name: {
                "sensitivity": _share(scores[:, n][there[:, n]] >= thresholds[n]),
                "specificity": _share(scores[:, n][~there[:, n]] < thresholds[n]),
                "with": int(there[:, n].sum()),
                "without": int((~there[:, n]).sum()),
            }
            for n, name in enumerate(names)
        },
    }


def part_without(canvas: Tensor, labels: Tensor) -> Tensor | None:
    """The largest square in a corner of a picture that shows no class, enlarged to the whole canvas.

    Args:
        canvas: ``[1, C, S, S]``.
        labels: ``[1, S, S]``, 0 where nothing is.

    Returns:
        ``[1, C, S, S]``; None where the square has less than a fifth of the side.
    """
    size = canvas.shape[-1]
    rows, columns = labels[0].nonzero(as_tuple=True)
    corners = [(down, right) for down in (False, True) for right in (False, True)]

    def side(corner: tuple[bool, bool]) -> int:
        row, column = (size - 1 - at if far else at for at, far in zip((rows, columns), corner, strict=True))
        return int(row.maximum(column).min()) if len(row) else size

    corner = max(corners, key=side)
    if side(corner) < SMALLEST_PART * size:
        return None
    part = [slice(size - side(corner), size) if far else slice(0, side(corner)) for far in corner]
    return F.interpolate(canvas[:, :, part[0], part[1]], (size, size), mode="bilinear", align_corners=False)


def _threshold(scores: np.ndarray, lost: float) -> float:
    """The highest score below which at most a share ``lost`` of ``scores`` lie; 0 without any."""
    if not len(scores):
        return 0.0
    return float(np.floor(np.sort(scores)[int(lost * len(scores))] * 1e6) / 1e6)


def _share(of: np.ndarray) -> float | None:
    return round(float(of.mean()), 4) if len(of) else None
