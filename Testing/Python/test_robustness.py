"""What should not matter does not: padding, air, empty slices at the ends, storage order, number type, scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.runner.in_process import run
from small_checkpoint import MAPS, write_checkpoint

torch.set_num_threads(1)
GEOMETRY = np.array([[-1.5, 0.2, 0, 30], [-0.2, -1.5, 0, 40], [0, 0, 4, -20], [0, 0, 0, 1.0]])


def a_volume() -> VolumeImage:
    """Noise with a bright block, oblique."""
    array = np.random.default_rng(0).normal(100, 8, (4, 44, 52)).astype(np.float32)
    array[1:3, 14:30, 20:38] += 90
    return VolumeImage(array, GEOMETRY, "block")


@pytest.fixture(params=["zscore", "body"])
def a_folder(request, tmp_path) -> Path:
    intensity = {"method": request.param, "percentiles": [0.5, 99.5]}
    return write_checkpoint(tmp_path / "checkpoint", intensity=intensity)


def segmented(volume: VolumeImage, folder: Path):
    return run(volume, checkpoint=folder, settings=RunSettings(device="cpu", force=True))


def test_padding_on_all_sides_changes_no_voxel_and_moves_no_map(a_folder):
    volume = a_volume()
    margins = ((1, 2), (7, 0), (3, 12))
    array = np.pad(volume.array, margins, constant_values=-5)
    geometry = GEOMETRY.copy()
    geometry[:3, 3] -= GEOMETRY[:3, :3] @ [3, 7, 1]
    wanted, found = segmented(volume, a_folder), segmented(VolumeImage(array, geometry, "padded"), a_folder)
    inside = tuple(slice(before, length - after) for (before, after), length in zip(margins, array.shape, strict=True))
    np.testing.assert_array_equal(found.labels[inside], wanted.labels)
    assert found.labels.sum() == wanted.labels.sum()  # nothing is found in the padding
    for name in MAPS:
        one, other = wanted.attention[name], found.attention[name]
        np.testing.assert_allclose(other.array[1:-2], one.array, atol=1e-6)
        expected = one.ijk_to_ras.copy()
        expected[:3, 3] -= one.ijk_to_ras[:3, 2]  # a slice was added before the first
        np.testing.assert_allclose(other.ijk_to_ras, expected, atol=1e-9)


def test_air_around_the_body_in_ct_changes_no_voxel_and_moves_no_map(tmp_path):
    intensity = {"method": "window", "low": -200, "high": 200}
    folder = write_checkpoint(tmp_path / "checkpoint", intensity=intensity, modality="CT")
    body, noise = a_volume().array, np.random.default_rng(1)
    array = noise.normal(-1000, 20, (4, 60, 70)).astype(np.float32)
    array[:, 7:51, 5:57] = body - 100
    geometry = GEOMETRY.copy()
    geometry[:3, 3] -= GEOMETRY[:3, :3] @ [5, 7, 0]
    wanted = segmented(VolumeImage(body - 100, GEOMETRY, "body"), folder)
    found = segmented(VolumeImage(array, geometry, "air around it"), folder)
    assert wanted.labels.all()
    assert "lower bound" in str(wanted.provenance["findings"])
    assert "edge" not in str(found.provenance["findings"])  # the body ends there, the image does not
    np.testing.assert_array_equal(found.labels[:, 7:51, 5:57], wanted.labels)
    assert found.labels.sum() == wanted.labels.sum()
    for name in MAPS:
        np.testing.assert_allclose(found.attention[name].array, wanted.attention[name].array, atol=1e-6)
        np.testing.assert_allclose(found.attention[name].ijk_to_ras, wanted.attention[name].ijk_to_ras, atol=1e-9)


def test_storage_order_does_not_matter(a_folder):
    volume = a_volume()
    wanted = segmented(volume, a_folder).labels
    flip = np.diag([-1.0, -1.0, 1, 1])
    flip[:2, 3] = np.array(volume.array.shape[:0:-1]) - 1
    turned = VolumeImage(np.ascontiguousarray(volume.array[:, ::-1, ::-1]), GEOMETRY @ flip, "turned")
    np.testing.assert_array_equal(segmented(turned, a_folder).labels[:, ::-1, ::-1], wanted)
    order = np.eye(4)[:, [1, 0, 2, 3]]
    swapped = VolumeImage(np.ascontiguousarray(volume.array.transpose(0, 2, 1)), GEOMETRY @ order, "swapped")
    np.testing.assert_array_equal(segmented(swapped, a_folder).labels.transpose(0, 2, 1), wanted)


@pytest.mark.parametrize(("factor", "kind"), [(1.0, np.uint8), (30.0, np.int16), (0.001, np.float64)])
def test_scale_and_number_type_do_not_matter(a_folder, factor, kind):
    volume = a_volume()
    other = VolumeImage((volume.array * factor).astype(kind), GEOMETRY, "other")
    wanted, found = (segmented(item, a_folder).labels > 0 for item in (volume, other))
    assert 2 * (wanted & found).sum() / (wanted.sum() + found.sum()) > 0.97


def test_a_slice_of_one_value_holds_nothing(tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint")  # finds what is brighter than a quarter
    array = np.zeros((3, 40, 40), np.float32)
    array[0, 5:20, 5:20] = 1
    array[1] = 1
    result = segmented(VolumeImage(array, np.diag([-1.0, -1, 3, 1]), "blank"), folder)
    assert [int(plane.sum()) for plane in result.labels] == [225, 0, 0]
