"""Calibration and tau against made cases whose answers are known; the command, and the pages that are kept."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.checkpoints.card_file import read_card
from MedSegAttentionLib.checkpoints.catalogue import find_checkpoint
from MedSegAttentionTraining.measuring.calibration import (
    bin_table,
    calibration,
    expected_calibration_error,
    fit_temperature,
)
from MedSegAttentionTraining.measuring.reliability import Batch, boundary_distance, correlations, measure_case
from MedSegAttentionTraining.publishing.reliability_report import PAIRS, tau_answer, write_pages
from MedSegAttentionTraining.publishing.results import ABLATION_RESULTS
from small_checkpoint import SIZE, THRESHOLDS, two_classes, write_checkpoint


def drawn(channels: int, scale: float, pixels: int = 60_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits ``[N, K]`` and labels drawn with exactly their probabilities; then the logits times ``scale``."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(pixels, channels, generator=generator)
    return scale * logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_known_scaling(channels, scale):
    logits, labels = drawn(channels, scale)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(scale, rel=0.03)
    before, after = (expected_calibration_error(bin_table(logits / t, labels)) for t in (1.0, temperature))
    assert after < 0.01
    assert before < 0.01 if scale == 1 else before > 0.05


def test_the_ece_is_the_gap_between_confidence_and_accuracy():
    logits = torch.tensor([[0.9, 0.1]]).log().repeat(10, 1)
    table = bin_table(logits, torch.tensor([0] * 6 + [1] * 4))
    assert expected_calibration_error(table) == pytest.approx(0.3)
    np.testing.assert_allclose(table[13], [10, 9, 6, -6 * np.log(0.9) - 4 * np.log(0.1)], rtol=1e-5)
    assert table.sum() == table[13].sum()


def test_figures_are_over_all_pixels_and_the_change_has_an_interval_over_cases():
    logits, labels = drawn(2, 2.0, 4000)
    # Four cases, both regions alike.
    tables = np.stack([[[bin_table(logits[a::4] / t, labels[a::4]) for t in (1, 2)]] * 2 for a in range(4)])
    report = calibration(tables)
    low, high = report["all"]["change"]
    assert low <= report["all"]["after"]["ece"] - report["all"]["before"]["ece"] <= high < 0
    assert report["all"] == report["boundary"]
    assert sum(item["pixels"] for item in report["all"]["before"]["diagram"]) == report["all"]["pixels"] == 4000
    nll = torch.nn.functional.cross_entropy(logits, labels).item()
    assert report["all"]["before"]["nll"] == pytest.approx(nll, rel=1e-5)
    assert calibration(tables[:1])["all"]["change"] is None


def test_distance_is_to_the_pixels_beside_a_change_and_padding_is_none():
    labels = np.array([[-1, 0, 0, 0, 1, 1, 1, 2]])
    np.testing.assert_array_equal(boundary_distance(labels, (1.0, 0.5)), [[1.5, 1, 0.5, 0, 0, 0.5, 0, 0]])
    assert np.isinf(boundary_distance(np.array([[-1, 0, 0, 0]]), (1.0, 1.0))).all()


def a_batch(shift: int = 0, sign: float = 1.0) -> Batch:
    """A square, found ``shift`` columns off; tau follows the distance. The left half of the canvas is padding."""
    reference = torch.zeros(1, 64, 64, dtype=torch.long)
    reference[:, 20:44, 40:56] = 1
    found = reference.roll(shift, 2)
    reference[:, :, :32] = -1
    distance = torch.from_numpy(boundary_distance(reference[0].numpy(), (1.0, 1.0)))[None, None]
    tau = torch.nn.functional.avg_pool2d(distance, 4) / 64
    logits = 8.0 * torch.stack([1 - found, found], 1)
    return Batch(logits, reference, (1.0, 1.0), {"tau": 0.5 + sign * tau / 2})


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_tau_that_is_the_distance_correlates_with_it_fully(sign):
    _, cells = measure_case([a_batch(2, sign)])
    assert cells["tau"].shape == (16 * 8, 6)  # those of the padding are left out
    found = correlations(cells["tau"])
    assert found["tau_distance"] == pytest.approx(sign, abs=1e-3)  # rounding splits ties
    assert sign * found["tau_error"] < -0.3


def test_errors_and_the_region_near_the_boundary_are_counted():
    tables, cells = measure_case([a_batch(2)])
    pixels, _, right, _ = tables[0, 0].sum(0)
    assert (pixels, right) == (64 * 32, 64 * 32 - 2 * 2 * 24)  # two columns of 24 on either side
    near = tables[1, 0].sum(0)
    assert near[0] - near[2] == 2 * 2 * 24
    assert near[0] < pixels
    assert cells["tau"][:, 3].sum() * 16 == pytest.approx(2 * 2 * 24)
    assert cells["tau"][:, 1].sum() * 16 == pytest.approx(24 * 16)
    assert correlations(measure_case([a_batch()])[1]["tau"])["tau_error"] is None


def write_set(folder: Path, classes: int, temperature: float) -> list[str]:
    """Six volumes whose labels are drawn with the probabilities of the small checkpoint at ``temperature``."""
    rng = np.random.default_rng(0)
    for sub in ("images", "labels"):
        (folder / sub).mkdir(parents=True)
    for name in "abcdef":
        image = rng.normal(THRESHOLDS[0] + 0.1 * (classes - 1), 0.1, (2, SIZE, SIZE)).clip(0, 1).astype(np.float32)
        scores = [np.zeros_like(image)]
        scores += [32 * (n * image - sum(THRESHOLDS[:n])) / temperature for n in range(1, classes + 1)]
        noise = rng.gumbel(size=(classes + 1, *image.shape))
        labels = np.argmax(np.stack(scores) + noise, 0).astype(np.uint8)
        for sub, array in (("images", image), ("labels", labels)):
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / sub / f"{name}.nrrd"))
    names = ["prostate"] if classes == 1 else ["liver", "spleen"]
    (folder / "dataset.json").write_text(json.dumps({"labels": {name: n for n, name in enumerate(names, 1)}}))
    with open(folder.parent / "splits.csv", "w", newline="") as file:
        rows = [[folder.name, name, "test" if name in "ef" else "train"] for name in "abcdef"]
        csv.writer(file).writerows([["dataset", "case", "split"], *rows])
    return names


@pytest.mark.parametrize("classes", [1, 2])
def test_the_command_recovers_the_temperature_of_made_data(tmp_path, classes, capsys):
    names = write_set(tmp_path / "made", classes, 2.0)
    folder = write_checkpoint(tmp_path / "model", **(two_classes() if classes == 2 else {}))
    config = {"checkpoint": "x", "task": "x", "network": {}, "classes": names, "intensity": {}}
    stages = [{"fit": {"fit": "stretch", "size": SIZE}, "epochs": 1}]
    (tmp_path / "config.json").write_text(json.dumps(config | {"stages": stages, "validation_share": 0.5}))
    results = ["--results", str(tmp_path / "out")]
    data = ["--data", str(tmp_path / "made"), "--splits", str(tmp_path / "splits.csv")]
    command = ["reliability", "--checkpoint", str(folder), *data, "--device", "cpu", *results]
    assert main([*command, "--config", str(tmp_path / "config.json"), "--cases", "2"]) == 0
    report = json.loads((tmp_path / "out" / "reliability" / "prostate-klo-net.json").read_text())
    assert report["fit"]["temperature"] == pytest.approx(2, rel=0.05)
    assert (report["fit"]["cases"], report["fit"]["of"], report["test"]) == (2, 2, {"cases": 2, "of": 2})
    found = report["calibration"]["all"]
    assert found["pixels"] == 2 * 2 * SIZE * SIZE
    assert found["after"]["ece"] < 0.02 < found["before"]["ece"]
    assert set(report["tau"]) == {"tau_stage4", "tau_bottleneck"}
    assert [case["case"] for case in report["cases"]] == ["e", "f"]

    pages = [tmp_path / "out" / name for name in ("calibration.md", "tau.md")]
    texts = [page.read_text(encoding="utf-8") for page in pages]
    assert all("--data DATA/" in text and "--splits DATA/splits.csv --cases 2\n" in text for text in texts)
    assert f"{found['before']['ece']:.4f} → {found['after']['ece']:.4f}" in texts[0]
    assert all(page.with_suffix(".png").stat().st_size > 5000 for page in pages)
    assert main(["reliability", *results]) == 0  # the pages alone, from the file
    assert [page.read_text(encoding="utf-8") for page in pages] == texts

    if classes == 2:
        assert main(command) == 1  # the configuration of its ID has other classes
    assert main(["reliability", "--checkpoint", str(folder), *results]) == 2
    assert main([*command, "--cases", "0"]) == 2
    assert main(["reliability", "--results", str(tmp_path)]) == 1
    assert "--checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(("peak", "marks"), [(-5, 1), (0, 1), (-10, 0), (-30, 0)])
def test_a_map_that_is_high_on_the_whole_object_does_not_mark_its_boundary(peak, marks):
    pairs = {pair: {"mean": -0.5, "interval": [-0.6, -0.4]} for pair in PAIRS}
    profile = [{"from": low, "tau": 0.9 if low == peak else 0.5, "cells": 99} for low in range(-40, 40, 5)]
    profile += [{"from": 35, "tau": 1.0, "cells": 1}]  # too few cells to count
    text = tau_answer([{"checkpoint": "x", "tau": {"tau_stage4": pairs | {"profile": profile}}}])
    assert f"tau marks it in {marks} of 1 maps" in text
    assert ("its peak is not at the boundary" in text) == (peak < -5)
    assert "tau marks them in 0 of 1 maps" in text


@pytest.mark.parametrize("foreground", [0.5, 0.1])
def test_a_map_that_is_high_on_the_object_is_not_said_to_find_errors(foreground):
    found = {pair: {"mean": 0.0, "interval": [-0.1, 0.1]} for pair in PAIRS}
    found["tau_error"] = {"mean": 0.4, "interval": [0.3, 0.5]}
    found["tau_foreground"] = {"mean": foreground, "interval": [foreground - 0.05, foreground + 0.05]}
    text = tau_answer([{"checkpoint": "x", "tau": {"tau_stage4": found | {"profile": []}}}])
    assert "tau marks them in 1 of 1 maps" in text
    assert ("no sign that tau finds them" in text) == (foreground == 0.5)


def test_the_pages_that_are_kept_are_those_of_the_files_and_of_the_checkpoints_that_ship(tmp_path):
    sources = sorted((ABLATION_RESULTS / "reliability").glob("*.json"))
    (tmp_path / "reliability").mkdir()
    for source in sources:
        report = json.loads(source.read_text(encoding="utf-8"))
        assert report["weights_sha256"] == read_card(find_checkpoint(report["checkpoint"])).weights_sha256
        (tmp_path / "reliability" / source.name).write_bytes(source.read_bytes())
    for page in write_pages(tmp_path):
        assert page.read_text(encoding="utf-8") == (ABLATION_RESULTS / page.name).read_text(encoding="utf-8")
        assert (ABLATION_RESULTS / page.name).with_suffix(".png").is_file()
