"""Whether a class is in a slice at all: the score, its fit, and what a run does with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from command_tools import PHOTOGRAPH
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.checkpoints.card_file import read_card
from MedSegAttentionLib.data.errors import CheckpointError, InputError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.prediction import folded
from MedSegAttentionLib.inference.presence import presence_features, presence_scores
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.networks.contract import SegmentationOutput
from MedSegAttentionLib.runner.in_process import run
from MedSegAttentionTraining.measuring.calibrate import calibrate
from MedSegAttentionTraining.measuring.presence import fit_presence, part_without
from small_checkpoint import read_card_values, two_classes, write_card, write_checkpoint

torch.set_num_threads(1)
AREA = {"weights": {"area": 10.0}, "bias": 20.0, "measured": {}}
"""One half at a hundredth of the slice."""


def squares(*sides: int) -> VolumeImage:
    """Slice ``n`` of 64 x 64 has a bright square of ``sides[n]`` pixels."""
    array = np.zeros((len(sides), 64, 64), np.float32)
    for n, side in enumerate(sides):
        array[n, 10 : 10 + side, 20 : 20 + side] = 1
    return VolumeImage(array, np.diag([-1.0, -1.0, 3.0, 1.0]), "squares")


def test_a_slice_below_the_threshold_is_left_empty_and_its_score_is_told(tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint", presence=AREA | {"thresholds": [0.5]})
    volume = squares(0, 3, 12, 30)
    result = run(volume, checkpoint=folder, settings=RunSettings(device="cpu"))
    assert [int(plane.sum()) for plane in result.labels] == [0, 0, 144, 900]
    scores = result.provenance["presence"]["prostate"]
    assert scores == sorted(scores)
    assert scores[1] < 0.5 < scores[2]
    plain = run(volume, checkpoint=write_checkpoint(tmp_path / "plain"), settings=RunSettings(device="cpu"))
    assert [int(plane.sum()) for plane in plain.labels] == [0, 9, 144, 900]
    assert plain.provenance["presence"] == {}


def test_nothing_left_is_not_found(tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint", presence=AREA | {"thresholds": [0.5]})
    result = run(squares(2, 3), checkpoint=folder, settings=RunSettings(device="cpu"))
    assert not result.labels.any()
    assert result.provenance["not_found"] == ["prostate"]


def test_each_class_has_a_threshold_of_its_own(tmp_path):
    folder = write_checkpoint(
        tmp_path / "checkpoint",
        task="abdomen",
        id="abdomen-mr-klo-net",
        **two_classes(),
        presence=AREA | {"thresholds": [0.0, 0.5]},
    )
    volume = squares(3, 12)
    volume.array[:, 40:43, 5:8] = 0.4  # the first class, small as well
    result = run(volume, checkpoint=folder, settings=RunSettings(device="cpu"))
    assert [np.unique(plane).tolist() for plane in result.labels] == [[0, 1], [0, 1, 2]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"thresholds": [0.5, 0.5]},
        {"thresholds": ["high"]},
        {"weights": {"area": "all"}},
    ],
)
def test_a_card_with_a_presence_that_cannot_be_used_is_refused(wrong, tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint", presence=AREA | {"thresholds": [0.5]} | wrong)
    with pytest.raises(CheckpointError, match="presence"):
        read_card(folder)
    write_card(folder, read_card_values(folder) | {"presence": {}, "temperature": 0})
    with pytest.raises(CheckpointError, match="temperature 0"):
        read_card(folder)


def test_the_features_are_what_the_network_says():
    logits = torch.full((2, 1, 32, 32), -8.0)
    logits[1, 0, 8:16, 8:16] = 8.0
    head = torch.tensor([-3.0, 5.0]).view(2, 1, 1, 1)
    features = presence_features(SegmentationOutput(logits, {}, presence=head))
    torch.testing.assert_close(features[:, 0, 0], torch.tensor([-3.0, 5.0]))
    assert features[0, 0, 1] == pytest.approx(-8, abs=0.1)
    assert features[1, 0, 1] == pytest.approx(8, abs=0.5)
    assert 10 ** features[1, 0, 2] == pytest.approx(64 / 1024, rel=0.01)
    scores = presence_scores(SegmentationOutput(logits, {}, presence=head), {"weights": {"head": 1.0}, "bias": 0.0})
    torch.testing.assert_close(scores[:, 0], torch.sigmoid(torch.tensor([-3.0, 5.0])))


def made_features(rng: np.random.Generator, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Two classes; the head tells, the peak a little, the area nothing."""
    there = rng.random((count, 2)) < 0.5
    noise = rng.normal(size=(3, count, 2))
    return np.stack([4 * there - 2 + noise[0], there + noise[1], noise[2]], -1), there


def test_the_fit_trusts_what_tells_and_keeps_its_promise_on_new_slices():
    rng = np.random.default_rng(0)
    found = fit_presence(*made_features(rng), ["one", "two"], lost=0.02)
    assert found["weights"]["head"] > 3 * found["weights"]["peak"] >= 3 * found["weights"]["area"] >= 0
    features, there = made_features(rng, 4000)
    weights = np.array([found["weights"][name] for name in ("head", "peak", "area")])
    scores = 1 / (1 + np.exp(-(features @ weights + found["bias"])))
    for n, name in enumerate(("one", "two")):
        measured = found["measured"][name]
        assert measured["sensitivity"] >= 0.98
        sensitivity = (scores[:, n][there[:, n]] >= found["thresholds"][n]).mean()
        specificity = (scores[:, n][~there[:, n]] < found["thresholds"][n]).mean()
        assert sensitivity == pytest.approx(measured["sensitivity"], abs=0.03)
        assert specificity == pytest.approx(measured["specificity"], abs=0.08)
        assert specificity > 0.7


def test_a_fit_without_empty_slices_is_refused():
    features, there = made_features(np.random.default_rng(0))
    for constant in (there | True, there & False):
        with pytest.raises(InputError, match="expected both"):
            fit_presence(features, constant, ["one", "two"])


def discs_and_config(tmp_path: Path, *sides: int) -> list[str]:
    """``calibrate`` with its arguments, of four cases with a square of each of the ``sides`` in a slice of its own."""
    folder = tmp_path / "made" / "discs"
    for number in range(4):
        labels = squares(*sides, 4 + number).array
        image = labels.copy()
        image[0, 30:33, 30:33] = 1  # something bright that is no prostate
        for sub, array in (("images", image), ("labels", labels.astype(np.uint8))):
            (folder / sub).mkdir(parents=True, exist_ok=True)
            picture = sitk.GetImageFromArray(array)
            picture.SetSpacing((1.0, 1.0, 3.0))
            sitk.WriteImage(picture, str(folder / sub / f"case{number}.nii.gz"))
    (folder / "dataset.json").write_text(json.dumps({"labels": {"prostate": 1}}))
    settings = {
        "checkpoint": "prostate-klo-net",
        "task": "prostate",
        "network": {"name": "klo-net", "width": 8},
        "classes": ["prostate"],
        "intensity": {"method": "window", "low": 0, "high": 1},
        "stages": [{"fit": {"fit": "spacing", "mm": 1.0, "size": 64}, "epochs": 1}],
        "validation_share": 0.5,
    }
    (tmp_path / "config.json").write_text(json.dumps(settings))
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    return [
        "calibrate",
        *("--checkpoint", str(checkpoint), "--data", str(folder)),
        "--config",
        f"{tmp_path}/config.json",
    ]


def test_a_part_that_shows_nothing_is_the_largest_square_in_a_corner():
    canvas = torch.arange(100.0).view(1, 1, 10, 10).repeat(1, 3, 1, 1)
    labels = torch.zeros(1, 10, 10, dtype=torch.long)
    labels[0, 2:6, 3:7] = 1  # from below it leaves rows 6 to 9, from the left columns 0 to 2
    part = part_without(canvas, labels)
    assert part.shape == canvas.shape
    assert (part.min(), part.max()) == (canvas[0, 0, 6, 0], canvas[0, 0, 9, 3])
    torch.testing.assert_close(part_without(canvas, labels * 0), canvas)
    assert part_without(canvas, torch.ones(1, 10, 10)) is None
    labels[0, 1:9, 1:9] = 1
    assert part_without(canvas, labels) is None  # a tenth of the side is left


def test_where_every_picture_shows_something_parts_of_them_are_the_empty_ones(tmp_path):
    folder = tmp_path / "made"
    for sub in ("images", "masks"):
        (folder / sub).mkdir(parents=True)
    for number in range(4):
        bright = np.full((64, 64), 20 + number, np.uint8)
        bright[5:30, 5:30] = 230
        picture = sitk.GetImageFromArray(np.stack([bright] * 3, -1), isVector=True)
        sitk.WriteImage(picture, f"{folder}/images/{number}.png")
        sitk.WriteImage(sitk.GetImageFromArray((bright > 200).astype(np.uint8)), f"{folder}/masks/{number}.png")
    about = {"labels": {"prostate": 1}, "spacing_is_real": False}
    (folder / "dataset.json").write_text(json.dumps(about))
    settings = {
        "checkpoint": "mine",
        "task": "skin",
        "network": {"name": "klo-net", "width": 8},
        "classes": ["prostate"],
        "in_channels": 3,
        "intensity": PHOTOGRAPH["intensity"],
        "stages": [{"fit": PHOTOGRAPH["fit"], "epochs": 1}],
        "validation_share": 0.5,
    }
    (tmp_path / "config.json").write_text(json.dumps(settings))
    checkpoint = write_checkpoint(tmp_path / "checkpoint", **PHOTOGRAPH)
    report = calibrate(checkpoint, [folder], None, tmp_path / "config.json", lost=0, device="cpu")
    assert report["presence"]["measured"]["prostate"] == {
        "sensitivity": 1.0,
        "specificity": 1.0,
        "with": 2,
        "without": 2,
    }


def test_where_no_slice_is_empty_no_presence_is_judged(tmp_path, capsys):
    words = discs_and_config(tmp_path, 12, 20, 24)
    assert main([*words, "--json", str(tmp_path / "fitted.json")]) == 0
    assert "every slice kept aside shows prostate" in capsys.readouterr().err
    report = json.loads((tmp_path / "fitted.json").read_text())
    assert report["presence"] == {}
    assert report["temperature"] > 0


def test_calibrate_export_and_segment_by_command(tmp_path, capsys):
    """From a folder of discs to a card with a presence score that leaves empty slices empty."""
    words = [*discs_and_config(tmp_path, 0, 0, 20, 24), "--json"]
    checkpoint, folder = tmp_path / "checkpoint", tmp_path / "made" / "discs"
    assert main([*words, str(tmp_path / "fitted.json")]) == 0
    report = json.loads((tmp_path / "fitted.json").read_text())
    assert report["cases"] == 2
    assert report["presence"]["measured"]["prostate"]["specificity"] == 1.0
    assert report["presence"]["measured"]["prostate"]["with"] == 6
    write_card(checkpoint, read_card_values(checkpoint) | {key: report[key] for key in ("presence", "temperature")})
    (image,) = (path for path in (folder / "images").glob("case3*"))
    assert (
        main(
            [
                "segment",
                str(image),
                "--task",
                "prostate",
                "--checkpoint",
                str(checkpoint),
                "--output",
                str(tmp_path / "out"),
            ]
        )
        == 0
    )
    record = json.loads((tmp_path / "out" / "case3.json").read_text())
    assert record["presence"]["prostate"][0] < report["presence"]["thresholds"][0]
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "case3.seg.nrrd")))
    assert [int((plane > 0).sum()) for plane in found] == [0, 0, 400, 576, 49]
    assert main([*words[:-1], "--lost", "1", "--json", str(tmp_path / "x.json")]) == 2
    assert "--lost 1.0" in capsys.readouterr().err


def test_folding_a_network_changes_none_of_its_answers():
    torch.manual_seed(0)
    network = build_network("klo-lite", in_channels=1, out_channels=1, width=8, presence=True).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    quick = folded(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in quick.modules())
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        one, other = network.forward_with_attention(x), quick.forward_with_attention(x)
    torch.testing.assert_close(other.logits, one.logits, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(other.presence, one.presence, rtol=1e-3, atol=1e-4)
