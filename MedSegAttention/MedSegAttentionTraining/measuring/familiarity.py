"""What training images look like to an encoder, and from which distance on an image counts as unlike them."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from MedSegAttentionLib.checkpoints.catalogue import find_checkpoint
from MedSegAttentionLib.checkpoints.loading import Checkpoint, load_checkpoint
from MedSegAttentionLib.data.errors import InputError, UsageError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.files.cases import sources_in
from MedSegAttentionLib.files.reading import read_volume
from MedSegAttentionLib.inference.engine import ONE_PIECE
from MedSegAttentionLib.inference.familiarity import description, distance
from MedSegAttentionLib.inference.prediction import Predictor
from MedSegAttentionLib.inference.preparation import prepare
from MedSegAttentionLib.inference.settings import RunSettings

from ..data.cases import DataFolder
from .alterations import ALTERATIONS

logger = logging.getLogger(__name__)

MOST_CASES = 200
"""Training cases of a data set that are looked at, evenly spread."""
MOST_AXES, SLICES_AN_AXIS = 48, 8
FALSE_ALARMS = 0.02
"""Share of the cases kept aside that may count as unlike."""
ENOUGH_CASES, MARGIN = 50, 0.5
"""With n, fewer, cases kept aside their largest distance, times ``1 + MARGIN / sqrt(n)``, is the threshold."""


def fit_familiar(
    checkpoint: Checkpoint, predictor: Predictor, fitted: Sequence[DataFolder], kept: Sequence[DataFolder]
) -> dict[str, Any]:
    """What :func:`~MedSegAttentionLib.inference.familiarity.distance` needs, and the threshold.

    Args:
        checkpoint: what to describe images with.
        predictor: of its network.
        fitted: the cases it learned from.
        kept: those that were kept aside.

    Returns:
        The card's ``familiar``, and in ``file`` the safetensors file that belongs to it, as base64. ``{}`` of a network
        that describes no pictures.
    """
    if not hasattr(predictor.network, "describe"):
        return {}
    slices = [described(checkpoint, predictor, image) for folder in fitted for image in _images(folder)]
    known = main_directions(np.concatenate(slices))
    distances = [
        distance(described(checkpoint, predictor, read_volume(case.image)), known)
        for folder in kept
        for case in folder.cases
    ]
    content = save(known)
    return {
        "threshold": round(threshold_of(distances), 3),
        "sha256": hashlib.sha256(content).hexdigest(),
        "cases": len(slices),
        "kept_aside": len(distances),
        "file": base64.b64encode(content).decode("ascii"),
    }


def described(checkpoint: Checkpoint, predictor: Predictor, image: VolumeImage) -> np.ndarray:
    """``[n, F]`` of an image, whatever it is."""
    return description(predictor.network, prepare(image, checkpoint, RunSettings(force=True)), predictor.device)


def main_directions(slices: np.ndarray) -> dict[str, torch.Tensor]:
    """``[n, F]`` descriptions of training slices to what the distance is computed from, float16 but for the scales."""
    mean, spread = slices.mean(0), slices.std(0) + 1e-6
    _, values, axes = np.linalg.svd((slices - mean) / spread, full_matrices=False)
    count = max(1, min(MOST_AXES, len(slices) // SLICES_AN_AXIS, len(values) - 1))
    squares = values**2 / len(slices)
    single = {"mean": mean, "spread": spread, "variance": squares[:count], "rest": squares[count:].sum(keepdims=True)}
    tensors = {name: torch.from_numpy(value.astype(np.float32)) for name, value in single.items()}
    return tensors | {"axes": torch.from_numpy(axes[:count].astype(np.float16))}


def threshold_of(distances: Sequence[float]) -> float:
    """The distance above which an image counts as unlike, from those of cases kept aside."""
    if len(distances) >= ENOUGH_CASES:
        return float(np.quantile(distances, 1 - FALSE_ALARMS))
    return (1 + MARGIN / len(distances) ** 0.5) * max(distances)


def measure_familiarity(
    checkpoint: str | Path,
    folder: str | Path,
    *,
    alteration: str = "none",
    limit: int | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """How many images of a folder count as unlike those of the training.

    Args:
        checkpoint: ID or folder.
        folder: of images, or of DICOM series; no reference is needed.
        alteration: what is done to each first, one of :data:`ALTERATIONS`.
        limit: most images, evenly spread over their names; None takes all.
        device: see :class:`~MedSegAttentionLib.inference.settings.RunSettings`.

    Returns:
        JSON-ready: ``images``, ``refused`` (for another reason, such as their channels), ``unlike``, their ``share`` of
        those that were not refused, ``median`` and ``largest`` distance, the ``threshold``.

    Raises:
        InputError: the checkpoint judges no images, or the folder holds none that it takes.
    """
    if alteration not in ALTERATIONS:
        raise UsageError(f"alteration '{alteration}' is not known; expected one of {', '.join(ALTERATIONS)}.")
    loaded = load_checkpoint(find_checkpoint(checkpoint))
    if not loaded.familiar:
        raise InputError(f"'{loaded.card.id}' does not judge whether images are like those of the training.")
    predictor = Predictor(loaded.network, device, None, ONE_PIECE * int(loaded.card.fit["size"]))
    sources = sources_in(Path(folder))
    chosen = np.linspace(0, len(sources) - 1, min(limit or len(sources), len(sources))).round().astype(int)
    distances, refused = [], 0
    for place in chosen:
        try:
            image = sources[place].read()
            altered = replace(image, array=ALTERATIONS[alteration](image.array.astype(np.float32)))
            distances.append(distance(described(loaded, predictor, altered), loaded.familiar))
        except InputError as error:
            logger.info("%s", error)
            refused += 1
    if not distances:
        raise InputError(f"'{folder}' holds no image that '{loaded.card.id}' takes ({refused} were refused).")
    threshold = loaded.card.familiar["threshold"]
    unlike = sum(value > threshold for value in distances)
    return {
        "checkpoint": loaded.card.id,
        "weights_sha256": loaded.card.weights_sha256,
        "folder": Path(folder).name,
        "alteration": alteration,
        "images": len(chosen),
        "refused": refused,
        "unlike": unlike,
        "share": unlike / len(distances),
        "median": float(np.median(distances)),
        "largest": max(distances),
        "threshold": threshold,
    }


def _images(folder: DataFolder) -> Iterator[VolumeImage]:
    chosen = np.linspace(0, len(folder.cases) - 1, min(MOST_CASES, len(folder.cases))).round().astype(int)
    yield from (read_volume(folder.cases[place].image) for place in chosen)
