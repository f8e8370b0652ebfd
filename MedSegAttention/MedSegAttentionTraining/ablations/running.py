"""Training and measuring the rows of an ablation, one after the other; what is finished is never done again.

A row is measured with the averaged weights at the end of its training, on the part of the training cases that was kept
aside. No epoch is chosen on these cases, and the test split is not read at all.
"""

from __future__ import annotations

import csv
import json
import logging
import re
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from MedSegAttentionLib.checkpoints.loading import Checkpoint
from MedSegAttentionLib.cohort.cluster import ClusterChoice
from MedSegAttentionLib.cohort.each import each
from MedSegAttentionLib.data.card import AttentionMap, Card
from MedSegAttentionLib.data.errors import UsageError
from MedSegAttentionLib.data.labels import Code, Label
from MedSegAttentionLib.data.result import VolumeResult
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.engine import ONE_PIECE, SegmentationRun
from MedSegAttentionLib.inference.prediction import Predictor, folded
from MedSegAttentionLib.inference.settings import RunSettings

from ..data.cases import DataFolder
from ..fitting.config import TrainingConfig
from ..fitting.loop import Options, Trainer
from ..fitting.starting import start_from
from ..measuring.averaging import THIRDS, Averages
from ..measuring.complexity import measure_complexity
from ..measuring.metrics import mean_figures
from ..measuring.reliability import batches, correlations, measure_case
from ..measuring.scoring import score_cases
from ..measuring.timing import seconds_in_turn
from .comparison import Ablation
from .peers import build
from .report import COLUMNS, finished_runs

logger = logging.getLogger(__name__)
ROUNDS = 9


def run_ablation(
    name: str,
    ablation: Ablation,
    data: DataFolder,
    output: Path,
    results: Path,
    options: Options,
    seeds: int | None = None,
    labels: list[str] | None = None,
    cluster: ClusterChoice | None = None,
) -> None:
    """Train and measure what is not finished yet; each run becomes a line of ``NAME.csv`` as soon as it is done.

    Args:
        name: of the ablation.
        ablation: what to compare.
        data: the training cases.
        output: folder for the runs; one that was interrupted goes on there.
        results: folder of ``NAME.csv``.
        options: how to carry out the runs; ``max_steps`` makes each a trial, kept apart from whole runs.
        seeds: seeds 0, 1, ... of each row; None takes as many as the ablation asks for.
        labels: of the rows to do; None does all.
        cluster: whose workers take the runs, each whole; None for this process.

    Raises:
        UsageError: a label that is none of the ablation's.
    """
    known_rows = [row.label for row in ablation.rows]
    if unknown := sorted(set(labels or ()) - set(known_rows)):
        raise UsageError(f"ablation '{name}' has no rows {unknown}; expected some of {known_rows}.")
    steps = min(options.max_steps or ablation.steps, ablation.steps)
    wanted = []
    for seed in range(seeds or ablation.seeds):
        for row in ablation.rows:
            if labels and row.label not in labels:
                continue
            if any(run["seed"] == str(seed) for run in finished_runs(results / f"{name}.csv", row, steps)):
                logger.info("%s, %s, seed %d: finished before", name, row.label, seed)
                continue
            folder = output / name / f"{re.sub('[^a-z0-9]+', '-', row.label.lower()).strip('-')}-seed{seed}-{steps}"
            known = {"row": row.label, "seed": seed, "steps": steps, "network": row.definition}
            wanted.append((known, (ablation.config(row, seed), row.start, folder)))
    start = partial(partial, _run, data, options)
    for (known, (*_, folder)), figures in zip(wanted, each(start, [run for _, run in wanted], cluster), strict=True):
        _append(results / f"{name}.csv", known | figures)
        (folder / "last.pt").unlink()  # what is left over from going on is large


def _run(data: DataFolder, options: Options, run: tuple[TrainingConfig, str, Path]) -> dict[str, Any]:
    config, start, folder = run
    return train_and_measure(config, data, folder, options, start)


def train_and_measure(
    config: TrainingConfig, data: DataFolder, folder: Path, options: Options, start: str = ""
) -> dict[str, Any]:
    """One run in ``folder``, from the weights of the checkpoint ``start`` if any; figures by column of the CSV file."""
    trainer = Trainer(config, [data], folder, options, build, start_from(start, config) if start else None)
    trainer.run()
    (training, kept), network = trainer.parts[0], trainer.averaged.module.eval()
    size = config.stages[-1].fit["size"]
    picture = torch.zeros(1, config.network_channels, size, size, device=trainer.device)
    complexity = measure_complexity(config.network["name"], network, tuple(picture.shape))
    with open(folder / "log.csv", newline="", encoding="utf-8") as file:
        seconds = sum(float(epoch["seconds"]) for epoch in csv.DictReader(file))
    return {
        "data": data.name,
        "training_cases": len(training.cases),
        "cases": len(kept.cases),
        "parameters": complexity.parameters,
        "mac": complexity.mac,
        **measure(network, config, kept, options.device),
        "ms_per_slice": f"{1000 * _seconds_per_slice(network, picture):.1f}",
        "training_seconds": f"{seconds:.0f}",
        "device": _device_name(trainer.device),
    }


def measure(network: nn.Module, config: TrainingConfig, cases: DataFolder, device: str) -> dict[str, Any]:
    """Agreement with the reference on the volumes' own grid, through the same run as in the application."""
    card = _card(network, config, device)
    averages = Averages(config.classes, thirds=config.task == "prostate")
    predict = partial(_segment, Checkpoint(card, network), RunSettings(device=device, force=True))
    entries, tau = score_cases(card, cases, list(card.labels), predict, averages=averages)
    for name, found in error_correlations(Checkpoint(card, network), cases, device).items():
        tau[name]["error"] = found
    summary = averages.summary()
    thirds = {f"dice_{third}": summary["thirds"][third] for third in THIRDS} if "thirds" in summary else {}
    means = mean_figures(entries) | {"weighted_jaccard": summary["weighted_jaccard"], **thirds}
    names = {"dice": "dice", "jaccard": "iou", "weighted_jaccard": "weighted_jaccard", "hd95": "hd95"}
    names |= {name: name for name in thirds}
    return {
        **{column: "" if means[key] is None else f"{means[key]:.5g}" for column, key in names.items()},
        "hd95_unit": "mm" if cases.spacing_is_real else "pixels",
        "tau": json.dumps(tau) if tau else "",
    }


def error_correlations(checkpoint: Checkpoint, cases: DataFolder, device: str) -> dict[str, float | None]:
    """For each tau map its Spearman correlation with the error rate of its cells, mean over the cases that have one."""
    predictor = Predictor(checkpoint.network, device, None, ONE_PIECE * int(checkpoint.card.fit["size"]))
    found: dict[str, list[float | None]] = {}
    for case in cases.cases:
        _, cells = measure_case(batches(checkpoint, predictor, cases, case))
        for name, rows in cells.items():
            found.setdefault(name, []).append(correlations(rows)["tau_error"])
    known = {name: [value for value in values if value is not None] for name, values in found.items()}
    return {name: sum(values) / len(values) if values else None for name, values in known.items()}


def _segment(checkpoint: Checkpoint, settings: RunSettings, image: VolumeImage) -> VolumeResult:
    run = SegmentationRun(image, checkpoint, settings)
    for _ in run:
        pass
    return run.result()


@torch.no_grad()
def _card(network: nn.Module, config: TrainingConfig, device: str) -> Card:
    """What a run needs to know of a network that is no checkpoint; no post-processing."""
    size, nothing = config.stages[-1].fit["size"], Code("", "", "")
    maps = network.forward_with_attention(torch.zeros(1, config.network_channels, size, size, device=device)).attention
    return Card(
        id=config.checkpoint,
        version="",
        task=config.task,
        title="",
        description="",
        modality="",
        network=config.network["name"],
        network_config=config.network_options,
        in_channels=config.in_channels,
        adjacent=config.adjacent,
        activation="sigmoid" if config.out_channels == 1 else "softmax",
        labels=tuple(Label(name, value, (0, 0, 0), nothing, nothing) for value, name in enumerate(config.classes, 1)),
        orientation="axial",
        intensity=config.intensity,
        fit=config.stages[-1].fit,
        expects={"minimum": [None, None], "maximum": [None, None]},
        postprocessing={},
        attention=tuple(AttentionMap(name, name, "") for name in maps if name.startswith(("tau_", "k_"))),
        training_data=(),
        license="",
        limits=(),
        weights_sha256="",
    )


@torch.inference_mode()
def _seconds_per_slice(network: nn.Module, picture: torch.Tensor) -> float:
    """Median time of one slice at a time, made ready as the extension does."""
    ready = folded(network).to(memory_format=torch.channels_last)
    return median(seconds_in_turn({"": partial(ready, picture)}, ROUNDS)[""])


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def _append(path: Path, run: dict[str, Any]) -> None:
    """Add a line to the CSV file, with the names of the columns before the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.is_file()
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow(run)
