"""Averages as the papers take them, and intervals, against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from MedSegAttentionTraining.measuring.averaging import Averages, interval


def empty(left_alone: int, found: int, share: float) -> dict:
    return {"empty_slices": left_alone, "found_in_empty": found, "found_per_empty": share}


def test_slices_and_pixels_are_averaged_each_by_its_rule():
    reference, found = np.zeros((2, 4, 2, 2), np.uint8)
    reference[0:2] = 1  # two full slices of four pixels
    found[0], found[1, 0] = 1, 1  # one right, one half right
    found[2, 0, 0] = 1  # one false pixel
    averages = Averages(["liver", "spleen"])
    averages.add(found, reference)
    report = averages.summary()
    by_slice = report["per_slice"]["liver"]
    assert by_slice == {
        "dice": pytest.approx((1 + 4 / 6 + 0) / 3),
        "slices": 3,
        "empty_slices": 1,
        "found_in_empty": 1,
        "found_per_empty": 0.5,
    }
    assert report["pooled"]["liver"] == {"dice": pytest.approx(12 / 15), "iou": pytest.approx(6 / 9)}
    assert report["per_slice"]["spleen"] == {"dice": None, "slices": 0} | empty(4, 0, 0.0)
    assert report["pooled"]["spleen"] == {"dice": None, "iou": None}
    assert "thirds" not in report


@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize("axis", [0, 2])
def test_thirds_run_from_the_head_down(upwards, axis):
    reference, found = np.zeros((2, 8, 2, 2), np.uint8)
    reference[1:7] = 1
    found[1:7] = 1
    found[7] = 1  # beyond the highest slice: counts against the base
    found[1, 0] = 0  # half of the lowest slice missed
    if not upwards:
        found, reference = found[::-1], reference[::-1]
    averages = Averages(["prostate"], thirds=True)
    averages.add(np.moveaxis(found, 0, axis), np.moveaxis(reference, 0, axis), (axis, upwards))
    thirds = averages.summary()["thirds"]
    assert thirds == {"base": pytest.approx(16 / 20), "mid": 1, "apex": pytest.approx(12 / 14), "cases": 1}


def test_the_interval_holds_the_mean_and_narrows_with_more_cases():
    few = interval([0.7, 0.8, None, 0.9, 0.6])
    many = interval([0.7, 0.8, 0.9, 0.6] * 10)
    assert 0.6 <= few[0] < 0.75 < few[1] <= 0.9
    assert many[1] - many[0] < few[1] - few[0]
    assert interval([0.5, 0.5]) == [0.5, 0.5]
    assert interval([0.5, None]) is None


def test_a_gland_of_two_slices_has_no_middle_third_to_speak_of():
    reference = np.zeros((4, 2, 2), np.uint8)
    reference[1:3] = 1
    averages = Averages(["prostate"], thirds=True)
    averages.add(reference, reference)
    thirds = averages.summary()["thirds"]
    assert sorted(thirds[name] is None for name in ("base", "mid", "apex")) == [False, False, True]
