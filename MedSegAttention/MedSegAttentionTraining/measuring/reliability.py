"""The ``reliability`` command: how far a checkpoint's probabilities, and its tau maps, tell where it is right.

Everything is measured on the canvas of the network, slice by slice, before post-processing and without the padding. The
temperature is fitted on the selection part of the training cases, and what it changes is measured on the test cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional as F

from MedSegAttentionLib.checkpoints.catalogue import find_checkpoint
from MedSegAttentionLib.checkpoints.loading import Checkpoint, load_checkpoint
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.inference.engine import ONE_PIECE
from MedSegAttentionLib.inference.outputs import SliceOutputs
from MedSegAttentionLib.inference.prediction import Predictor
from MedSegAttentionLib.inference.preparation import channels_first, prepare
from MedSegAttentionLib.inference.settings import RunSettings

from ..data.cases import Case, DataFolder, read_case, read_folder
from ..fitting.config import read_config
from ..fitting.parts import parts_of
from .averaging import interval
from .calibration import BINS, REGIONS, bin_table, calibration, fit_temperature

BAND = 5.0
"""How far from a boundary of the reference or of what was found its region reaches: mm, or pixels of the canvas."""
QUANTITIES = ("tau", "foreground", "distance", "error", "entropy", "signed")
PAIRS = (
    *(("tau", "distance"), ("tau", "error"), ("tau", "entropy"), ("tau", "foreground")),
    *(("entropy", "distance"), ("entropy", "error")),
)
"""What is correlated; the entropy of the prediction shows what a signal that costs nothing reaches."""
PROFILE = np.arange(-40, 41, 5)
"""Edges of the bins of signed distance that the mean of tau is taken over."""


@dataclass(frozen=True)
class Batch:
    """Some slices of a case on the canvas.

    Attributes:
        logits: ``[B, K, H, W]``, K at least 2: the one of a sigmoid network becomes (0, logit), which is the same.
        reference: ``[B, H, W]`` int64, the channel that is right; -1 in the padding.
        spacing: of the canvas' pixels (rows, columns) in mm; 1 where the data give no true spacing.
        tau: name of the map -> ``[B, 1, h, w]`` in [0, 1].
    """

    logits: Tensor
    reference: Tensor
    spacing: tuple[float, float]
    tau: dict[str, Tensor]


def measure_reliability(
    checkpoint: str | Path,
    data_folder: str | Path,
    splits: str | Path,
    *,
    config: str | Path | None = None,
    limit: int | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure calibration, and what tau has to do with boundary and error, on the test cases of a folder.

    Args:
        checkpoint: ID or folder.
        data_folder: see ``data.cases``; its training cases must be those the checkpoint was trained with.
        splits: CSV file with the splits train and test of the folder.
        config: of the training, which says which training cases were kept aside; None takes the one of the same name.
        limit: most cases of either part, evenly spread over their names; None takes all.
        device: see :class:`~MedSegAttentionLib.inference.settings.RunSettings`.

    Returns:
        JSON-ready: the settings, ``fit`` (temperature), ``calibration`` by region, ``tau`` by map and ``cases``.

    Raises:
        InputError: the folder or the configuration does not fit the checkpoint.
        CheckpointError: no such checkpoint.
    """
    loaded = load_checkpoint(find_checkpoint(checkpoint))
    card = loaded.card
    settings = read_config(config or Path(__file__).parents[1] / "configs" / f"{card.id}.json")
    train, test = (read_folder(data_folder, split, splits) for split in ("train", "test"))
    names = [label.name for label in card.labels]
    if settings.classes != names or not {name.lower() for name in names} <= set(test.labels):
        raise InputError(
            f"'{card.id}' has the classes {names}, its training configuration {settings.classes} and '{test.path}' "
            f"{sorted(test.labels)}; expected the same in all. Give its configuration by --config, or other data."
        )
    ((_, selection),) = parts_of([train], settings)
    predictor = Predictor(loaded.network, device, None, ONE_PIECE * int(card.fit["size"]))
    used = [_some(part, limit) for part in (selection, test)]

    temperature = _temperature(batch for case in used[0].cases for batch in batches(loaded, predictor, used[0], case))
    measured = [measure_case(batches(loaded, predictor, used[1], case), (1.0, temperature)) for case in used[1].cases]
    tables, cells = zip(*measured, strict=True)
    if not np.any([table[REGIONS.index("boundary")] for table in tables]):
        raise InputError(f"no test case of '{test.path}' shows any of {names}; expected some. Check its dataset.json.")
    relations = [{name: correlations(rows) for name, rows in case.items()} for case in cells]
    return {
        "checkpoint": card.id,
        "weights_sha256": card.weights_sha256,
        "data": test.name,
        "splits": ["selection part of train", "test"],
        "limit": limit,
        "canvas": dict(card.fit),
        "unit": "mm" if test.spacing_is_real else "pixels",
        "band": BAND,
        "fit": {"cases": len(used[0].cases), "of": len(selection.cases), "temperature": temperature},
        "test": {"cases": len(used[1].cases), "of": len(test.cases)},
        "calibration": calibration(np.stack(tables)),
        "tau": {name: _tau(name, relations, cells) for name in cells[0]},
        "cases": [{"case": case.name, **found} for case, found in zip(used[1].cases, relations, strict=True)],
    }


def _some(data: DataFolder, limit: int | None) -> DataFolder:
    count = min(limit or len(data.cases), len(data.cases))
    chosen = np.linspace(0, len(data.cases) - 1, count).round().astype(int)
    return replace(data, cases=tuple(data.cases[index] for index in chosen))


def batches(checkpoint: Checkpoint, predictor: Predictor, data: DataFolder, case: Case) -> Iterator[Batch]:
    """What the network says of all slices of a case, prepared as in the application."""
    image, labels = read_case(data, case, [label.name for label in checkpoint.card.labels])
    prepared = prepare(image, checkpoint, RunSettings(force=True))
    plan, fit = prepared.plan, prepared.fit
    reference = channels_first(plan.view(labels)).long() + 1  # the canvas pads with 0, which becomes -1 below
    steps = zip(plan.spacing[1:], fit.source, fit.resized, strict=True)
    spacing = tuple(mm * n / m for mm, n, m in steps) if data.spacing_is_real else (1.0, 1.0)
    outputs = SliceOutputs(prepared, predictor)
    for first in range(0, plan.shape[0], predictor.batch_size):
        output = outputs.of(first, predictor.batch_size)
        logits = output.logits
        if logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], 1)
        right = fit.to_canvas(reference[first : first + len(logits)], label=True)[:, 0] - 1
        yield Batch(logits, right, spacing, {k: v for k, v in output.attention.items() if k.startswith("tau_")})


def _temperature(parts: Iterable[Batch]) -> float:
    """Fitted over all pixels outside the padding."""
    known = [(part.logits.movedim(1, -1), part.reference, part.reference >= 0) for part in parts]
    logits, reference = (torch.cat([item[place][item[2]] for item in known]) for place in (0, 1))
    return fit_temperature(logits, reference)


def boundary_distance(labels: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance of each pixel of ``[H, W]`` to the nearest one beside a change of label; infinite without a change.

    -1 stands for padding; where it begins is no boundary.
    """
    edge = np.zeros(labels.shape, bool)
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        change = (labels[here] != labels[there]) & (labels[here] >= 0) & (labels[there] >= 0)
        edge[here] |= change
        edge[there] |= change
    if not edge.any():
        return np.full(labels.shape, np.inf, np.float32)
    return distance_transform_edt(~edge, spacing).astype(np.float32)


def measure_case(
    parts: Iterable[Batch], temperatures: Sequence[float] = (1.0,)
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Bins of calibration, and what each cell of a tau map covers.

    Args:
        parts: all slices of the case.
        temperatures: to divide the logits by.

    Returns:
        ``[REGIONS, temperatures, BINS, 4]``, see :func:`bin_table`; and, for each map, ``[cells, QUANTITIES]``: its
        tau, and means over the pixels of the cell: share of any class, distance to the boundary of the reference, error
        rate, entropy in nats, distance with a minus inside the reference. Cells of the padding, and slices without a
        boundary in the reference, are left out.
    """
    tables = np.zeros((len(REGIONS), len(temperatures), BINS, 4))
    cells: dict[str, list[np.ndarray]] = {}
    for part in parts:
        inside = part.reference >= 0
        found = part.logits.argmax(1).where(inside, -1)
        distance, to_found = (
            torch.from_numpy(np.stack([boundary_distance(labels.numpy(), part.spacing) for labels in slices]))
            for slices in (part.reference, found)
        )
        near = torch.minimum(distance, to_found) <= BAND
        pixels = part.logits.movedim(1, -1)
        for region, mask in enumerate((inside, inside & near)):
            for number, temperature in enumerate(temperatures):
                tables[region, number] += bin_table(pixels[mask] / temperature, part.reference[mask])
        log_probabilities = F.log_softmax(part.logits, 1)
        entropy = -(log_probabilities.exp() * log_probabilities).sum(1)
        filled = part.reference > 0
        wrong = (found != part.reference).float()
        signed = torch.where(filled, -distance, distance)
        quantities = torch.stack([filled.float(), distance, wrong, entropy, signed, inside.float()], 1)
        for name, tau in part.tau.items():
            rows = torch.cat([tau, F.adaptive_avg_pool2d(quantities, tau.shape[-2:])], 1).movedim(1, -1)
            whole = (rows[..., -1] > 0.999) & rows[..., QUANTITIES.index("distance")].isfinite()
            cells.setdefault(name, []).append(rows[whole][:, :-1].numpy())
    return tables, {name: np.concatenate(rows) for name, rows in cells.items()}


def correlations(cells: np.ndarray) -> dict[str, float | None]:
    """Spearman's correlation of each of :data:`PAIRS` over ``[cells, QUANTITIES]``; None where one is constant."""
    found: dict[str, float | None] = {}
    for pair in PAIRS:
        columns = [cells[:, QUANTITIES.index(name)] for name in pair]
        varies = len(cells) > 2 and all(np.ptp(column) > 0 for column in columns)
        found["_".join(pair)] = float(spearmanr(*columns).statistic) if varies else None
    return found


def _tau(name: str, relations: Sequence[dict], cells: Sequence[dict[str, np.ndarray]]) -> dict[str, Any]:
    """Mean over the cases of each correlation, and the mean of tau by signed distance over all cells."""
    report: dict[str, Any] = {}
    for pair in map("_".join, PAIRS):
        known = [case[name][pair] for case in relations if case[name][pair] is not None]
        mean = float(np.mean(known)) if known else None
        report[pair] = {"mean": mean, "interval": interval(known), "cases": len(known)}
    rows = np.concatenate([case[name] for case in cells])
    place = np.digitize(rows[:, QUANTITIES.index("signed")], PROFILE) - 1
    bins = [(low, rows[place == number, 0]) for number, low in enumerate(PROFILE[:-1].tolist())]
    report["profile"] = [
        {"from": low, "tau": float(values.mean()), "cells": len(values)} for low, values in bins if len(values)
    ]
    return report
