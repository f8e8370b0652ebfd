"""Segmenting and scoring the cases of a folder, one by one or by the workers of a cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from inspect import signature
from typing import Any

import numpy as np

from MedSegAttentionLib.cohort.cluster import ClusterChoice
from MedSegAttentionLib.cohort.each import each
from MedSegAttentionLib.data.card import Card
from MedSegAttentionLib.data.labels import Label
from MedSegAttentionLib.data.result import VolumeResult
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.networks.layers.dynamic_knn_attention import DynamicKNNAttention

from ..data.cases import Case, DataFolder, read_case
from .averaging import Averages
from .metrics import TauStatistics, mean_figures, score_case, scored_classes
from .quality import looked_at_first

logger = logging.getLogger(__name__)

Predict = Callable[[VolumeImage], VolumeResult]

EXPECTED = ("voxels", "expected_dice", "expected_dice_interval")
"""Of what a run says of a class, kept beside what is true."""


@dataclass(frozen=True)
class ScoredCase:
    """What is kept of a case; it travels, so no voxels.

    Attributes:
        entry: of the report.
        averages: of this case alone.
        tau: map name -> statistics of this case alone.
    """

    entry: dict[str, Any]
    averages: Averages
    tau: dict[str, TauStatistics]


def score_cases(
    card: Card,
    data: DataFolder,
    labels: list[Label],
    predict: Predict,
    averages: Averages | None = None,
    cluster: ClusterChoice | None = None,
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Segment and score every case.

    Args:
        card: of the checkpoint behind ``predict``.
        data: the cases.
        labels: the classes to score.
        predict: an image to its segmentation.
        averages: gets every case, for the other rules of averaging.
        cluster: whose workers take the cases; None for this process.

    Returns:
        One entry for each case, and the tau statistics of each map.
    """
    thirds = averages is not None and averages.thirds is not None
    start = partial(_start_scoring, card, replace(data, cases=()), labels, predict, thirds)
    entries: list[dict[str, Any]] = []
    statistics: dict[str, TauStatistics] = {}
    for scored in each(start, data.cases, cluster):
        entries.append(scored.entry)
        if averages:
            averages.merge(scored.averages)
        for name, found in scored.tau.items():
            statistics[name].merge(found) if name in statistics else statistics.setdefault(name, found)
        dice = entries[-1]["dice"]
        logger.info("%s: Dice %.4f (%d of %d)", scored.entry["case"], dice, len(entries), len(data.cases))
    return entries, {name: item.summary() for name, item in statistics.items()}


def _start_scoring(
    card: Card, data: DataFolder, labels: list[Label], predict: Predict, thirds: bool
) -> Callable[[Case], ScoredCase]:
    return partial(_score, card, data, labels, predict, thirds)


def _score(card: Card, data: DataFolder, labels: list[Label], predict: Predict, thirds: bool, case: Case) -> ScoredCase:
    """Segment a case and score what was found."""
    names = [label.name for label in labels]
    image, reference = read_case(data, case, names)
    result = predict(image)
    spacing = image.spacing[::-1] if data.spacing_is_real else None
    found = _in_order(result.labels, labels)
    scores = score_case(found, reference, {name: value for value, name in enumerate(names, start=1)}, spacing)
    averages = Averages(names, thirds)
    averages.add(found, reference, _superior(image))
    counted = scored_classes(scores)
    told = {item["name"]: {key: item[key] for key in EXPECTED} for item in result.found()}
    rows = {
        name: {**asdict(score), "counts": name in counted, **told.get(name, dict.fromkeys(EXPECTED))}
        for name, score in scores.items()
    }
    entry = {
        "case": case.name,
        **mean_figures([rows[name] for name in counted]),
        "per_class": rows,
        "look_first": looked_at_first(result, found, reference),
        "warnings": list(result.provenance.get("warnings", [])),
    }
    return ScoredCase(entry, averages, _tau_of(result, card))


def _superior(image: VolumeImage) -> tuple[int, bool]:
    """Array axis closest to the body's long axis, and whether its index grows towards the head."""
    along = image.ijk_to_ras[2, :3] / np.asarray(image.spacing)
    axis = int(np.abs(along).argmax())
    return 2 - axis, bool(along[axis] > 0)


def _in_order(found: np.ndarray, labels: list[Label]) -> np.ndarray:
    """Values of the checkpoint to 1, 2, ... in the order of ``labels``; classes not among them become background."""
    table = np.zeros(256, np.uint8)
    for value, label in enumerate(labels, start=1):
        table[label.value] = value
    return table[found]


def _tau_of(result: VolumeResult, card: Card) -> dict[str, TauStatistics]:
    statistics: dict[str, TauStatistics] = {}
    for name, volume in result.attention.items():
        if not name.startswith("tau_"):
            continue
        defaults = signature(DynamicKNNAttention).parameters
        bounds = (card.network_config.get(bound, defaults[bound].default) for bound in ("k_min", "k_max"))
        statistics[name] = TauStatistics(*bounds, result.provenance["attention_positions"][name])
        k_share = result.attention.get("k_" + name.removeprefix("tau_"))
        statistics[name].add(volume.array, None if k_share is None else k_share.array)
    return statistics
