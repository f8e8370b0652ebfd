"""The command that alters real images: what it does to them, and what it counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionTraining.measuring.alterations import HARMLESS, NONSENSE
from MedSegAttentionTraining.measuring.robustness import dice_between
from small_checkpoint import write_checkpoint

torch.set_num_threads(1)
GEOMETRY = np.array([[-1.5, 0.2, 0, 30], [-0.2, -1.5, 0, 40], [0, 0, 4, -20], [0, 0, 0, 1.0]])


def a_body(pixels: int = 40) -> np.ndarray:
    """Air with noise, in it a body with a bright block."""
    array = np.random.default_rng(0).normal(30, 3, (6, pixels, pixels + 8))
    array[:, 6:-6, 8:-8] += 100
    array[1:5, 14:26, 15:30] += 200
    return array.clip(0).round().astype(np.int16)


def values_at(volume: VolumeImage, places: np.ndarray) -> np.ndarray:
    """Nearest values at ``[n, 3]`` places in RAS."""
    i, j, k = np.rint((places - volume.ijk_to_ras[:3, 3]) @ np.linalg.inv(volume.ijk_to_ras[:3, :3]).T).astype(int).T
    return volume.array[k, j, i]


@pytest.mark.parametrize("name", ["padded", "air cropped", "another matrix", "stored from the other end"])
def test_what_moves_voxels_moves_their_places_with_them(name):
    volume = VolumeImage(a_body(), GEOMETRY, "body")
    altered = HARMLESS[name](volume)
    assert altered.volume.array.shape != volume.array.shape or name.startswith("stored")
    indices = np.array([[18, 16, 0], [22, 20, 2], [20, 18, 5]], float)  # well inside block or body
    places = indices @ GEOMETRY[:3, :3].T + GEOMETRY[:3, 3]
    wanted = values_at(volume, places).astype(float)
    np.testing.assert_allclose(values_at(altered.volume, places), wanted, atol=0 if name != "another matrix" else 9)
    labels = (altered.volume.array > 230).astype(np.uint8)
    assert altered.back(labels).shape == volume.array.shape
    assert dice_between((volume.array > 230).astype(np.uint8), altered.back(labels)) > 0.97


def test_numbers_of_ct_and_colours_keep_their_meaning():
    ct = VolumeImage(a_body() - np.int16(1000), GEOMETRY, "ct", "CT")
    assert HARMLESS["intensity rescaled"](ct) is None
    assert HARMLESS["8 bits"](ct) is None
    np.testing.assert_array_equal(HARMLESS["16 bits"](ct).volume.array, ct.array)
    picture = VolumeImage(np.full((1, 20, 30, 3), 200, np.uint8), np.eye(4), "photo", has_scale=False)
    assert HARMLESS["air cropped"](picture) is None
    assert HARMLESS["stored from the other end"](picture) is None
    assert HARMLESS["16 bits"](picture).volume.array.max() == 200 * 257
    assert HARMLESS["intensity rescaled"](picture).volume.array.max() == pytest.approx(200 / 255)


def test_agreement_is_over_all_classes_together_and_counts_the_class():
    first = np.zeros((2, 10, 10), np.uint8)
    first[:, :5] = 1
    second = first.copy()
    second[0, 0, 0] = 2
    assert dice_between(first, first) == dice_between(first * 0, first * 0) == 1
    assert dice_between(first, second) == pytest.approx(99 / 100)
    assert dice_between(first, first * 0) == 0


def test_nonsense_keeps_shape_type_and_values():
    array = a_body()
    for name, alter in NONSENSE.items():
        found = alter(array)
        assert (found.shape, found.dtype) == (array.shape, array.dtype)
        assert array.min() <= found.min() <= found.max() <= array.max()
        assert np.array_equal(found, array) == (name == "as it is")


@pytest.fixture
def a_data_folder(tmp_path) -> Path:
    folder = tmp_path / "data" / "blocks"
    for number in range(4):
        array = np.roll(a_body(), number, axis=1)
        for sub, voxels in (("images", array), ("labels", (array > 230).astype(np.uint8))):
            (folder / sub).mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(sitk.GetImageFromArray(voxels), str(folder / sub / f"{number}.nii.gz"))
    (folder / "dataset.json").write_text('{"labels": {"prostate": 1}}')
    return folder


def test_the_command_tells_how_far_results_agree_and_what_is_noticed(a_data_folder, tmp_path, capfd):
    how = {
        "intensity": {"method": "body", "percentiles": [0, 100]},
        "expects": {"minimum": [0, 90], "maximum": [200, None]},
    }
    checkpoint = write_checkpoint(tmp_path / "checkpoint", **how)
    words = ["robustness", "--checkpoint", str(checkpoint), "--data", str(a_data_folder), "--cases", "2"]
    words += ["--slices", "4", "--device", "cpu", "--json", str(tmp_path / "r.json")]
    colour = tmp_path / "colour"
    colour.mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((9, 9, 3), np.uint8), isVector=True), str(colour / "a.png"))
    assert main([*words, "--others", str(colour)]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert set(report["harmless"]) == set(HARMLESS)
    assert all(len(values) == 2 for values in report["harmless"].values())
    assert min(report["harmless"].pop("another matrix")) > 0.9  # of a block of 12 pixels an edge is much
    assert all(min(values) == 1 for values in report["harmless"].values())
    assert report["nonsense"]["as it is"] == {"refused": 0, "stopped": 0, "said at a segment": 0, "not noticed": 2}
    assert report["nonsense"]["colour"]["refused"] == 1
    out = capfd.readouterr().out
    assert "| padded | 1.000 | 1.000 |" in out
    assert "| colour | 1 | 0 | 0 | 0 |" in out
    assert main([*words, "--cases", "0"]) == 2
