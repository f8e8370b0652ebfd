"""Tables and figures of the ablations, from the CSV files that the runs wrote."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from ..measuring.averaging import THIRDS
from .comparison import Ablation, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Run = dict[str, str]
COLUMNS = (
    *("row", "seed", "steps", "data", "training_cases", "cases", "parameters", "mac"),
    *("dice", "jaccard", "weighted_jaccard", "hd95", "hd95_unit", "ms_per_slice", "training_seconds", "device"),
    *("network", "tau", *(f"dice_{third}" for third in THIRDS)),
)
RULES = """\
* Measured on cases of the training split that were kept aside, with the averaged weights at the end of the training: no
  epoch was chosen on them, and the test split was not read. No post-processing.
* With several seeds: mean ± standard deviation. A seed draws weights, batches and the cases kept aside, the same cases
  for every row.
* Dice, Jaccard and HD95: means by case over the classes present. Weighted Jaccard: all pixels of all cases together,
  each class weighted by its share of the reference.
* Neighbours: those at k_max have as many as can be, k_max - 1 or all positions of the slice.
* MAC (multiply-accumulates) are for one slice and leave selective scans out.
* ms: the network alone, one slice at a time, on a machine that did other work as well: no more than its order of
  magnitude. For times see [all networks](../networks.md).
"""
TAU_RULE = """\
* tau and error: Spearman's correlation of tau with the share of wrong pixels in its cell, over the cells of a case's
  slices that show a boundary; mean over the cases.
"""


def read_runs(path: Path) -> list[Run]:
    """The lines of a CSV file; none where it does not exist."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def finished_runs(path: Path, row: Row, steps: int) -> list[Run]:
    """The runs of ``row`` with so many steps in a CSV file, by seed; not those of a network once defined otherwise."""
    wanted = {"row": row.label, "steps": str(steps), "network": row.definition}
    by_seed = {run["seed"]: run for run in read_runs(path) if all(run[key] == wanted[key] for key in wanted)}
    return [by_seed[seed] for seed in sorted(by_seed, key=int)]


def write_page(name: str, ablation: Ablation, results: Path, steps: int) -> Path:
    """Write ``NAME.md`` to ``results`` and, once there is a run, ``NAME.png``; returns the page's path."""
    runs = {row.label: finished_runs(results / f"{name}.csv", row, steps) for row in ablation.rows}
    results.mkdir(parents=True, exist_ok=True)
    page = results / f"{name}.md"
    page.write_text(page_text(name, ablation, runs, steps), encoding="utf-8")
    if any(runs.values()):
        draw(runs, ablation.title, results / f"{name}.png")
    return page


def page_text(name: str, ablation: Ablation, runs: dict[str, list[Run]], steps: int) -> str:
    """The Markdown page: what was asked, how it was measured, the table, and the command."""
    base, fit = ablation.base, ablation.base.stages[-1].fit
    seeds = max((len(group) for group in runs.values()), default=0) or ablation.seeds
    some = next((runs[row.label][0] for row in ablation.rows if runs[row.label]), None)
    data = some["data"] if some else ablation.data
    learned = sorted({int(run["training_cases"]) for group in runs.values() for run in group})
    few_to_many = " to ".join(str(count) for count in dict.fromkeys([*learned[:1], *learned[-1:]]))
    cases = f" ({few_to_many} cases trained on, {some['cases']} measured on)" if some else ""
    pixels = f"{fit['size']} x {fit['size']} pixels" + (f" of {fit['mm']:g} mm" if fit["fit"] == "spacing" else "")
    lines = [
        *(f"# {ablation.title}", "", ablation.question, ""),
        f"Data: `{data}`, training split{cases}. {pixels}, {steps} steps of {base.batch_size} slices, "
        f"learning rate {base.learning_rate:g}, {seeds} seed{'s' if seeds > 1 else ''}.",
        *("", *_table(runs), ""),
    ]
    if ablation.finding and all(len(group) == ablation.seeds for group in runs.values()):
        lines += [ablation.finding, ""]
    if some:
        lines += [f"![Dice by row]({name}.png)", "", f"Every run: [{name}.csv]({name}.csv).", ""]
    folder = f"--data DATA/{data} --splits DATA/splits.csv"
    fewer = f" --seeds {seeds}" if seeds < ablation.seeds else ""
    lines += ["```", f"python -m MedSegAttentionLib ablate {name} {folder} --output RUNS{fewer}", "```", "", RULES]
    return "\n".join(lines) + (TAU_RULE if any(_has_error(run) for group in runs.values() for run in group) else "")


def _has_error(run: Run) -> bool:
    return any(stage.get("error") is not None for stage in json.loads(run["tau"] or "{}").values())


def _table(runs: dict[str, list[Run]]) -> list[str]:
    """Lines of the Markdown table."""
    every = [run for group in runs.values() for run in group]
    has_tau = any(run["tau"] for run in every)
    unit = next((f", {run['hd95_unit']}" for run in every), "")
    heads = ["", "seeds", "parameters", "G MAC", "Dice", "Jaccard", "weighted Jaccard", f"HD95{unit}", "ms a slice"]
    thirds = [f"dice_{third}" for third in THIRDS if any(run[f"dice_{third}"] for run in every)]
    heads += [f"Dice, {column.removeprefix('dice_')}" for column in thirds]
    heads += ["tau: mean; neighbours (share at k_min, at k_max)"] if has_tau else []
    has_error = any(
        stage.get("error") is not None for run in every for stage in json.loads(run["tau"] or "{}").values()
    )
    heads += ["tau and error"] if has_error else []
    lines = [_line(heads), _line(["---"] * len(heads))]
    for label, group in runs.items():
        cells = _cells(group, thirds, has_tau) if group else ["not run", *[""] * (len(heads) - 2)]
        cells += [_tau_and_error(group)] if has_error and group else []
        lines.append(_line([label, *cells]))
    return lines


def _cells(group: list[Run], thirds: list[str], has_tau: bool) -> list[str]:
    first = group[0]
    return [
        *(str(len(group)), f"{int(first['parameters']):,}", f"{int(first['mac']) / 1e9:.3f}"),
        *(_spread(group, column, "{:.3f}") for column in ("dice", "jaccard", "weighted_jaccard")),
        _spread(group, "hd95", "{:.1f}"),
        _spread(group, "ms_per_slice", "{:.0f}"),
        *(_spread(group, column, "{:.3f}") for column in thirds),
        *([_tau(group)] if has_tau else []),
    ]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _spread(group: list[Run], column: str, form: str) -> str:
    """Mean of the seeds that have the figure, with the standard deviation where there are several."""
    values = [float(run[column]) for run in group if run[column]]
    if not values:
        return "-"
    text = form.format(mean(values))
    return f"{text} ± {form.format(stdev(values))}" if len(values) > 1 else text


def _tau(group: list[Run]) -> str:
    """Each stage's tau and neighbours, mean over the seeds."""
    stages = [json.loads(run["tau"]) for run in group if run["tau"]]

    def figure(name: str, key: str) -> float:
        return mean(stage[name][key] for stage in stages)

    return "; ".join(
        f"{name.removeprefix('tau_')} {figure(name, 'mean'):.2f}; {figure(name, 'mean_k'):.1f} "
        f"({figure(name, 'share_k_min'):.0%}, {figure(name, 'share_k_max'):.0%})"
        for name in (stages[0] if stages else ())
    )


def _tau_and_error(group: list[Run]) -> str:
    """Each stage's correlation with the network's errors, mean over the seeds that have one."""
    stages = [json.loads(run["tau"]) for run in group if run["tau"]]
    known = {
        name.removeprefix("tau_"): [value for stage in stages if (value := stage[name].get("error")) is not None]
        for name in (stages[0] if stages else ())
    }
    return "; ".join(f"{name} {mean(values):.2f}" for name, values in known.items() if values) or "-"


def draw(runs: dict[str, list[Run]], title: str, png: Path) -> None:
    """Draw the Dice of every seed and row, and the histogram of tau of each stage that has one."""
    from matplotlib.figure import Figure  # drawn without pyplot: no window system, no global figures

    every = [json.loads(run["tau"] or "{}") for group in runs.values() for run in group]
    stages = list(dict.fromkeys(name for tau in every for name in tau))
    figure = Figure(figsize=(7 + 4 * len(stages), 1.5 + 0.4 * max(5, len(runs))), dpi=100, layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, 1 + len(stages), squeeze=False)[0]
    _draw_dice(axes[0], runs)
    for panel, stage in zip(axes[1:], stages, strict=True):
        _draw_tau(panel, runs, stage)
    if stages:
        axes[-1].legend(fontsize="x-small")
    figure.savefig(png)


def _draw_dice(axes: Axes, runs: dict[str, list[Run]]) -> None:
    for place, group in enumerate(runs.values()):
        values = [float(run["dice"]) for run in group]
        axes.plot(values, [place] * len(values), "o", color="tab:blue", alpha=0.6)
        if values:
            axes.plot([mean(values)], [place], "|", color="black", markersize=16)
    axes.set_yticks(range(len(runs)), [label if group else f"{label}: not run" for label, group in runs.items()])
    axes.invert_yaxis()
    axes.set_xlabel("Dice, mean by case; one dot a seed, the line their mean")
    axes.grid(True, axis="x", alpha=0.3)


def _draw_tau(axes: Axes, runs: dict[str, list[Run]], stage: str) -> None:
    """Share of the positions by tau, of the first seed of each row."""
    for label, group in runs.items():
        tau = json.loads(group[0]["tau"] or "{}") if group else {}
        if stage in tau:
            counts = tau[stage]["histogram"]
            edges = [bin_ / len(counts) for bin_ in range(len(counts) + 1)]
            axes.stairs([count / sum(counts) for count in counts], edges, label=label)
    axes.set_xlabel(f"{stage}: share of the positions by tau")
