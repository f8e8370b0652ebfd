"""The tables of results: exact, and those of the reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionTraining.publishing.results import (
    BEGIN,
    END,
    PAGES,
    fitted_table,
    measured_table,
    with_results,
    write_results,
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_shows_what_was_measured(page):
    text = page.read_text(encoding="utf-8")
    assert with_results(text, PAGES[page]) == text, "python -m MedSegAttentionLib results writes it anew"


def write_report(folder: Path, name: str, data: str, cases: int, **more) -> None:
    report = {
        "checkpoint": "prostate-klo-net",
        "data": data,
        "cases": [{}] * cases,
        "mean": {"dice": 0.81254, "hd95": 6.06},
        "hd95_unit": "pixels",
        "per_class": {"prostate": {"dice": 0.81254}},
        **more,
    }
    path = folder / "prostate-klo-net" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report))


def test_the_table_is_exact(tmp_path):
    averages = {
        "per_slice": {"prostate": {"dice": 0.79}},
        "pooled": {"prostate": {"dice": 0.8401}},
        "thirds": {"base": 0.7, "mid": 0.9, "apex": 0.75, "cases": 7},
    }
    interval = {"dice": [0.77, 0.8512], "hd95": None}
    write_report(tmp_path, "external", "prostate/prostate158_sample", 9)
    write_report(tmp_path, "test", "prostate/promise12_train", 7, interval=interval, averages=averages)
    organs = {"liver": {"dice": 0.9}, "spleen": {"dice": 0.85}, "gallbladder": {"dice": None}}
    mean = {"dice": 0.875, "hd95": None}
    write_report(tmp_path, "organs", "other/data", 1, per_class=organs, interval={"dice": None}, mean=mean)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_results(readme, measured_table, tmp_path)
    assert readme.read_text().splitlines() == [
        "before",
        BEGIN,
        "| checkpoint | tested on | cases | Dice (95 %) | by slice | all pixels | HD95 | by part |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| `prostate-klo-net` | PROMISE12, T2 MRI | 7 | 0.813 (0.770 to 0.851) | 0.790 | 0.840 | 6.1 pixels | "
        "base 0.70, mid 0.90, apex 0.75 |",
        "| `prostate-klo-net` | other/data | 1 | 0.875 |  |  |  | liver 0.90, spleen 0.85, gallbladder - |",
        "| `prostate-klo-net` | Prostate158, T2 MRI, part (external) | 9 | 0.813 |  |  | 6.1 pixels |  |",
        END,
        "after",
    ]


def test_cases_learned_from_stand_beside_those_that_were_not(tmp_path):
    for part, cases, dice, weights in (("fitted", 27, 0.909, "a"), ("selection", 5, 0.857, "a"), ("", 7, 0.852, "old")):
        more = {"weights_sha256": weights, "mean": {"dice": dice, "hd95": None}}
        write_report(tmp_path, f"{part}/p".strip("/"), "prostate/promise12_train", cases, **more)
    assert fitted_table(tmp_path).splitlines()[2:] == [
        "| `prostate-klo-net` | PROMISE12, T2 MRI | 0.909 (27) | 0.857 (5) | - |"  # a report of other weights is none
    ]


@pytest.mark.parametrize("text", ["no markers", f"{END}\n{BEGIN}", BEGIN])
def test_a_page_without_a_place_is_refused(text, tmp_path):
    write_report(tmp_path, "test", "a/b", 1)
    with pytest.raises(InputError, match="results:begin"):
        with_results(text, measured_table, tmp_path)


def test_no_report_is_an_error(tmp_path):
    with pytest.raises(InputError, match="evaluate --json"):
        with_results(f"{BEGIN}\n{END}", measured_table, tmp_path)
