"""What a result says of itself: uncertainty, probabilities, expected Dice, where to look first, what is odd in it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.data.errors import CheckpointError
from MedSegAttentionLib.data.labels import Code, Label
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.anatomy import anatomy_findings
from MedSegAttentionLib.inference.probabilities import entropy, log_probabilities
from MedSegAttentionLib.inference.quality import expected_dice, slices_to_look_at, soft_dice
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.runner.in_process import run
from MedSegAttentionTraining.measuring.quality import fit_quality, judge_quality, looked_at_first
from small_checkpoint import two_classes, write_checkpoint

torch.set_num_threads(1)
CODE = Code("SCT", "1", "thing")
QUALITY = {"confidence": [0.2, 1.0], "dice": [0.1, 0.9], "low": [0.0, 0.8], "high": [0.3, 1.0]}


def labels_named(*names: str) -> tuple[Label, ...]:
    return tuple(Label(name, value, (9, 9, 9), CODE, CODE) for value, name in enumerate(names, start=1))


def a_ramp(slices: int = 6) -> VolumeImage:
    """Brighter from left to right, in 64 x 64 pixels of 1 mm; the threshold of the small checkpoint lies at 0.25."""
    plane = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32), (64, 64))
    return VolumeImage(np.repeat(plane[None], slices, 0).copy(), np.diag([-1.0, -1.0, 3.0, 1.0]), "ramp")


def a_run(folder, volume, **settings):
    return run(volume, checkpoint=folder, settings=RunSettings(device="cpu", **settings))


@pytest.mark.parametrize("channels", [1, 2, 9])
def test_entropy_is_0_where_one_class_is_sure_and_1_where_none_is(channels):
    logits = torch.zeros(1, channels, 1, 2)
    logits[0, -1, 0, 1] = 100
    logarithms = log_probabilities(logits, 1.0)
    torch.testing.assert_close(entropy(logarithms.exp(), logarithms)[0, 0], torch.tensor([1.0, 0.0]), atol=1e-6, rtol=0)


def test_the_temperature_makes_a_sure_network_less_sure(tmp_path):
    cold, warm = (write_checkpoint(tmp_path / str(t), temperature=t) for t in (1.0, 8.0))
    maps = [a_run(folder, a_ramp()).attention["uncertainty"].array for folder in (cold, warm)]
    assert maps[0].mean() < 0.7 * maps[1].mean()
    assert all((item >= 0).all() and (item <= 1).all() for item in maps)


def test_uncertainty_is_highest_at_the_outline_and_lies_on_the_image(tmp_path):
    result = a_run(write_checkpoint(tmp_path / "checkpoint"), a_ramp())
    assert next(iter(result.attention)) == "uncertainty"
    found = result.attention["uncertainty"]
    column = int(found.array[3, 30].argmax())
    place = found.ijk_to_ras @ [column, 30, 3, 1]
    edge = int(np.flatnonzero(result.labels[3, 30])[0])
    np.testing.assert_allclose(place[:3], [-edge, -30, 9], atol=1.01)


def test_probabilities_lie_on_the_grid_of_the_image_and_agree_with_the_labels(tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint", task="abdomen", id="abdomen-mr-klo-net", **two_classes())
    volume = VolumeImage(
        np.rot90(a_ramp().array, axes=(1, 2)).copy()[:, ::2], np.diag([-1.0, -2.0, 3.0, 1.0]), "turned"
    )
    names = ("probability_liver", "probability_spleen")
    result = a_run(folder, volume, attention=names)
    assert tuple(result.attention) == names
    for value, name in enumerate(names, start=1):
        found = result.attention[name]
        assert found.array.shape == volume.array.shape
        np.testing.assert_array_equal(found.ijk_to_ras, volume.ijk_to_ras)
        assert found.array[result.labels == value].min() > 0.33
        assert found.array.min() >= 0
        assert found.array.max() <= 1
        np.testing.assert_array_equal(found.array > 0.501, (result.labels == value) & (found.array > 0.501))


def test_the_command_line_writes_them_and_names_those_that_are_not(tmp_path, capsys):
    folder = write_checkpoint(tmp_path / "checkpoint")
    sitk.WriteImage(sitk.GetImageFromArray(a_ramp().array), str(tmp_path / "ramp.nrrd"))
    words = ["segment", str(tmp_path / "ramp.nrrd"), "--checkpoint", str(folder), "--output", str(tmp_path / "out")]
    assert main([*words, "--attention", "uncertainty,probability_prostate"]) == 0
    for name in ("uncertainty", "probability_prostate"):
        image = sitk.ReadImage(str(tmp_path / "out" / f"ramp.{name}.nrrd"))
        assert image.GetPixelID() == sitk.sitkFloat32
        assert 0 <= sitk.GetArrayFromImage(image).min() < sitk.GetArrayFromImage(image).max() <= 1
    assert main([*words, "--attention", "probability_liver", "--overwrite"]) == 1
    assert "probability_prostate" in capsys.readouterr().err


def test_a_card_without_quality_expects_nothing_and_one_with_it_does(tmp_path):
    plain = a_run(write_checkpoint(tmp_path / "plain"), a_ramp())
    assert plain.found()[0]["expected_dice"] is None
    assert plain.found()[0]["expected_dice_interval"] is None
    segment = a_run(write_checkpoint(tmp_path / "quality", quality=QUALITY), a_ramp()).found()[0]
    low, high = segment["expected_dice_interval"]
    assert 0.7 < segment["expected_dice"] < 0.9
    assert low < segment["expected_dice"] < high
    nothing = VolumeImage(a_ramp().array * 0.2, a_ramp().ijk_to_ras, "dark")
    assert a_run(tmp_path / "quality", nothing).found()[0]["expected_dice"] is None


@pytest.mark.parametrize(
    "wrong", [{"confidence": [1.0, 0.2]}, {"dice": [0.1]}, {"high": [0.3, 1.5]}, {"low": ["none", 0.5]}]
)
def test_a_card_with_a_quality_that_cannot_be_used_is_refused(wrong, tmp_path):
    with pytest.raises(CheckpointError):
        a_run(write_checkpoint(tmp_path / "checkpoint", quality=QUALITY | wrong), a_ramp())


def test_exact_probabilities_expect_the_true_dice():
    """Masks drawn from the probabilities themselves: the soft Dice confidence is their mean Dice."""
    generator = np.random.default_rng(0)
    p = np.clip(generator.normal(0.75, 0.2, 20_000), 0, 1) * (np.arange(20_000) < 8_000)
    mask = p > 0.5
    sums = np.array([p.sum(), mask.sum(), (p * mask).sum()])
    drawn = [generator.random(p.shape) < p for _ in range(20)]
    true = np.mean([2 * (truth & mask).sum() / (truth.sum() + mask.sum()) for truth in drawn])
    assert soft_dice(sums) == pytest.approx(true, abs=0.005)
    assert np.isnan(soft_dice(np.zeros(3)))


def test_what_is_expected_follows_the_cases_it_was_fitted_on():
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.4, 1, 400)
    dice = np.clip(2 * confidence - 1 + generator.normal(0, 0.1 * (1.1 - confidence)), 0, 1)
    table = fit_quality(confidence[:200], dice[:200])
    assert table["dice"] == sorted(table["dice"])
    rows = [
        {"dice": true, "expected_dice": value, "expected_dice_interval": interval, "voxels": 10}
        for true, (value, interval) in zip(dice[200:], (expected_dice(c, table) for c in confidence[200:]), strict=True)
    ]
    judged = judge_quality(rows)
    assert judged["correlation"] > 0.9
    assert judged["error"] < 0.06 < judged["mean"]
    assert 0.76 < judged["held"] < 0.98  # the Dice rises steeply within a group, so its interval is wide
    assert judged["size"] is None
    assert fit_quality(confidence[:23], dice[:23]) == {}


def test_an_interval_from_few_segments_holds_as_many_new_ones_as_it_says():
    generator, held = np.random.default_rng(1), []
    for _ in range(60):
        confidence, dice = generator.uniform(0.4, 1, 124), generator.uniform(0.3, 0.9, 124)
        table = fit_quality(confidence[:24], dice[:24])
        intervals = [expected_dice(value, table)[1] for value in confidence[24:]]
        held += [low <= true <= high for (low, high), true in zip(intervals, dice[24:], strict=True)]
    assert 0.76 < np.mean(held) < 0.86


def test_the_slices_with_most_to_expect_come_first_each_with_its_reason():
    sums = np.zeros((10, 2, 3))
    sums[2:8, 0] = (100, 100, 98)
    sums[7, 0] = (80, 100, 65)  # the last of the liver
    sums[4, 0] = (130, 100, 95)
    sums[5, 1] = (30, 0, 0)  # a spleen that was not drawn
    first = slices_to_look_at(sums, labels_named("liver", "spleen"), labels_named("liver", "spleen"))
    assert list(first) == [7, 4]
    assert first[7] == "liver: its last slice; where it ends is uncertain."
    assert first[4] == "liver: its outline is uncertain."
    only = slices_to_look_at(sums, labels_named("liver", "spleen"), labels_named("liver", "spleen")[1:])
    assert only == {5: "spleen: not found here, but it may be there."}
    assert slices_to_look_at(sums[:4], labels_named("liver", "spleen"), labels_named("liver", "spleen")) == {}


def test_the_slices_to_look_at_first_are_those_with_most_errors(tmp_path):
    volume = a_ramp(10)
    volume.array[6] = volume.array[6] * 0.1 + 0.2  # all of it near the threshold
    result = a_run(write_checkpoint(tmp_path / "checkpoint"), volume)
    assert result.provenance["look_first"][0] == 6
    assert len(result.provenance["look_first"]) == len(result.provenance["look_first_reasons"]) == 2
    right = result.labels.copy()
    right[6] = 1 - right[6]
    right[0, 0, 0] = 1 - right[0, 0, 0]
    share, at_best = looked_at_first(result, result.labels, right)
    assert share > 0.99
    assert at_best == pytest.approx(1)
    assert looked_at_first(result, result.labels, result.labels) is None


def blocks(**places: tuple[slice, slice, slice]) -> tuple[np.ndarray, tuple[Label, ...]]:
    """``[40, 100, 100]`` of 2 x 2 x 5 mm (50 voxels to the mL) with a block of each class."""
    labels, classes = np.zeros((40, 100, 100), np.uint8), labels_named(*(name.replace("_", " ") for name in places))
    for value, place in enumerate(places.values(), start=1):
        labels[place] = value
    return labels, classes


MATRIX = np.diag([-2.0, -2.0, 5.0, 1.0])  # i runs to the left: a small i is on the patient's right


def test_plausible_organs_are_not_told_of():
    labels, classes = blocks(
        liver=np.s_[5:35, 20:70, 5:45], spleen=np.s_[10:30, 30:50, 70:90], left_kidney=np.s_[5:25, 60:80, 60:80]
    )
    assert anatomy_findings(labels, MATRIX, classes, set(), {"liver": [500.0, 2000.0]}) == {}


def test_sides_sizes_and_pieces_are_told_at_the_segment():
    labels, classes = blocks(
        liver=np.s_[5:35, 20:70, 50:90],
        spleen=np.s_[10:30, 30:50, 5:25],
        gallbladder=np.s_[10:12, 80:83, 60:62],
        pancreas=np.s_[10:38, 85:99, 10:90],
    )
    labels[20:24, 85:99] = 0
    found = anatomy_findings(labels, MATRIX, classes, set(), {"gallbladder": [2.0, 90.0]})
    assert found["liver"] == [
        "lies to the patient's left of the spleen: the sides may be exchanged, in the image or here."
    ]
    assert found["spleen"] == [
        "lies to the patient's right of the liver: the sides may be exchanged, in the image or here."
    ]
    assert found["gallbladder"] == ["is smaller (0.24 mL) than in any training case (2 mL or more)."]
    assert "538 mL, outside the 19 to 139 mL usual in adults (Saisho et al. 2007)." in found["pancreas"][0]
    assert found["pancreas"][1] == "is in 2 separate pieces; expected one."


def test_an_organ_that_is_cut_can_be_too_large_and_not_too_small():
    labels, classes = blocks(spleen=np.s_[38:40, 30:40, 30:40], liver=np.s_[0:38, 0:60, 0:60])
    found = anatomy_findings(labels, MATRIX, classes, set(), {})
    assert all("outside" in found[name][0] for name in ("spleen", "liver"))
    assert list(anatomy_findings(labels, MATRIX, classes, {"spleen", "liver"}, {})) == ["liver"]


def test_a_voxel_is_no_organ():
    labels, classes = blocks(gallbladder=np.s_[10:11, 80:81, 60:61])
    assert anatomy_findings(labels, MATRIX, classes, {"gallbladder"}, {}) == {
        "gallbladder": ["has 1 voxel(s), too few for an organ."]
    }


def test_record_and_table_hold_what_is_said(tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint", quality=QUALITY, sizes={"prostate": [90.0, 100.0]})
    (tmp_path / "in").mkdir()
    sitk.WriteImage(
        sitk.GetImageFromArray(np.pad(a_ramp().array, ((1, 1), (5, 5), (5, 5)))), str(tmp_path / "in" / "a.nrrd")
    )
    words = ["segment", str(tmp_path / "in"), "--checkpoint", str(folder), "--output", str(tmp_path / "out")]
    assert main(words) == 0
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    (segment,) = record["segments"]
    assert 0 < segment["expected_dice_interval"][0] < segment["expected_dice"] < 1
    assert record["look_first"]
    with open(tmp_path / "out" / "summary.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert float(row["prostate expected Dice"]) == segment["expected_dice"]
    assert all(f"prostate {text}" in row["findings"] for text in segment["findings"])
