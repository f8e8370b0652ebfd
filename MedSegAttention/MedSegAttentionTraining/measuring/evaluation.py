"""The ``evaluate`` command: a checkpoint against the reference masks of a folder.

Every case goes through the same run as in the application; what it finds is scored by :mod:`.metrics`. A case that
fails ends the evaluation: figures over the cases that happened to work would be worth nothing.
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from MedSegAttentionLib.checkpoints.card_file import read_card
from MedSegAttentionLib.checkpoints.catalogue import choose_checkpoint, find_checkpoint, list_checkpoints
from MedSegAttentionLib.cohort.cluster import ClusterChoice
from MedSegAttentionLib.data.card import Card
from MedSegAttentionLib.data.errors import CheckpointError, InputError, UsageError
from MedSegAttentionLib.data.labels import Label
from MedSegAttentionLib.data.task import task_names
from MedSegAttentionLib.files.reading import read_volume
from MedSegAttentionLib.runner.in_process import RunSettings, run

from ..data.cases import DataFolder, read_folder
from ..fitting.config import read_config
from ..fitting.parts import parts_of
from . import averaging, quality
from .averaging import Averages, interval
from .metrics import FIGURES, mean_figures
from .quality import trust_of
from .scoring import Predict, score_cases
from .segmentations import of_segmentations

logger = logging.getLogger(__name__)

RULES = {
    "case": "A case is a patient volume, or one picture. Its figures are means over the classes present in its "
    "reference, each class against all the rest. Where the reference has none: over those found in error (Dice 0), "
    "or, where nothing was found either, over all (Dice 1).",
    "mean": "Mean over the cases.",
    "per_class": "Mean over the cases in which the class counts; 'cases' is their number.",
    "hd95": "The larger of the two directed 95th percentiles of the distances between the surfaces, in 'hd95_unit'. "
    "null where the class is missing in the reference or was not found; such a null is left out of every mean.",
    "tau": "'histogram' counts positions in 20 equal bins over [0, 1]. 'share_k_min' is the share of positions with "
    "k <= k_min; 'share_k_max' that with k >= k_max - 1, since floor(tau k_max) cannot reach k_max while tau < 1, or "
    "with all positions of the slice as neighbours.",
}


def evaluate(
    checkpoint: str | Path | None,
    data_folder: str | Path,
    split: str | None = None,
    splits: str | Path | None = None,
    *,
    segmentations: str | Path | None = None,
    device: str = "auto",
    config: str | Path | None = None,
    test_time_flips: bool = False,
    json_path: str | Path | None = None,
    csv_path: str | Path | None = None,
    predict: Predict | None = None,
    cluster: ClusterChoice | None = None,
) -> dict[str, Any]:
    """Measure a checkpoint on a folder of images with reference masks.

    Args:
        checkpoint: ID, folder or task; where a task leaves the choice to the modality, the first image decides for all.
            None with ``segmentations``.
        data_folder: see ``data.cases``.
        split: ``"train"``, ``"test"``, None for all cases, ``"selection"`` for the training cases that a training with
            ``config`` keeps aside, or ``"fitted"`` for those that it learns from.
        splits: CSV file that ``split`` refers to.
        segmentations: folder of label maps that something else made, scored in place of a checkpoint's.
        device: see :class:`~MedSegAttentionLib.inference.settings.RunSettings`.
        config: training configuration, for the splits ``"selection"`` and ``"fitted"``.
        test_time_flips: as ``device``.
        json_path: where to write what is returned.
        csv_path: where to write a row for each case and class.
        predict: segments an image in place of the checkpoint's network; its classes must be those of the card.
        cluster: whose workers take the cases; None for this process.

    Returns:
        JSON-ready: ``checkpoint``, ``data``, ``cases``, ``mean``, ``per_class``, ``tau``, ``rules`` and more.

    Raises:
        InputError: the folder cannot be used, or has no class in common with the checkpoint.
        CheckpointError: no such checkpoint.
    """
    if cluster is not None:  # workers have another current folder
        cluster = replace(cluster, gpus=0 if device == "cpu" else cluster.gpus)
        data_folder = Path(data_folder).absolute()
        segmentations = segmentations and Path(segmentations).absolute()
    data = _chosen_cases(data_folder, split, splits, config)
    if segmentations is not None:
        card, predict = of_segmentations(segmentations, data)
    else:
        folder = _checkpoint_folder(checkpoint, data)
        card = read_card(folder)
    if predict is None:
        # What the panel would ask about first must not stop a measurement; the warnings are kept with each case.
        settings = RunSettings(device=device, force=True, test_time_flips=test_time_flips)
        predict = partial(run, checkpoint=folder, settings=settings)
    labels = common_labels(card, data)
    data.check_values()
    averages = Averages(
        [label.name for label in labels], thirds=[label.name.lower() for label in labels] == ["prostate"]
    )
    cases, tau = score_cases(card, data, labels, predict, averages, cluster)
    report = {
        "checkpoint": card.id,
        "weights_sha256": card.weights_sha256,
        "data": data.name,
        "split": split,
        "test_time_flips": test_time_flips,
        "hd95_unit": "mm" if data.spacing_is_real else "pixels",
        "cases": cases,
        "mean": mean_figures(cases),
        "interval": {figure: interval([case[figure] for case in cases]) for figure in ("dice", "iou", "hd95")},
        "per_class": {label.name: _class_mean(cases, label.name) for label in labels},
        "averages": averages.summary(),
        "trust": trust_of(cases),
        "tau": tau,
        "rules": _rules(card, data, labels, cases),
    }
    if json_path:
        _prepared(json_path).write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if csv_path:
        write_csv(report, csv_path)
    return report


def common_labels(card: Card, data: DataFolder) -> list[Label]:
    """The classes that both know, by name in any case, in the card's order.

    Raises:
        InputError: there is none.
    """
    common = [label for label in card.labels if label.name.lower() in data.labels]
    if not common:
        raise InputError(
            f"checkpoint '{card.id}' knows {[label.name for label in card.labels]}, '{data.path}' has "
            f"{sorted(data.labels)}; expected a class in common. Choose the checkpoint of this data's task, or correct "
            "the names in dataset.json."
        )
    return common


def write_csv(report: dict[str, Any], path: str | Path) -> None:
    """A row for each case and class, and the mean over cases as the last row; an undefined figure is an empty cell."""
    columns = ("case", "class", *FIGURES, "in_reference", "found", "counts", "voxels", "expected_dice")
    with open(_prepared(path), "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, (*columns, "hd95_unit"), extrasaction="ignore")
        writer.writeheader()
        for entry in report["cases"]:
            for name, row in entry["per_class"].items():
                writer.writerow({"case": entry["case"], "class": name, **row, "hd95_unit": report["hd95_unit"]})
        writer.writerow({"case": "mean", **report["mean"], "hd95_unit": report["hd95_unit"]})


def _chosen_cases(
    folder: str | Path, split: str | None, splits: str | Path | None, config: str | Path | None
) -> DataFolder:
    if split not in ("selection", "fitted"):
        return read_folder(folder, split, splits)
    if config is None:
        raise UsageError(f"split '{split}' needs --config FILE, the training configuration that keeps cases aside.")
    settings = read_config(config)
    training = read_folder(folder, "train" if splits else None, splits)
    ((fitted, selection),) = parts_of([training], settings)
    if split == "selection" and not selection.cases:
        raise UsageError(
            f"'{config}' keeps no case of '{folder}' aside (training_only); expected another split or data."
        )
    return selection if split == "selection" else fitted


def _checkpoint_folder(checkpoint: str | Path, data: DataFolder) -> Path:
    try:
        return find_checkpoint(checkpoint)
    except CheckpointError:
        if str(checkpoint) not in task_names(list_checkpoints()):
            raise
        return choose_checkpoint(str(checkpoint), read_volume(data.cases[0].image))  # it has several


def _class_mean(cases: list[dict[str, Any]], name: str) -> dict[str, float | int | None]:
    rows = [case["per_class"][name] for case in cases if case["per_class"][name]["counts"]]
    return {**mean_figures(rows), "cases": len(rows)}


def _rules(card: Card, data: DataFolder, labels: list[Label], cases: list[dict[str, Any]]) -> dict[str, Any]:
    """The rules in words, and what they were applied to."""
    names = {label.name.lower() for label in labels}
    rows = [(case["case"], name, row) for case in cases for name, row in case["per_class"].items()]

    def listed(condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        where = [{"case": case, "class": name, "counts": row["counts"]} for case, name, row in rows if condition(row)]
        return {"count": len(where), "list": where}

    return {
        **RULES,
        **averaging.RULES,
        **quality.RULES,
        "left_out": sorted(set(data.labels) - names),
        "not_in_data": [label.name for label in card.labels if label.name.lower() not in names],
        "nothing_to_find_and_nothing_found": listed(lambda row: not row["in_reference"] and not row["found"]),
        "found_but_not_in_reference": listed(lambda row: row["found"] and not row["in_reference"]),
        "in_reference_but_not_found": listed(lambda row: row["in_reference"] and not row["found"]),
        "hd95_undefined": listed(lambda row: row["hd95"] is None),
    }


def _prepared(path: str | Path) -> Path:
    """``path``, with the folder it lies in made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
