"""The tables of results, from the reports of ``evaluate`` in ``Resources/results``.

``CHECKPOINT/*.json`` are of test cases: on the page of what was measured, those of the defaults in the README too.
``CHECKPOINT/selection/*.json`` are of the training cases that were kept aside, and decide which checkpoint is the
default of its task. ``CHECKPOINT/fitted/*.json`` are of the training cases that it learned from, and show with the
others how much it loses on cases that are new to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from MedSegAttentionLib.checkpoints.catalogue import list_checkpoints
from MedSegAttentionLib.data.errors import InputError

ALL_CASES = "all cases"
"""What stands for the split of a report on a whole folder."""
REPOSITORY = Path(__file__).resolve().parents[3]
README, RESULTS = REPOSITORY / "README.md", REPOSITORY / "Resources" / "results"
MEASURED = REPOSITORY / "Resources" / "docs" / "measured.md"
ABLATION_RESULTS = REPOSITORY / "Resources" / "docs" / "results"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
DATA_NAMES = {
    "prostate/promise12_train": "PROMISE12, T2 MRI",
    "prostate/prostate158_sample": "Prostate158, T2 MRI, part (external)",
    "abdomen_ct/btcv_sabs30": "BTCV, CT",
    "abdomen_mri/chaos_t2spir": "CHAOS, T2-SPIR MRI",
    "skin/isic2017_train": "ISIC 2017",
    "skin/ph2": "PH2, part (external)",
    "polyp/kvasir_seg": "Kvasir-SEG",
    "polyp/cvc_clinicdb": "CVC-ClinicDB",
    "polyp/bkai_neopolyp": "BKAI-IGH NeoPolyp",
    "polyp/bkai_negatives": "BKAI-IGH, parts without a polyp: share left empty",
    "polyp/etis_larib": "ETIS-Larib, part (external)",
}
"""Folder of a data set -> what a reader knows it by; external: of another source than the training data."""


def write_results(page: Path, table: Table, results: Path = RESULTS) -> None:
    """Bring the ``table`` of ``page`` up to date with the reports below ``results``.

    Raises:
        InputError: the page has no place for it, or there is no report.
    """
    page.write_text(with_results(page.read_text(encoding="utf-8"), table, results), encoding="utf-8")


def with_results(text: str, table: Table, results: Path = RESULTS) -> str:
    """A page's text with the table between :data:`BEGIN` and :data:`END` made anew; see :func:`write_results`."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(f"the page has no place for the results; expected a line '{BEGIN}' and, below, '{END}'.")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table(results)}\n{END}{rest.split(END)[1]}"


def measured_table(results: Path) -> str:
    """The figures on test cases: a Markdown table with a line for each report, external tests last."""
    return _table(_reports("*/*.json", results))


def defaults_table(results: Path) -> str:
    """Of the checkpoints that tasks take by themselves: task, data, cases and Dice on test cases."""
    defaults = {card.id: card for card in list_checkpoints() if card.default}
    lines = ["| task | checkpoint | tested on | cases | Dice (95 %) |", "| --- | --- | --- | --- | --- |"]
    for report in (report for report in _reports("*/*.json", results) if report["checkpoint"] in defaults):
        task = defaults[report["checkpoint"]].task
        cells = [task, f"`{report['checkpoint']}`", report_name(report), str(len(report["cases"])), _dice(report)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def selection_table(results: Path) -> str:
    """The figures on the cases kept aside, as :func:`measured_table`."""
    return _table(_reports("*/selection/*.json", results))


SAME = ("weights_sha256", "data")
"""What two reports must have in common to be of one checkpoint and one data set."""


def fitted_table(results: Path) -> str:
    """Mean Dice on the cases learned from, beside those on the cases kept aside and on the test cases of their data."""
    lines = ["| checkpoint | data | learned from (cases) | kept aside | test |", "| --- | --- | --- | --- | --- |"]
    others = [_reports(pattern, results) for pattern in ("*/selection/*.json", "*/*.json")]
    for report in _reports("*/fitted/*.json", results):
        same = [
            next((other for other in reports if all(other[key] == report[key] for key in SAME)), None)
            for reports in others
        ]
        cells = [f"{each['mean']['dice']:.3f} ({len(each['cases'])})" if each else "-" for each in (report, *same)]
        lines.append(f"| `{report['checkpoint']}` | {data_name(report)} | {' | '.join(cells)} |")
    return "\n".join(lines)


Table = Callable[[Path], str]
PAGES: dict[Path, Table] = {
    README: defaults_table,
    MEASURED: measured_table,
    ABLATION_RESULTS / "selection.md": selection_table,
    ABLATION_RESULTS / "fitted.md": fitted_table,
}
"""Page -> the table it shows, made from the reports below :data:`RESULTS`."""


def _reports(pattern: str, results: Path) -> list[dict[str, Any]]:
    """What ``pattern`` finds below ``results``, by checkpoint; external tests last."""
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in results.glob(pattern)]
    if not reports:
        raise InputError(f"'{results}' holds no report ({pattern}); write them with evaluate --json.")
    return sorted(
        reports, key=lambda report: (report["checkpoint"], "(external)" in data_name(report), -len(report["cases"]))
    )


def _table(reports: list[dict[str, Any]]) -> str:
    lines = [
        "| checkpoint | tested on | cases | Dice (95 %) | by slice | all pixels | HD95 | by part |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for report in reports:
        cells = [
            f"`{report['checkpoint']}`",
            report_name(report),
            str(len(report["cases"])),
            _dice(report),
            _other_average(report, "per_slice"),
            _other_average(report, "pooled"),
            _hd95(report),
            _by_part(report),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def data_name(report: dict[str, Any]) -> str:
    """What a reader knows the data set of a report of ``evaluate`` by."""
    return DATA_NAMES.get(report["data"], report["data"])


def report_name(report: dict[str, Any]) -> str:
    """The data set, and what else a reader must know: a split other than ``test``, mirror images."""
    split = report.get("split", "test") or ALL_CASES
    remarks = [split] * (split != "test") + ["mirror images averaged"] * bool(report.get("test_time_flips"))
    return f"{data_name(report)} ({', '.join(remarks)})" if remarks else data_name(report)


def _dice(report: dict[str, Any]) -> str:
    """Mean over the cases, with its interval where the report has one."""
    bounds = report.get("interval", {}).get("dice")
    text = f"{report['mean']['dice']:.3f}"
    return f"{text} ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else text


def _other_average(report: dict[str, Any], rule: str) -> str:
    """Mean over the classes of the Dice by another rule of ``measuring.averaging``; none where nothing is there."""
    if report["mean"].get("sensitivity", 1.0) is None:
        return ""
    classes = report.get("averages", {}).get(rule, {}).values()
    known = [figures["dice"] for figures in classes if figures["dice"] is not None]
    return f"{sum(known) / len(known):.3f}" if known else ""


def _hd95(report: dict[str, Any]) -> str:
    value = report["mean"]["hd95"]
    return "" if value is None else f"{value:.1f} {report['hd95_unit']}"


def _by_part(report: dict[str, Any]) -> str:
    """Dice by class where there are several, by third of the prostate where they were measured."""
    parts = {name: figures["dice"] for name, figures in report["per_class"].items()}
    if len(parts) == 1:
        thirds = report.get("averages", {}).get("thirds", {})
        parts = {name: value for name, value in thirds.items() if name != "cases"}
    return ", ".join(f"{name} {'-' if value is None else f'{value:.2f}'}" for name, value in parts.items())
