"""How the Dice to expect follows from the soft Dice confidence, and how far what was expected came true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import spearmanr

from MedSegAttentionLib.data.result import VolumeResult
from MedSegAttentionLib.data.volume import AXIS_NAMES

FEWEST = 24
"""Segments that a fit needs; with fewer no expected Dice is shown."""
COVERAGE = 0.8
"""Share of the true values that the interval is to hold."""
RULES = {
    "trust": "Over all segments that were found: Spearman's 'correlation' of the expected Dice with the true one, and "
    "that of the 'size' in voxels; 'error' is the mean absolute difference of the two, 'mean' that of always expecting "
    "the mean Dice of these cases; 'held' the share of true values in their interval. 'look_first': the share of the "
    "wrong voxels of a volume that lies in the slices to look at first, and 'at_best' in as many slices; means over "
    "the volumes.",
}
MOST_KNOTS, SEGMENTS_A_KNOT = 8, 8


def fit_quality(confidence: Sequence[float], dice: Sequence[float]) -> dict[str, Any]:
    """The table of a card that :func:`~MedSegAttentionLib.inference.quality.expected_dice` reads.

    Segments are put in order of their confidence and cut into groups of equal number; each gives one row: mean
    confidence, mean Dice (made to ascend by isotonic regression), and the interval in which one more value of the group
    would lie as often as the coverage says.

    Args:
        confidence: soft Dice confidence of each segment that was found, on cases kept aside.
        dice: their true Dice.

    Returns:
        ``{}`` for fewer than :data:`FEWEST` segments.
    """
    order = np.argsort(confidence, kind="stable")
    x, y = np.asarray(confidence, float)[order], np.asarray(dice, float)[order]
    if len(x) < FEWEST:
        return {}
    groups = np.array_split(np.arange(len(x)), min(MOST_KNOTS, len(x) // SEGMENTS_A_KNOT))
    rows = np.array([[x[group].mean(), y[group].mean(), *_interval(y[group])] for group in groups])
    weights = [len(group) for group in groups]
    columns = [rows[:, 0], *(isotonic_regression(rows[:, place], weights=weights).x for place in (1, 2, 3))]
    names = ("confidence", "dice", "low", "high")
    table = {name: [round(float(value), 4) for value in column] for name, column in zip(names, columns, strict=True)}
    return {**table, "coverage": COVERAGE, "segments": len(x)}


def _interval(values: np.ndarray) -> np.ndarray:
    """Between which quantiles one more value lies with the probability of the coverage.

    Of n values of one kind each of the n + 1 gaps holds the next one equally often (split conformal prediction,
    Weibull's plotting positions); the quantiles of the n values themselves would lie too near.
    """
    return np.quantile(values, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], method="weibull")


def judge_quality(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How far what was expected came true.

    Args:
        rows: of segments that were found: ``dice``, ``expected_dice``, ``expected_dice_interval``, ``voxels``.

    Returns:
        ``segments``; Spearman's ``correlation`` of the expected with the true Dice, and of the ``size`` with it;
        ``error``, the mean absolute difference, and that of always expecting the ``mean`` Dice of these very cases;
        ``held``, the share of true values in their interval. None where there are too few, or nothing was expected.
    """
    known = [row for row in rows if row["expected_dice"] is not None]
    if len(known) < 3:
        return {"segments": len(known)}
    dice, expected, size = (np.array([row[key] for row in known]) for key in ("dice", "expected_dice", "voxels"))
    intervals = np.array([row["expected_dice_interval"] for row in known])
    return {
        "segments": len(known),
        "correlation": _correlation(expected, dice),
        "size": _correlation(size, dice),
        "error": float(np.abs(expected - dice).mean()),
        "mean": float(np.abs(dice - dice.mean()).mean()),
        "held": float(((intervals[:, 0] <= dice) & (dice <= intervals[:, 1])).mean()),
    }


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    return None if np.ptp(a) == 0 or np.ptp(b) == 0 else float(spearmanr(a, b).statistic)


def looked_at_first(result: VolumeResult, found: np.ndarray, reference: np.ndarray) -> list[float] | None:
    """Which share of the wrong voxels lies in the slices to look at first, and at best could.

    Args:
        result: of the run, which names the slices.
        found: ``[K, J, I]`` labels.
        reference: the right ones.

    Returns:
        None where nothing is wrong, or no slice is named.
    """
    first = result.provenance.get("look_first", [])
    axis = 2 - AXIS_NAMES.index(result.provenance.get("slice_axis", "k"))
    wrong = (found != reference).sum(tuple({0, 1, 2} - {axis}))
    if not first or not wrong.any():
        return None
    at_best = np.sort(wrong)[::-1][: len(first)]
    return [float(part.sum() / wrong.sum()) for part in (wrong[first], at_best)]


def trust_of(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of :data:`RULES` over the cases of a report of ``evaluate``."""
    rows = [row for case in cases for row in case["per_class"].values() if row["found"]]
    shares = [case["look_first"] for case in cases if case["look_first"]]
    first, at_best = np.mean(shares, 0).tolist() if shares else (None, None)
    return {**judge_quality(rows), "volumes": len(shares), "look_first": first, "at_best": at_best}
