"""A run limited to slices, a box or some classes: what is left out is empty, and the result says so."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import geometry
from MedSegAttentionLib.data.errors import InputError, UsageError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.runner import in_process
from small_checkpoint import write_checkpoint


@pytest.fixture(scope="module")
def a_checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("limits"))


@pytest.fixture
def a_volume() -> VolumeImage:
    """Bright throughout: all of it is found."""
    values = np.full((9, 20, 24), 0.9, np.float32)
    values[:, 0, 0] = 0.0  # else a slice would count as blank
    return VolumeImage(values, geometry("anisotropic"), "bright", "MR")


def run(volume: VolumeImage, checkpoint, **limits):
    return in_process.run(volume, checkpoint=checkpoint, settings=RunSettings("cpu", force=True, **limits))


def test_slices_that_were_not_chosen_are_empty(a_volume, a_checkpoint):
    whole, result = run(a_volume, a_checkpoint), run(a_volume, a_checkpoint, slices=(2, 4))
    np.testing.assert_array_equal(result.labels[2:5], whole.labels[2:5])
    assert result.labels[2:5].any()
    assert not result.labels[:2].any()
    assert not result.labels[5:].any()
    assert result.slice_range is None  # nothing was cancelled
    assert result.provenance["left_out"] == {"slices": [2, 4]}
    assert "Only slices 3 to 5 of 9 were segmented, as chosen." in result.provenance["warnings"]
    assert result.provenance["slices_done"] == [2, 3, 4]


def test_one_slice_is_told_of_as_one(a_volume, a_checkpoint):
    result = run(a_volume, a_checkpoint, slices=(2, 2))
    assert "Only slice 3 of 9 was segmented, as chosen." in result.provenance["warnings"]


def test_maps_of_some_slices_lie_where_those_of_all_do(a_volume, a_checkpoint):
    whole, part = (run(a_volume, a_checkpoint, **limits).attention for limits in ({}, {"slices": (2, 4)}))
    for name, item in part.items():
        assert item.array.shape[0] == 3
        corners = [item.ijk_to_ras @ [0, 0, k, 1] for k in range(3)]
        places = [np.linalg.inv(whole[name].ijk_to_ras) @ corner for corner in corners]
        for k, place in enumerate(places):
            index = np.rint(place[:3]).astype(int)
            np.testing.assert_allclose(place[:3], index, atol=1e-6)
            np.testing.assert_array_equal(item.array[k], whole[name].array[index[2]])


def test_outside_the_box_nothing_is_made(a_volume, a_checkpoint):
    result = run(a_volume, a_checkpoint, box=((3, 10), (4, 15), (1, 6)))
    whole = run(a_volume, a_checkpoint).labels
    inside = np.zeros_like(whole)
    inside[1:7, 4:16, 3:11] = 1
    np.testing.assert_array_equal(result.labels, whole * inside)
    assert result.labels.any()
    assert result.provenance["slices"] == [6, 6]
    assert any("region of interest" in text for text in result.provenance["warnings"])


def test_classes_that_were_not_chosen_are_not_made(a_volume, a_checkpoint):
    with pytest.raises(InputError, match="every class"):
        run(a_volume, a_checkpoint, left_out=("prostate",))
    with pytest.raises(InputError, match="class 'lung' is not known"):
        run(a_volume, a_checkpoint, left_out=("lung",))


def test_limits_that_leave_nothing_are_refused(a_volume, a_checkpoint):
    with pytest.raises(InputError, match="no slice is left"):
        run(a_volume, a_checkpoint, slices=(7, 8), box=((0, 23), (0, 19), (0, 3)))
    with pytest.raises(UsageError, match="first <= last"):
        RunSettings(slices=(4, 2))
