"""Logits of a slice averaged with those of the slices below and above, where the card asks for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from MedSegAttentionLib.checkpoints.card_file import read_card
from MedSegAttentionLib.checkpoints.loading import load_checkpoint
from MedSegAttentionLib.data.errors import CheckpointError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.engine import SegmentationRun
from MedSegAttentionLib.inference.outputs import SliceOutputs
from MedSegAttentionLib.inference.prediction import Predictor
from MedSegAttentionLib.inference.preparation import prepare
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.runner.in_process import run
from small_checkpoint import MAPS, write_checkpoint

torch.set_num_threads(1)
SLICES = 9
SETTINGS = RunSettings(device="cpu", force=True, attention=("probability_prostate", "uncertainty", *MAPS))


def a_volume(spacing: float = 3.0) -> VolumeImage:
    """Noise about the threshold of the checkpoint, so that slices differ everywhere."""
    array = np.random.default_rng(0).normal(0.25, 0.05, (SLICES, 64, 64)).astype(np.float32)
    return VolumeImage(array, np.diag([-1.0, -1.0, spacing, 1.0]), "noise")


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Of the same network, by itself and smoothed."""
    plain = write_checkpoint(tmp_path / "plain")
    return plain, write_checkpoint(tmp_path / "smooth", smoothing={"mm": 3.0, "weight": 0.5})


class Counted:
    """A predictor that counts slices."""

    def __init__(self, folder: Path, volume: VolumeImage) -> None:
        checkpoint = load_checkpoint(folder)
        self.predictor, self.slices = Predictor(checkpoint.network, "cpu", 2, 128), 0
        self.outputs = SliceOutputs(prepare(volume, checkpoint, SETTINGS), self)

    def predict(self, canvases):
        self.slices += len(canvases)
        return self.predictor.predict(canvases)


@pytest.mark.parametrize(("spacing", "step"), [(3.0, 1), (1.0, 3), (8.0, 1)])
def test_logits_are_the_weighted_mean_and_each_slice_runs_once(folders, spacing, step):
    plain, smooth = (Counted(folder, a_volume(spacing)) for folder in folders)
    own = plain.outputs.of(0, SLICES)
    numbers = np.arange(SLICES)
    below, above = np.clip(numbers - step, 0, SLICES - 1), np.clip(numbers + step, 0, SLICES - 1)
    expected = (own.logits + 0.5 * (own.logits[below] + own.logits[above])) / 2
    found = [smooth.outputs.of(first, 2) for first in range(0, SLICES, 2)]
    torch.testing.assert_close(torch.cat([part.logits for part in found]), expected, rtol=0, atol=1e-5)
    for name in MAPS:
        torch.testing.assert_close(torch.cat([part.attention[name] for part in found]), own.attention[name])
    assert smooth.slices == SLICES


def test_labels_probability_and_uncertainty_are_those_of_the_mean(folders):
    result = run(a_volume(), checkpoint=folders[1], settings=SETTINGS)
    by_itself = run(a_volume(), checkpoint=folders[0], settings=SETTINGS)
    probability = result.attention["probability_prostate"].array
    assert (result.labels != by_itself.labels).mean() > 0.05
    sure = np.abs(probability.astype(float) - 0.5) > 0.01
    np.testing.assert_array_equal((result.labels > 0)[sure], (probability > 0.5)[sure])
    assert result.attention["uncertainty"].array.mean() > by_itself.attention["uncertainty"].array.mean()
    for name in MAPS:
        np.testing.assert_array_equal(result.attention[name].array, by_itself.attention[name].array)


def test_any_slice_by_itself_and_any_order_give_the_same(folders):
    checkpoint, volume = load_checkpoint(folders[1]), a_volume()
    wanted = run(volume, checkpoint=folders[1], settings=SETTINGS).labels
    live = SegmentationRun(volume, checkpoint, SETTINGS)
    for number in (4, 8, 0, 5):
        np.testing.assert_array_equal(live.segment(number)[0].labels, wanted[number])
    part = run(volume, checkpoint=folders[1], settings=RunSettings(device="cpu", force=True, slices=(2, 3)))
    np.testing.assert_array_equal(part.labels[2:4], wanted[2:4])


def test_a_single_slice_is_as_without(folders):
    one = VolumeImage(a_volume().array[:1], a_volume().ijk_to_ras, "one")
    labels = [run(one, checkpoint=folder, settings=SETTINGS).labels for folder in folders]
    np.testing.assert_array_equal(*labels)


@pytest.mark.parametrize(
    "smoothing", [{"mm": 3.0}, {"mm": 3.0, "weight": -1}, {"mm": "3", "weight": 1}, {"mm": 3.0, "weight": 1, "more": 1}]
)
def test_a_card_of_another_smoothing_is_refused(smoothing, tmp_path):
    with pytest.raises(CheckpointError, match="smoothing"):
        read_card(write_checkpoint(tmp_path / "bad", smoothing=smoothing))
