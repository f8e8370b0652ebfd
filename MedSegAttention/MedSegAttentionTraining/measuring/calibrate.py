"""The ``calibrate`` command: what a card knows of its own probabilities, fitted on the training cases kept aside.

What it writes goes into the card (``export --metrics``). Temperature and presence score are fitted on the network's
canvas, by slice; the expected Dice on segments as the application makes them with both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from MedSegAttentionLib.checkpoints.catalogue import find_checkpoint
from MedSegAttentionLib.checkpoints.loading import Checkpoint, load_checkpoint
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.data.findings import border_findings
from MedSegAttentionLib.data.labels import Label
from MedSegAttentionLib.inference.engine import ONE_PIECE, SegmentationRun
from MedSegAttentionLib.inference.outputs import SliceOutputs
from MedSegAttentionLib.inference.prediction import Predictor
from MedSegAttentionLib.inference.preparation import channels_first, prepare
from MedSegAttentionLib.inference.presence import FEATURES, presence_features
from MedSegAttentionLib.inference.quality import soft_dice
from MedSegAttentionLib.inference.settings import RunSettings

from ..data.cases import Case, DataFolder, read_case, read_folder
from ..fitting.config import read_config
from ..fitting.parts import parts_of
from .calibration import fit_temperature
from .familiarity import fit_familiar
from .metrics import dice_of
from .presence import LOST, fit_presence, part_without
from .quality import fit_quality

logger = logging.getLogger(__name__)

PIXELS = 2000
"""Pixels of a slice, evenly spread, that the temperature is fitted on."""


def calibrate(
    checkpoint: str | Path,
    folders: Sequence[str | Path],
    splits: str | Path | None,
    config: str | Path,
    *,
    lost: float = LOST,
    device: str = "auto",
) -> dict[str, Any]:
    """Fit temperature, presence score and expected Dice; look what images look like and how large the classes are.

    Args:
        checkpoint: ID or folder.
        folders: the data that the checkpoint was trained with; of each the part that was kept aside is read.
        splits: CSV file with the split train of the folders.
        config: of the training, which says what was kept aside.
        lost: see :data:`LOST`.
        device: see :class:`~MedSegAttentionLib.inference.settings.RunSettings`.

    Returns:
        JSON-ready: ``checkpoint``, ``weights_sha256``, ``data``, ``cases``, and for the card ``temperature``,
        ``presence``, ``quality``, ``familiar`` and ``sizes`` (see :class:`~MedSegAttentionLib.data.card.Card`; those of
        ``measured`` of ``presence`` are, for each class, of the very slices it was fitted on. Where every picture kept
        aside shows every class, parts of them without any stand for empty ones; there is no ``presence`` where every
        slice of the volumes does: nothing then says what an empty one looks like).

    Raises:
        InputError: the data do not fit the checkpoint, nothing was kept aside, or none of it shows a class.
    """
    loaded = load_checkpoint(find_checkpoint(checkpoint))
    settings = read_config(config)
    data = [read_folder(folder, "train" if splits else None, splits) for folder in folders]
    parts = parts_of(data, settings)
    kept = [selection for _, selection in parts if selection.cases]
    if not kept:
        raise InputError(f"'{config}' keeps no case of {[str(folder) for folder in folders]} aside; nothing to fit on.")
    predictor = Predictor(loaded.network, device, None, ONE_PIECE * int(loaded.card.fit["size"]))
    seen = [_looked_at(loaded, predictor, folder, case) for folder in kept for case in folder.cases]
    logits, reference, features, there = (torch.cat(column) for column in zip(*seen, strict=True))
    if there.all() and loaded.card.in_channels == 3:
        parts_seen = [_parts_looked_at(loaded, predictor, folder, case) for folder in kept for case in folder.cases]
        features = torch.cat([features, *parts_seen])
        there = torch.cat([there, torch.zeros(len(features) - len(there), there.shape[1], dtype=torch.bool)])
    fitted = {
        "temperature": fit_temperature(logits, reference),
        "presence": _presence(features, there, [label.name for label in loaded.card.labels], lost),
    }
    loaded = replace(loaded, card=replace(loaded.card, **fitted))
    pairs = [pair for folder in kept for case in folder.cases for pair in _expectations(loaded, folder, case, device)]
    return {
        "checkpoint": loaded.card.id,
        "weights_sha256": loaded.card.weights_sha256,
        "data": [folder.name for folder in kept],
        "cases": len(seen),
        **fitted,
        "quality": fit_quality(*zip(*pairs, strict=True)) if pairs else {},
        "familiar": fit_familiar(loaded, predictor, [learned for learned, _ in parts], kept),
        "sizes": class_sizes([learned for learned, _ in parts], loaded.card.labels),
    }


def _presence(features: Tensor, there: Tensor, names: list[str], lost: float) -> dict[str, Any]:
    if there.all():
        logger.warning("every slice kept aside shows %s: whether a slice shows nothing is not judged", ", ".join(names))
        return {}
    return fit_presence(features.numpy(), there.numpy(), names, lost)


def _expectations(checkpoint: Checkpoint, data: DataFolder, case: Case, device: str) -> Iterator[tuple[float, float]]:
    """(soft Dice confidence, Dice) of each class that the application finds in a case."""
    classes = checkpoint.card.labels
    image, reference = read_case(data, case, [label.name for label in classes])
    run = SegmentationRun(image, checkpoint, RunSettings(device, attention=False, force=True))
    for _ in run:
        pass
    labels = run.result().labels
    confidence = soft_dice(sum(run.sums.values()))
    for place, label in enumerate(classes):
        if (labels == label.value).any() and np.isfinite(confidence[place]):
            yield float(confidence[place]), dice_of(labels == label.value, reference == label.value)


def class_sizes(folders: Sequence[DataFolder], classes: Sequence[Label]) -> dict[str, list[float]]:
    """Class -> smallest and largest volume in mL over the cases that hold it whole; ``{}`` for pictures."""
    names = [label.name for label in classes]
    found: dict[str, list[float]] = {}
    for folder in (folder for folder in folders if folder.spacing_is_real):
        for case in folder.cases:
            image, labels = read_case(folder, case, names)
            everything = tuple(slice(0, size) for size in labels.shape)
            cut = border_findings(labels, everything, tuple(classes))
            voxel = abs(float(np.linalg.det(image.ijk_to_ras[:3, :3]))) / 1000
            for label in (label for label in classes if label.name not in cut):
                if voxels := int((labels == label.value).sum()):
                    found.setdefault(label.name, []).append(voxels * voxel)
    return {name: [round(min(sizes), 3), round(max(sizes), 3)] for name, sizes in found.items()}


def _looked_at(
    checkpoint: Checkpoint, predictor: Predictor, data: DataFolder, case: Case
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of all slices of a case: some logits ``[N, K]``, their reference ``[N]``, features and presence by class."""
    image, labels = read_case(data, case, [label.name for label in checkpoint.card.labels])
    prepared = prepare(image, checkpoint, RunSettings(force=True))
    reference = channels_first(prepared.plan.view(labels)).long()
    columns = [_of_batch(*batch, len(checkpoint.card.labels)) for batch in _batches(prepared, predictor, reference)]
    return tuple(torch.cat(column) for column in zip(*columns, strict=True))


def _parts_looked_at(checkpoint: Checkpoint, predictor: Predictor, data: DataFolder, case: Case) -> Tensor:
    """Features of presence of a part of the picture that shows nothing, ``[0 or 1, classes, 3]``."""
    image, labels = read_case(data, case, [label.name for label in checkpoint.card.labels])
    prepared = prepare(image, checkpoint, RunSettings(force=True))
    right = prepared.fit.to_canvas(channels_first(prepared.plan.view(labels)).long()[:1], label=True)[:, 0]
    part = part_without(prepared.canvases(0, 1), right)
    if part is None:
        return torch.zeros(0, len(checkpoint.card.labels), len(FEATURES))
    return presence_features(predictor.predict(part))


def _batches(prepared: Any, predictor: Predictor, reference: Tensor) -> Iterator[tuple[Any, Tensor]]:
    outputs = SliceOutputs(prepared, predictor)
    for first in range(0, len(reference), predictor.batch_size):
        right = prepared.fit.to_canvas(reference[first : first + predictor.batch_size], label=True)[:, 0]
        yield outputs.of(first, predictor.batch_size), right


def _of_batch(output: Any, right: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    logits = output.logits
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], 1)
    step = max(1, right[0].numel() // PIXELS)
    there = torch.stack([(right == value).flatten(1).any(1) for value in range(1, classes + 1)], 1)
    pixels = logits.flatten(2)[..., ::step].movedim(1, -1).flatten(0, 1)
    return pixels, right.flatten(1)[:, ::step].flatten(), presence_features(output), there
