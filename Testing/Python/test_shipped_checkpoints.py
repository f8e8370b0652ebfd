"""The checkpoints that ship: whole, documented, and as good as their cards say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from MedSegAttentionLib.checkpoints.card_file import CARD_FILE
from MedSegAttentionLib.checkpoints.catalogue import (
    WEIGHTS_FILE,
    checkpoint_folders,
    find_checkpoint,
    list_checkpoints,
)
from MedSegAttentionLib.checkpoints.loading import load_checkpoint
from MedSegAttentionLib.data.card import Card, default_checkpoints
from MedSegAttentionLib.data.task import BUILT_IN_TASKS
from MedSegAttentionLib.files.reading import read_volume
from MedSegAttentionLib.runner.in_process import RunSettings, run
from MedSegAttentionTraining.data.cases import read_case, read_folder
from MedSegAttentionTraining.publishing.figures import figures_name
from MedSegAttentionTraining.publishing.model_card import model_card
from MedSegAttentionTraining.publishing.results import data_name

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "Resources" / "results"
DATA = REPOSITORY.parent / "shared" / "data"
IDS = [folder.name for folder in checkpoint_folders()]
WEIGHTS_BUDGET_MB = 88


def reports(checkpoint: str, pattern: str = "*.json") -> list[dict]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((RESULTS / checkpoint).glob(pattern))]


def figures_of(card: Card, report: dict) -> tuple[str, dict]:
    """The card's figures of a report, and what they are listed under: in older cards the data set alone."""
    names = (figures_name(report), data_name(report))
    return next((name, card.metrics[name]) for name in names if name in card.metrics)


def test_every_task_has_a_checkpoint():
    assert {card.task for card in list_checkpoints()} == set(BUILT_IN_TASKS)


@pytest.mark.parametrize("task", BUILT_IN_TASKS)
def test_the_default_is_the_one_that_measured_best_on_the_cases_kept_aside(task):
    cards = [card for card in list_checkpoints() if card.task == task]
    for default in default_checkpoints(cards, task):
        scores, learned = {}, {}
        for rival in (card for card in cards if card.modality == default.modality):
            found = reports(rival.id, "selection/*.json")
            assert {report["split"] for report in found} == {"selection"}
            assert {report["weights_sha256"] for report in found} == {rival.weights_sha256}
            scores[rival.id] = dice_by_case(found)
            learned[rival.id] = set(dice_by_case(reports(rival.id, "fitted/*.json")))
        assert default.default
        rivals = {name for name in scores if not learned[name] & set(scores[default.id])}
        assert len({frozenset(scores[name]) for name in rivals}) == 1  # the same cases for all
        assert default.id == max(rivals, key=lambda name: np.mean(list(scores[name].values())))
        for name in set(scores) - rivals:  # it learned from what the default kept aside, and the other way round
            assert learned[default.id] & set(scores[name])
            assert len(learned[name]) < len(learned[default.id])


def dice_by_case(found: list[dict]) -> dict[tuple[str, str], float]:
    return {(report["data"], case["case"]): case["dice"] for report in found for case in report["cases"]}


@pytest.mark.parametrize("card", [card for card in list_checkpoints() if card.default], ids=lambda card: card.id)
def test_a_default_was_measured_on_what_it_learned_from_and_on_no_case_kept_aside(card):
    learned, aside = reports(card.id, "fitted/*.json"), reports(card.id, "selection/*.json")
    assert {report["data"] for report in learned} == {report["data"] for report in aside}
    assert {report["weights_sha256"] for report in learned} == {card.weights_sha256}
    fitted, kept = (
        {(report["data"], case["case"]) for report in part for case in report["cases"]} for part in (learned, aside)
    )
    assert not fitted & kept


def test_weights_of_all_versions_are_listed_and_fit_the_budget():
    page = (REPOSITORY / "Resources" / "docs" / "weights.md").read_text(encoding="utf-8")
    rows = [tuple(cell.strip(" `") for cell in line.split("|")[1:4]) for line in page.splitlines() if "| `" in line]
    shipped = {
        (card.id, card.version, str((find_checkpoint(card.id) / WEIGHTS_FILE).stat().st_size))
        for card in list_checkpoints()
    }
    assert shipped <= {(name, version, size) for name, versions, size in rows for version in versions.split(", ")}
    used = sum(int(size) for _name, _version, size in rows) / 1e6
    assert f"{used:.1f} MB are used" in page
    assert used < WEIGHTS_BUDGET_MB


@pytest.mark.parametrize("checkpoint", IDS)
def test_a_checkpoint_is_whole_and_documented(checkpoint):
    folder = find_checkpoint(checkpoint)
    loaded = load_checkpoint(folder)
    card = loaded.card
    assert card.id == checkpoint
    assert card.training_data
    assert card.limits
    page, licence = ((folder / name).read_text(encoding="utf-8") for name in ("docs/README.md", "LICENSE"))
    assert page.count("Not a medical device") == 1
    for data in card.training_data:
        assert data["name"] in page
        assert data["name"] in licence
    assert {"tau_bottleneck", "k_bottleneck"} < {item.name for item in card.attention}
    assert all(f"`{item.name}`" in page and item.meaning in page for item in card.attention)
    offered = {item.stage for item in card.attention if item.has_rows}
    assert offered == {item.stage for item in card.attention} & set(loaded.network.cells)


@pytest.mark.parametrize("checkpoint", IDS)
def test_card_page_and_readme_quote_what_was_measured(checkpoint):
    folder = find_checkpoint(checkpoint)
    card = load_checkpoint(folder).card
    measured = (REPOSITORY / "Resources" / "docs" / "measured.md").read_text(encoding="utf-8")
    page = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    found = reports(checkpoint)
    assert len(found) == len(card.metrics) > 0
    for report in found:
        assert report["weights_sha256"] == card.weights_sha256
        assert report["split"] == "test"
        dice = report["mean"]["dice"]
        name, figures = figures_of(card, report)
        assert figures["dice"] == dice
        assert f"- {name} ({len(report['cases'])} cases)" in page
        assert f"{dice:.3f}" in page
        assert f"{dice:.3f}" in measured
        for name, figures in report["per_class"].items():
            assert f"{name} {figures['dice']:.3f}" in page


@pytest.mark.parametrize("task", ["skin", "polyp"])
def test_segments_stand_out_from_photographs_of_skin_and_mucosa(task):
    """Which are red before all: Slicer's own colours of organs cannot be seen there."""
    for label in (label for card in list_checkpoints() if card.task == task for label in card.labels):
        red, green, blue = label.colour
        assert green > 1.5 * max(red, blue)


def test_a_model_card_names_a_class_that_no_test_case_shows():
    path = find_checkpoint("abdomen-ct-klo-net") / CARD_FILE
    card = json.loads(path.read_text(encoding="utf-8"))["medsegattention"]
    next(iter(card["metrics"].values()))["per_class"]["gallbladder"]["dice"] = None
    assert "gallbladder in no case" in model_card(card)


@pytest.mark.parametrize("checkpoint", IDS)
def test_the_card_quotes_the_calibration_that_was_measured(checkpoint):
    path = REPOSITORY / "Resources" / "docs" / "results" / "reliability" / f"{checkpoint}.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    folder = find_checkpoint(checkpoint)
    card = load_checkpoint(folder).card
    name, figures = figures_of(card, report | {"split": "test"})
    assert [name for name, figures in card.metrics.items() if "calibration" in figures] == [name]
    assert report["weights_sha256"] == card.weights_sha256
    found, quoted = report["calibration"]["all"], figures["calibration"]
    assert quoted["ece"] == found["before"]["ece"]
    assert quoted["ece_with_temperature"] == found["after"]["ece"]
    assert quoted["temperature"] == report["fit"]["temperature"]
    assert f"temperature {quoted['temperature']:.2f}" in (folder / "docs" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("checkpoint", IDS)
def test_a_real_case_scores_what_was_measured(checkpoint):
    report = max(reports(checkpoint), key=lambda item: len(item["cases"]))
    folder = DATA / report["data"]
    if not folder.is_dir():
        pytest.skip(f"needs the images of {report['data']} in {DATA}")
    data = read_folder(folder)
    images = {case.name: case for case in data.cases}
    entry = min(report["cases"], key=lambda item: images[item["case"]].image.stat().st_size)
    image, reference = read_case(data, images[entry["case"]], list(entry["per_class"]))
    result = run(image, checkpoint=checkpoint, settings=RunSettings(device="cpu", attention=False, force=True))
    values = {label.name: label.value for label in result.classes}
    for wanted, (name, figures) in enumerate(entry["per_class"].items(), start=1):
        found, expected = result.labels == values[name], reference == wanted
        if figures["in_reference"] or figures["found"]:
            dice = 2 * (expected & found).sum() / (expected.sum() + found.sum())
            assert dice == pytest.approx(figures["dice"], abs=0.01)


def test_the_sample_ct_shows_a_liver_on_the_right(a_real_ct):
    """Outside what the network was trained on, and still: most liver lies right of the spine and is one piece."""
    volume = read_volume(a_real_ct)
    result = run(volume, task="abdomen", settings=RunSettings(device="cpu"))
    (liver,) = (label for label in result.classes if label.name == "liver")
    index = np.argwhere(result.labels == liver.value)[:, ::-1]
    right = (volume.ijk_to_ras[0, :3] @ index.T + volume.ijk_to_ras[0, 3]) > 0
    litres = len(index) * abs(np.linalg.det(volume.ijk_to_ras[:3, :3])) / 1e6
    assert right.mean() > 0.5
    assert 0.5 < litres < 4
    for attention in result.attention.values():
        assert attention.array.min() >= 0
        assert attention.array.max() <= 1
        assert attention.array.std() > 0.02
