"""The pages ``calibration`` and ``tau``, from the JSON files that ``reliability`` wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedSegAttentionLib.data.errors import InputError

from .results import DATA_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Report = dict[str, Any]
PROFILE_BIN = 5
"""Width of the steps of distance in a report's profile, mm or pixels."""
CLEAR = 0.3
"""Mean correlation from which on a map is said to mark something, see :data:`TAU_RULES`."""
PAIRS = {
    "tau_distance": "tau, distance",
    "entropy_distance": "entropy, distance",
    "tau_error": "tau, error",
    "entropy_error": "entropy, error",
    "tau_entropy": "tau, entropy",
    "tau_foreground": "tau, foreground",
}
RULES = """\
* On the canvas of the network, slice by slice, before post-processing, padding left out; all slices of a case.
* Distances are within the slice, in mm, or in pixels of the canvas where the data give no true spacing.
"""
CALIBRATION_RULES = """\
* ECE: expected calibration error of the largest probability, 15 equally wide bins, over all pixels of all cases: 0
  where of the pixels called with 80 % four in five are right, and so on. Most pixels are easy background, hence
  beside it that near the boundary: within 5 mm or pixels of one of the reference or of the segmentation. Pixels are
  those of the canvas: between checkpoints with canvases of another size that band is another.
* The temperature divides the logits; it minimises the negative log likelihood (NLL) over all pixels of this data
  set's training cases that were kept aside to choose the epoch. Above 1: the network was too sure. No label changes by
  it.
* In brackets: 95 % bootstrap interval over the test cases of the ECE after less the ECE before; with fewer
  than ten cases narrower than its name says, so that a "lowers" there is a hint.
"""
TAU_RULES = """\
* Spearman's correlation over the cells of a map, case by case; mean over the cases with its 95 % bootstrap interval.
  What a cell covers is averaged over its pixels. Slices without a boundary in the reference are left out, and cases in
  which a quantity is the same everywhere (an error of 0).
* Distance: to the nearest boundary of the reference; what is high at boundaries has a correlation below 0. So has what
  is high on the whole object, since most cells lie far outside; the curves by distance tell the two apart.
* Error: the share of pixels with the wrong label. Foreground: the share of pixels of any class.
* Entropy: of the prediction's probabilities, without temperature; every network gives it at no cost.
* "marks" asks for a mean of 0.3 (Cohen's "medium") and an interval that leaves out 0; for the boundary also for a curve
  of mean tau that is highest next to it (in steps of 5 mm or pixels; those of fewer than 30 cells are left out). With
  fewer than ten cases the interval is narrower than its name says, so that a "marks" there is a hint.
* A map of few cells says little: at 96 pixels KM-UNet and VMKLA-UNet have nine a picture.
"""


def write_report(report: Report, results: Path) -> None:
    """Write ``results/reliability/CHECKPOINT.json``."""
    path = results / "reliability" / f"{report['checkpoint']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_pages(results: Path) -> list[Path]:
    """Write ``calibration`` and ``tau``, each ``.md`` and ``.png``, over all of ``results/reliability/*.json``.

    Returns:
        The pages; that of tau only where a checkpoint has tau maps.

    Raises:
        InputError: there is no such file.
    """
    paths = sorted((results / "reliability").glob("*.json"))
    if not paths:
        raise InputError(f"'{results}/reliability' holds no report; write one with --checkpoint, --data and --splits.")
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    pages = [results / "calibration.md"]
    pages[0].write_text(calibration_page(reports), encoding="utf-8")
    _draw(results / "calibration.png", reports, 1, _draw_reliability)
    if with_tau := [report for report in reports if report["tau"]]:
        pages.append(results / "tau.md")
        pages[1].write_text(tau_page(with_tau), encoding="utf-8")
        _draw(results / "tau.png", with_tau, 2, _draw_tau)
    return pages


def calibration_page(reports: list[Report]) -> str:
    """The Markdown page: what came out, the table, the figure, the commands and the rules."""
    heads = ["", "tested on", "test cases", "temperature (cases)", "ECE, all pixels", "ECE near the boundary"]
    rows = [[*heads, "NLL, all pixels", "NLL near the boundary"]]
    for report in reports:
        regions, fit = report["calibration"].values(), report["fit"]
        cells = [f"`{report['checkpoint']}`", DATA_NAMES.get(report["data"], report["data"]), _count(report["test"])]
        cells += [f"{fit['temperature']:.2f} ({_count(fit)})", *map(_ece, regions)]
        rows.append(cells + [_arrow(region, "nll", ".3f") for region in regions])
    answer = "What one temperature does on the test cases, where the interval of the change leaves out 0:\n"
    for region, where in (("all", "All pixels"), ("boundary", "Near the boundary")):
        changes = {report["checkpoint"]: report["calibration"][region]["change"] for report in reports}
        lower = [name for name, change in changes.items() if change and change[1] < 0]
        higher = [name for name, change in changes.items() if change and change[0] > 0]
        answer += f"\n* {where}: it lowers the ECE of {_names(lower)}, and raises that of {_names(higher)}."
    title = "# Calibration: do the probabilities mean what they say?"
    return _page(title, answer, rows, "![Reliability diagrams](calibration.png)", reports, CALIBRATION_RULES)


def _ece(region: Report) -> str:
    change = region["change"]
    return _arrow(region, "ece", ".4f") + (f" ({change[0]:+.4f} to {change[1]:+.4f})" if change else "")


def _arrow(region: Report, figure: str, form: str) -> str:
    return f"{region['before'][figure]:{form}} → {region['after'][figure]:{form}}"


def tau_page(reports: list[Report]) -> str:
    """The Markdown page: what came out, the table, the figure, the commands and the rules."""
    rows = [["", "test cases", "map", *PAIRS.values()]]
    for report in reports:
        for name, found in report["tau"].items():
            cells = [f"`{report['checkpoint']}`", _count(report["test"]), name]
            rows.append(cells + [_correlation(found[pair]) for pair in PAIRS])
    figure = "![Correlations, and mean tau by distance](tau.png)"
    return _page("# Does tau mark the boundary, or the errors?", tau_answer(reports), rows, figure, reports, TAU_RULES)


def tau_answer(reports: list[Report]) -> str:
    """In which maps tau marks the boundary, the errors or the foreground, and what the entropy does there."""
    maps = {f"{report['checkpoint']} {name}": found for report in reports for name, found in report["tau"].items()}

    def clear(pair: str, sign: int) -> list[str]:
        bounds = {name: [sign * bound for bound in found[pair]["interval"] or [0]] for name, found in maps.items()}
        return [name for name in maps if min(bounds[name]) > 0 and sign * maps[name][pair]["mean"] >= CLEAR]

    def told(names: list[str], pair: str = "") -> str:
        means = [found[pair]["mean"] for found in maps.values() if pair and found[pair]["mean"] is not None]
        of = f", {', '.join(names)}" if 0 < len(names) <= len(maps) / 2 else ""
        span = f" (correlations of all maps: {min(means):+.2f} to {max(means):+.2f})" if means else ""
        return f"{len(names)} of {len(maps)} maps{of}{span}"

    near = clear("tau_distance", -1)
    marking = [name for name in near if abs(_peak(maps[name])) < PROFILE_BIN]
    in_error, higher = clear("tau_error", 1), clear("tau_foreground", 1)
    lines = [
        f"* Boundary: tau marks it in {told(marking, 'tau_distance')}; "
        f"the entropy correlates with the distance in {told(clear('entropy_distance', -1), 'entropy_distance')}.",
        f"* Errors: tau marks them in {told(in_error, 'tau_error')}; "
        f"the entropy in {told(clear('entropy_error', 1), 'entropy_error')}.",
        f"* Foreground: tau is higher there in {told(higher)}; lower in {told(clear('tau_foreground', -1))}.",
    ]
    if others := [name for name in near if name not in marking]:
        lines[0] += f" Tau falls with the distance too in {told(others)}, but its peak is not at the boundary."
    if in_error and set(in_error) <= set(higher):
        lines[1] += (
            " Each of these is high on the foreground as a whole, where most errors are: no sign that tau finds them."
        )
    return "\n".join(lines)


def _peak(found: Report) -> float:
    """Signed distance at which the mean of tau is highest."""
    return max(_profile(found), key=lambda item: item["tau"], default={"from": 0})["from"] + PROFILE_BIN / 2


def _profile(found: Report) -> list[Report]:
    """The mean of tau by distance, without bins of so few cells that chance decides."""
    return [item for item in found["profile"] if item["cells"] >= 30]


def _correlation(found: Report) -> str:
    if found["mean"] is None:
        return "-"
    bounds = found["interval"]
    return f"{found['mean']:+.2f}" + (f" ({bounds[0]:+.2f} to {bounds[1]:+.2f})" if bounds else "")


def _page(title: str, answer: str, rows: list[list[str]], figure: str, reports: list[Report], rules: str) -> str:
    table = [f"| {' | '.join(cells)} |" for cells in (rows[0], ["---"] * len(rows[0]), *rows[1:])]
    commands = [
        f"python -m MedSegAttentionLib reliability --checkpoint {report['checkpoint']} --data DATA/{report['data']} "
        "--splits DATA/splits.csv" + (f" --cases {report['limit']}" if report["limit"] else "")
        for report in reports
    ]
    link = "Every figure: [reliability](reliability)."
    return "\n".join(
        [title, "", answer, "", *table, "", figure, "", link, "", "```", *commands, "```", "", RULES + rules]
    )


def _count(part: Report) -> str:
    """Number of cases, and of how many where some were left out."""
    return str(part["cases"]) if part["cases"] == part["of"] else f"{part['cases']} of {part['of']}"


def _names(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _draw(png: Path, reports: list[Report], rows: int, draw: Callable[[list[Axes], Report], None]) -> None:
    """A column of ``rows`` panels for each report."""
    from matplotlib.figure import Figure  # drawn without pyplot: no window system, no global figures

    figure = Figure(figsize=(0.5 + 3.6 * len(reports), 3.6 * rows), dpi=100, layout="constrained")
    panels = figure.subplots(rows, len(reports), squeeze=False)
    for column, report in enumerate(reports):
        panels[0, column].set_title(report["checkpoint"], fontsize="medium")
        draw(panels[:, column], report)
    for row in panels:
        row[0].legend(fontsize="x-small")
    figure.savefig(png)


def _draw_reliability(panels: list[Axes], report: Report) -> None:
    """Bins with less than a ten thousandth of the pixels are left out."""
    (axes,) = panels
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for colour, (region, found) in zip(("tab:blue", "tab:orange"), report["calibration"].items(), strict=True):
        for style, when in (("o:", "before"), ("o-", "after")):
            bins = [item for item in found[when]["diagram"] if item["pixels"] >= 1e-4 * found["pixels"]]
            points = [[item[key] for item in bins] for key in ("confidence", "accuracy")]
            axes.plot(*points, style, color=colour, markersize=3, label=f"{region}, {when} temperature")
    axes.set_xlabel("largest probability, mean of the bin")
    axes.set_ylabel("share of pixels that are right")


def _draw_tau(panels: list[Axes], report: Report) -> None:
    """Correlations as bars, mean tau by distance as a curve."""
    bars, curve = panels
    pairs = list(PAIRS)[:4]
    for number, (name, found) in enumerate(report["tau"].items()):
        places = [place + 0.4 * number for place in range(len(pairs))]
        bars.bar(places, [found[pair]["mean"] or 0.0 for pair in pairs], 0.35, label=name)
        for place, pair in zip(places, pairs, strict=True):
            bars.plot([place] * 2, found[pair]["interval"] or [0, 0], color="black")
        profile = _profile(found)
        middles = [item["from"] + PROFILE_BIN / 2 for item in profile]
        curve.plot(middles, [item["tau"] for item in profile], ".-", label=name)
    bars.set_xticks([place + 0.2 for place in range(len(pairs))], [PAIRS[pair].replace(" ", "\n") for pair in pairs])
    bars.set_ylim(-1, 1)
    bars.axhline(0, color="grey", linewidth=0.8)
    bars.set_ylabel("Spearman's correlation, mean over cases")
    curve.axvline(0, color="grey", linewidth=0.8)
    curve.set_ylim(0, 1)
    curve.set_xlabel(f"distance to the boundary, {report['unit']} (inside: < 0)", fontsize="small")
    curve.set_ylabel("mean tau of the cells")
