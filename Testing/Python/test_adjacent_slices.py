"""A network that sees the slices below and above too (2.5D): which ones, from any storage order, and what comes out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from MedSegAttentionLib.checkpoints.card_file import read_card
from MedSegAttentionLib.checkpoints.loading import load_checkpoint
from MedSegAttentionLib.data.errors import CheckpointError, InputError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.engine import SegmentationRun
from MedSegAttentionLib.inference.preparation import prepare
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.inference.slicing import plan_slices, with_adjacent
from MedSegAttentionLib.runner.in_process import run
from MedSegAttentionTraining.data.cases import read_folder
from MedSegAttentionTraining.data.slices import fitted_slices
from MedSegAttentionTraining.fitting.config import read_config
from MedSegAttentionTraining.publishing.monai_files import metadata
from MedSegAttentionTraining.publishing.onnx_export import export_checkpoint
from small_checkpoint import card_values, threshold_network, write_checkpoint

torch.set_num_threads(1)
UP = np.diag([-1.0, -1.0, 3.0, 1.0])
SETTINGS = RunSettings(device="cpu", force=True)


def a_volume(slices: int = 7) -> VolumeImage:
    """Blocks of another brightness in each slice, stored from below to above."""
    array = np.random.default_rng(0).uniform(0, 0.01, (slices, 64, 64)).astype(np.float32)
    for number in range(slices):
        array[number, 8 * number : 8 * number + 16, 8:40] += 0.3 + 0.1 * (number % 3)
    return VolumeImage(array, UP, "blocks")


def stored_from_above(volume: VolumeImage) -> VolumeImage:
    geometry = volume.ijk_to_ras.copy()
    geometry[:3, 2] *= -1
    geometry[:3, 3] += volume.ijk_to_ras[:3, 2] * (volume.array.shape[0] - 1)
    return VolumeImage(np.ascontiguousarray(volume.array[::-1]), geometry, "from above")


@pytest.fixture
def a_folder(tmp_path) -> Path:
    """Of a network that marks where the mean of the three slices lies above a quarter."""
    return write_checkpoint(tmp_path / "checkpoint", threshold_network(in_channels=3), adjacent=3.0)


@pytest.mark.parametrize(
    ("spacing", "mm", "below", "above"),
    [
        (3.0, 3.0, [0, 0, 1, 2, 3], [1, 2, 3, 4, 4]),
        (1.5, 3.0, [0, 0, 0, 1, 2], [2, 3, 4, 4, 4]),
        (8.0, 3.0, [0, 0, 1, 2, 3], [1, 2, 3, 4, 4]),
        (-3.0, 3.0, [1, 2, 3, 4, 4], [0, 0, 1, 2, 3]),
    ],
)
def test_the_nearest_slices_at_that_distance_are_taken_whichever_way_they_are_stored(spacing, mm, below, above):
    volume = VolumeImage(np.zeros((5, 8, 8), np.float32), np.diag([-1, -1, spacing, 1.0]), "v")
    found = with_adjacent(np.arange(5), plan_slices(volume), mm, slice(0, 5))
    np.testing.assert_array_equal(found, [below, range(5), above])


def test_the_network_sees_below_own_and_above_and_the_last_slice_again_at_the_ends(a_folder):
    checkpoint, volume = load_checkpoint(a_folder), a_volume()
    canvases = prepare(volume, checkpoint, SETTINGS).canvases(0, 7).numpy()
    assert canvases.shape == (7, 3, 64, 64)
    for number in range(7):
        seen = [max(number - 1, 0), number, min(number + 1, 6)]
        np.testing.assert_allclose(canvases[number], volume.array[seen], atol=1e-6)


def test_the_result_is_that_of_the_three_slices(a_folder):
    volume = a_volume()
    padded = np.pad(volume.array, ((1, 1), (0, 0), (0, 0)), mode="edge")
    expected = (padded[:-2] + padded[1:-1] + padded[2:]) / 3 > 0.25
    labels = run(volume, checkpoint=a_folder, settings=SETTINGS).labels
    assert expected.any()
    np.testing.assert_array_equal(labels, expected)


def test_neither_storage_order_nor_empty_slices_at_the_ends_change_it(a_folder):
    volume = a_volume()
    wanted = run(volume, checkpoint=a_folder, settings=SETTINGS).labels
    turned = run(stored_from_above(volume), checkpoint=a_folder, settings=SETTINGS).labels
    np.testing.assert_array_equal(turned[::-1], wanted)
    empty = VolumeImage(np.pad(volume.array, ((2, 1), (0, 0), (0, 0))), UP, "empty ends")
    settings = RunSettings(device="cpu", force=True, attention=("probability_prostate",))
    found = run(empty, checkpoint=a_folder, settings=settings)
    np.testing.assert_array_equal(found.labels[2:-1], wanted)
    assert not found.labels[[0, 1, -1]].any()
    assert found.attention["probability_prostate"].array[[0, 1, -1]].max() < 0.01


def test_slices_of_noisy_air_at_the_ends_stay_empty(tmp_path):
    intensity = {"method": "window", "low": -200, "high": 200}
    folder = write_checkpoint(tmp_path / "ct", threshold_network(3), adjacent=3.0, intensity=intensity, modality="CT")
    array = np.random.default_rng(0).normal(-1000, 20, (7, 64, 64)).astype(np.float32)
    array[2:5, 10:40, 8:48] = 60
    labels = run(VolumeImage(array, UP, "ct"), checkpoint=folder, settings=SETTINGS).labels
    assert [bool(plane.any()) for plane in labels] == [False, False, True, True, True, False, False]


def test_one_slice_of_a_live_run_and_a_range_are_those_of_the_whole(a_folder):
    volume, checkpoint = a_volume(), load_checkpoint(a_folder)
    wanted = run(volume, checkpoint=a_folder, settings=SETTINGS).labels
    live = SegmentationRun(volume, checkpoint, SETTINGS)
    np.testing.assert_array_equal(live.segment(4)[0].labels, wanted[4])
    part = run(volume, checkpoint=a_folder, settings=RunSettings(device="cpu", force=True, slices=(2, 3)))
    np.testing.assert_array_equal(part.labels[2:4], wanted[2:4])


def test_a_single_slice_is_its_own_neighbour(a_folder):
    volume = VolumeImage(a_volume().array[2:3], UP, "one")
    labels = run(volume, checkpoint=a_folder, settings=SETTINGS).labels
    np.testing.assert_array_equal(labels, volume.array > 0.25)


@pytest.mark.parametrize("turn", [False, True])
def test_training_sees_what_use_does(turn, a_folder, tmp_path):
    volume = stored_from_above(a_volume()) if turn else a_volume()
    for name in ("images", "labels"):
        (tmp_path / "data" / name).mkdir(parents=True)
        image = sitk.GetImageFromArray(volume.array if name == "images" else (volume.array > 0.3).astype(np.uint8))
        direction = volume.ijk_to_ras[:3, :3] / [1, 1, 3]
        image.SetSpacing((1, 1, 3))
        image.SetDirection((np.diag([-1, -1, 1]) @ direction).ravel().tolist())
        sitk.WriteImage(image, str(tmp_path / "data" / name / "a.nii.gz"))
    about = {"labels": {"background": 0, "prostate": 1}, "spacing_is_real": True, "modality": "MR"}
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(about))
    data = read_folder(tmp_path / "data")
    checkpoint = load_checkpoint(a_folder)
    card = checkpoint.card
    images, labels = fitted_slices(data, data.cases[0], ["prostate"], card.intensity, card.fit, 1, card.adjacent)
    prepared = prepare(volume, checkpoint, SETTINGS)
    torch.testing.assert_close(images, prepared.canvases(0, 7), rtol=0, atol=1e-5)
    assert labels.shape == (7, 1, 64, 64)


def test_other_programs_are_told_of_three_channels(a_folder, tmp_path):
    inputs = metadata(card_values(adjacent=3.0), {})["network_data_format"]["inputs"]["image"]
    assert inputs["num_channels"] == 3
    assert inputs["channel_def"] == {"0": "slice below", "1": "slice", "2": "slice above"}
    assert export_checkpoint(str(a_folder), tmp_path / "network.onnx").difference < 1e-4


@pytest.mark.parametrize("changes", [{"adjacent": -1}, {"adjacent": float("inf")}, {"adjacent": 3, "in_channels": 3}])
def test_a_card_of_an_impossible_distance_is_refused(changes, tmp_path):
    folder = write_checkpoint(tmp_path / "bad", threshold_network(in_channels=3), **changes)
    with pytest.raises(CheckpointError, match="adjacent"):
        read_card(folder)


def test_a_configuration_of_an_impossible_distance_is_refused(tmp_path):
    values = {"checkpoint": "c", "task": "skin", "network": {"name": "klo-net"}, "classes": ["a"], "intensity": {}}
    values |= {"stages": [{"fit": {"fit": "stretch", "size": 64}, "epochs": 1}]}
    for channels, adjacent in ((3, 3.0), (1, -1), (1, float("nan")), (1, float("inf")), (1, "3"), (1, None), (1, True)):
        (tmp_path / "c.json").write_text(json.dumps(values | {"in_channels": channels, "adjacent": adjacent}))
        with pytest.raises(InputError, match=f"adjacent {adjacent!r} with in_channels {channels}"):
            read_config(tmp_path / "c.json")
