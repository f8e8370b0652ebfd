"""The figures of a card: by data set and split, each of the card's own weights."""

from __future__ import annotations

from typing import Any

from MedSegAttentionLib.data.errors import InputError

from .results import ALL_CASES, data_name

Learned = dict[str, set[str]]
"""End of a data folder's path -> names of the cases that a training learned from."""


def figures_name(report: dict[str, Any]) -> str:
    """What the figures of a report of ``evaluate`` are listed under: data set, split, mirror images."""
    remarks = ["mirror images averaged"] * bool(report.get("test_time_flips"))
    return ", ".join([data_name(report), report.get("split") or ALL_CASES, *remarks])


def card_figures(
    reports: list[dict[str, Any]], weights_sha256: str, learned: Learned | None
) -> dict[str, dict[str, Any]]:
    """Figures by :func:`figures_name`; those of ``reliability`` become the ``calibration`` of the same test cases.

    Args:
        reports: of ``evaluate`` and ``reliability``.
        weights_sha256: of the weights that the card is of.
        learned: cases that the weights learned from; None where nothing says them.

    Raises:
        InputError: a report is about other weights; two are about the same cases; or one of ``reliability`` is about
            data without a report of ``evaluate`` on its test cases.
    """
    figures: dict[str, dict[str, Any]] = {}
    reports = [report for report in reports if "presence" not in report]  # of calibrate: see fitted_entries
    for report in reports:
        if report["weights_sha256"] != weights_sha256:
            raise InputError(
                f"a report on '{report['data']}' was measured with other weights (of '{report['checkpoint']}', SHA-256 "
                f"{report['weights_sha256'][:12]}...); measure it again with these, {weights_sha256[:12]}..."
            )
    for report in (report for report in reports if "calibration" not in report):
        name = figures_name(report)
        if name in figures:
            raise InputError(f"two reports of evaluate are about '{name}'; expected one for each data set and split.")
        figures[name] = _figures(report, learned)
    for report in (report for report in reports if "calibration" in report):
        name = figures_name({"data": report["data"], "split": "test"})
        if name not in figures:
            raise InputError(
                f"the reliability of '{report['checkpoint']}' is about '{name}', which no report of evaluate is about "
                f"({', '.join(figures) or 'none'}); give that too."
            )
        found = report["calibration"]["all"]
        figures[name]["calibration"] = {
            "ece": found["before"]["ece"],
            "temperature": report["fit"]["temperature"],
            "ece_with_temperature": found["after"]["ece"],
        }
    return figures


FITTED = ("temperature", "presence", "quality", "familiar", "sizes")


def fitted_entries(reports: list[dict[str, Any]], weights_sha256: str) -> dict[str, Any]:
    """What the card takes from the report of ``calibrate``, if there is one.

    Raises:
        InputError: it is about other weights, or there are several.
    """
    found = [report for report in reports if "presence" in report]
    if len(found) > 1 or any(report["weights_sha256"] != weights_sha256 for report in found):
        raise InputError(
            f"{len(found)} reports of calibrate, of the weights {[report['weights_sha256'][:8] for report in found]}; "
            f"expected one about those to be written, {weights_sha256[:8]}. Calibrate the exported checkpoint again."
        )
    return {key: report[key] for report in found for key in FITTED if key in report}


def _figures(report: dict[str, Any], learned: Learned | None) -> dict[str, Any]:
    """What the card shows of a report of ``evaluate``."""
    per_class = {label: {key: values[key] for key in ("dice", "hd95")} for label, values in report["per_class"].items()}
    split = report.get("split")
    known = split in (None, "train", "fitted")
    if learned is not None:
        known = any(case["case"] in learned.get(report["data"], ()) for case in report["cases"])
    return {
        "data": report["data"],
        "split": split or ALL_CASES,
        "learned_from": known,
        "cases": len(report["cases"]),
        **{key: report["mean"][key] for key in ("dice", "iou", "hd95")},
        "hd95_unit": report["hd95_unit"],
        "per_class": per_class,
    }
