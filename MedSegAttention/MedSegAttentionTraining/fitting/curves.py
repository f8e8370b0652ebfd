"""The log of a run, a row for each epoch, and its learning curve as a picture."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from MedSegAttentionLib.data.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOG_FIELDS = ("epoch", "stage", "size", "learning_rate", "loss", "dice", "best", "tau_mean", "seconds")
COLUMNS = ("epoch", "stage", "size", "loss", "dice", "best", "tau_mean")


def add_to_log(log_csv: Path, row: Sequence[float]) -> None:
    """Append ``row``, in the order of :data:`LOG_FIELDS`, to a file that is begun with their names."""
    begun = log_csv.is_file()
    with open(log_csv, "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if not begun:
            writer.writerow(LOG_FIELDS)
        writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row])


def draw_learning_curve(log_csv: Path, png: Path) -> None:
    """Draw loss, Dice on the selection part and mean tau over the epochs, with the changes of resolution marked.

    Args:
        log_csv: written by :class:`~.loop.Trainer`, a row for each epoch.
        png: picture to write, 900 pixels wide.

    Raises:
        InputError: the log is missing, has no epoch yet, or lacks a column.
    """
    from matplotlib.figure import Figure  # drawn without pyplot: no window system, no global figures

    log = _read_log(Path(log_csv))
    has_tau = not all(math.isnan(value) for value in log["tau_mean"])
    figure = Figure(figsize=(9, 10 if has_tau else 7), dpi=100, layout="constrained")
    axes = figure.subplots(3 if has_tau else 2, 1, sharex=True)
    marker = "o" if len(log["epoch"]) < 30 else None
    axes[0].plot(log["epoch"], log["loss"], color="tab:blue", marker=marker, markersize=3)
    axes[0].set_ylabel("training loss")
    axes[0].set_ylim(bottom=0)
    axes[1].plot(log["epoch"], log["dice"], color="tab:green", marker=marker, markersize=3, label="epoch")
    _draw_best(axes[1], log)
    axes[1].set_ylabel("Dice, selection cases")
    axes[1].set_ylim(0, 1)
    axes[1].legend(loc="best")
    if has_tau:
        axes[2].plot(log["epoch"], log["tau_mean"], color="tab:purple", marker=marker, markersize=3)
        axes[2].set_ylabel("mean tau")
        axes[2].set_ylim(0, 1)
    _mark_stages(list(axes), log)
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(png)


def _read_log(path: Path) -> dict[str, list[float]]:
    """Column -> its values."""
    if not path.is_file():
        raise InputError(f"training log '{path}' does not exist; expected the log.csv of a training run's folder.")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or (missing := [name for name in COLUMNS if name not in rows[0]]):
        problem = f"lacks the columns {missing}" if rows else "has no epoch yet"
        raise InputError(f"training log '{path}' {problem}; expected a row for each epoch with {', '.join(COLUMNS)}.")
    return {name: [float(row[name]) for row in rows] for name in COLUMNS}


def _draw_best(axes: Axes, log: dict[str, list[float]]) -> None:
    """The best Dice so far; every stage starts anew, so each has a line of its own."""
    for stage in sorted(set(log["stage"])):
        points = [
            (epoch, best)
            for epoch, at, best in zip(log["epoch"], log["stage"], log["best"], strict=True)
            if at == stage
        ]
        label = f"best at {log['size'][log['stage'].index(stage)]:g} pixels: {points[-1][1]:.4f}"
        style = "-" if stage == log["stage"][-1] else ":"
        axes.step(*zip(*points, strict=True), where="post", color="tab:orange", linestyle=style, label=label)


def _mark_stages(axes: list[Axes], log: dict[str, list[float]]) -> None:
    """A line before the first epoch of each stage, named by its resolution."""
    for index, (epoch, stage) in enumerate(zip(log["epoch"], log["stage"], strict=True)):
        if index and stage == log["stage"][index - 1]:
            continue
        for panel in axes:
            panel.axvline(epoch - 0.5, color="0.6", linewidth=1)
            panel.grid(True, alpha=0.3)
        label = f"stage {stage + 1:g}: {log['size'][index]:g} pixels"
        axes[0].text(epoch - 0.5, 1.01, label, transform=axes[0].get_xaxis_transform(), va="bottom", color="0.4")
