"""The ``calibrate`` command: temperature and presence score of a checkpoint, fitted on the training cases kept aside.

What it writes goes into the card (``export --metrics``). Everything is measured on the network's canvas, by slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from MedSegAttentionLib.checkpoints.catalogue import find_checkpoint
from MedSegAttentionLib.checkpoints.loading import Checkpoint, load_checkpoint
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.inference.engine import ONE_PIECE
from MedSegAttentionLib.inference.prediction import Predictor
from MedSegAttentionLib.inference.preparation import channels_first, prepare
from MedSegAttentionLib.inference.presence import FEATURES, presence_features
from MedSegAttentionLib.inference.settings import RunSettings

from ..data.cases import Case, DataFolder, read_case, read_folder
from ..fitting.config import read_config
from ..fitting.parts import parts_of
from .calibration import fit_temperature

LOST = 0.02
"""Most of the slices that show a class in which the presence score may overlook it."""
PIXELS = 2000
"""Pixels of a slice, evenly spread, that the temperature is fitted on."""
PENALTY = 1e-3


def calibrate(
    checkpoint: str | Path,
    folders: Sequence[str | Path],
    splits: str | Path | None,
    config: str | Path,
    *,
    lost: float = LOST,
    device: str = "auto",
) -> dict[str, Any]:
    """Fit the temperature and the presence score.

    Args:
        checkpoint: ID or folder.
        folders: the data that the checkpoint was trained with; of each the part that was kept aside is read.
        splits: CSV file with the split train of the folders.
        config: of the training, which says what was kept aside.
        lost: see :data:`LOST`.
        device: see :class:`~MedSegAttentionLib.inference.settings.RunSettings`.

    Returns:
        JSON-ready: ``checkpoint``, ``weights_sha256``, ``data``, ``cases``, ``temperature`` and ``presence`` (see
        :class:`~MedSegAttentionLib.data.card.Card`; its ``measured`` holds, for each class, sensitivity and specificity
        on the very slices it was fitted on).

    Raises:
        InputError: the data do not fit the checkpoint, nothing was kept aside, or every slice kept aside shows a class.
    """
    loaded = load_checkpoint(find_checkpoint(checkpoint))
    settings = read_config(config)
    data = [read_folder(folder, "train" if splits else None, splits) for folder in folders]
    kept = [selection for _, selection in parts_of(data, settings) if selection.cases]
    if not kept:
        raise InputError(f"'{config}' keeps no case of {[str(folder) for folder in folders]} aside; nothing to fit on.")
    predictor = Predictor(loaded.network, device, None, ONE_PIECE * int(loaded.card.fit["size"]))
    parts = [_looked_at(loaded, predictor, folder, case) for folder in kept for case in folder.cases]
    logits, reference, features, there = (torch.cat(column) for column in zip(*parts, strict=True))
    return {
        "checkpoint": loaded.card.id,
        "weights_sha256": loaded.card.weights_sha256,
        "data": [folder.name for folder in kept],
        "cases": len(parts),
        "temperature": fit_temperature(logits, reference),
        "presence": fit_presence(features.numpy(), there.numpy(), [label.name for label in loaded.card.labels], lost),
    }


def _looked_at(
    checkpoint: Checkpoint, predictor: Predictor, data: DataFolder, case: Case
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of all slices of a case: some logits ``[N, K]``, their reference ``[N]``, features and presence by class."""
    image, labels = read_case(data, case, [label.name for label in checkpoint.card.labels])
    prepared = prepare(image, checkpoint, RunSettings(force=True))
    reference = channels_first(prepared.plan.view(labels)).long()
    columns = [_of_batch(*batch, len(checkpoint.card.labels)) for batch in _batches(prepared, predictor, reference)]
    return tuple(torch.cat(column) for column in zip(*columns, strict=True))


def _batches(prepared: Any, predictor: Predictor, reference: Tensor) -> Iterator[tuple[Any, Tensor]]:
    for first in range(0, len(reference), predictor.batch_size):
        canvases = prepared.canvases(first, predictor.batch_size)
        right = prepared.fit.to_canvas(reference[first : first + len(canvases)], label=True)[:, 0]
        yield predictor.predict(canvases), right


def _of_batch(output: Any, right: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    logits = output.logits
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], 1)
    step = max(1, right[0].numel() // PIXELS)
    there = torch.stack([(right == value).flatten(1).any(1) for value in range(1, classes + 1)], 1)
    pixels = logits.flatten(2)[..., ::step].movedim(1, -1).flatten(0, 1)
    return pixels, right.flatten(1)[:, ::step].flatten(), presence_features(output), there


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


def _threshold(scores: np.ndarray, lost: float) -> float:
    """The highest score below which at most a share ``lost`` of ``scores`` lie; 0 without any."""
    if not len(scores):
        return 0.0
    return float(np.floor(np.sort(scores)[int(lost * len(scores))] * 1e6) / 1e6)


def _share(of: np.ndarray) -> float | None:
    return round(float(of.mean()), 4) if len(of) else None
