"""Figures of agreement on arrays small enough to count by hand, and tau statistics of known maps."""

from __future__ import annotations

import numpy as np
import pytest
from monai.metrics import compute_hausdorff_distance
from torch import from_numpy

from MedSegAttentionTraining.measuring.metrics import FIGURES, TauStatistics, mean_figures, score_case, scored_classes

ONE = {"liver": 1}


def _picture(*boxes: tuple[int, int, int, int, int], size: int = 8) -> np.ndarray:
    """``[1, size, size]`` uint8 with rectangles (value, first row, last row, first column, last column)."""
    array = np.zeros((1, size, size), np.uint8)
    for value, top, bottom, left, right in boxes:
        array[0, top : bottom + 1, left : right + 1] = value
    return array


def test_figures_of_two_squares_counted_by_hand():
    reference = _picture((1, 1, 2, 1, 2))  # 4 pixels
    found = _picture((1, 1, 2, 2, 3))  # 4 pixels, 2 of them shared
    score = score_case(found, reference, ONE)["liver"]
    assert score.dice == pytest.approx(0.5)
    assert score.iou == pytest.approx(1 / 3)
    assert score.sensitivity == pytest.approx(0.5)
    assert score.specificity == pytest.approx(58 / 60)
    assert score.accuracy == pytest.approx(60 / 64)
    assert score.hd95 == pytest.approx(1.0)


def test_hd95_of_two_points_is_their_distance_with_and_without_spacing():
    reference, found = np.zeros((2, 5, 9, 9), np.uint8)
    reference[1, 2, 2] = 1
    found[3, 5, 6] = 1
    assert score_case(found, reference, ONE)["liver"].hd95 == pytest.approx(np.sqrt(2**2 + 3**2 + 4**2))
    spacing = (3.0, 0.5, 0.25)
    assert score_case(found, reference, ONE, spacing)["liver"].hd95 == pytest.approx(np.sqrt(6**2 + 1.5**2 + 1**2))


def test_hd95_is_the_larger_directed_percentile():
    reference, found = np.zeros((2, 1, 3, 120), np.uint8)
    reference[0, 1, :100] = 1
    found[0, 1, :] = 1
    # Reference to found: all 0. Found to reference: 100 zeros, then 1 to 20; 0.95 * 119 = 113.05 lies above 14.
    assert score_case(found, reference, ONE)["liver"].hd95 == pytest.approx(14.05)


def test_a_picture_is_measured_in_its_plane():
    """As a volume of one slice all its pixels would be surface, and those shared at distance 0."""
    # Squares of side 21 and 15, one inside the other: of the 80 outline pixels of the larger, 60 lie at 3, 8 at
    # sqrt(10), 8 at sqrt(13), 4 at sqrt(18) from the smaller; 0.95 * 79 = 75.05 lies between the last two.
    reference, found = _picture((1, 5, 19, 5, 19), size=25), _picture((1, 2, 22, 2, 22), size=25)
    expected = np.sqrt(13) + 0.05 * (np.sqrt(18) - np.sqrt(13))
    assert score_case(found, reference, ONE)["liver"].hd95 == pytest.approx(expected)
    as_volume = [from_numpy(array)[None, None] for array in (found, reference)]
    flat = compute_hausdorff_distance(*as_volume, include_background=True, percentile=95).item()
    assert flat != pytest.approx(expected, rel=1e-3)


def test_any_axis_of_length_one_is_dropped_with_its_spacing():
    reference, found = _picture((1, 1, 2, 1, 2)), _picture((1, 1, 2, 4, 5))
    along_k = score_case(found, reference, ONE, (9.0, 1.0, 0.5))["liver"]
    along_i = score_case(found.transpose(1, 2, 0), reference.transpose(1, 2, 0), ONE, (1.0, 0.5, 9.0))["liver"]
    assert along_k.hd95 == along_i.hd95 == pytest.approx(1.5)


@pytest.mark.parametrize("spacing", [None, (2.5, 0.7, 0.9)])
def test_cropping_changes_nothing(spacing):
    """Against MONAI's own figures on the whole volume; the masks touch its border, too."""
    rows, columns = np.mgrid[:40, :44]
    reference, found = np.zeros((2, 12, 40, 44), np.uint8)
    for k in range(8):
        reference[k] = (rows - 18) ** 2 + (columns - 5) ** 2 < (4 + k) ** 2
        found[k + 1] = (rows - 20) ** 2 + (columns - 7) ** 2 < (5 + k) ** 2
    score = score_case(found, reference, ONE, spacing)["liver"]
    whole = [from_numpy(array)[None, None] for array in (found, reference)]
    uncropped = compute_hausdorff_distance(*whole, include_background=True, percentile=95, spacing=spacing).item()
    assert score.hd95 == pytest.approx(uncropped, rel=1e-6)
    hit = np.count_nonzero(found & reference)
    assert score.dice == pytest.approx(2 * hit / (found.sum() + reference.sum()))
    assert score.accuracy == pytest.approx(np.mean(found == reference))
    assert score.specificity == pytest.approx(np.mean(found[reference == 0] == 0))


def test_nothing_to_find_and_nothing_found_is_one():
    empty = _picture()
    score = score_case(empty, empty, ONE)["liver"]
    assert (score.dice, score.iou, score.specificity, score.accuracy) == (1, 1, 1, 1)
    assert (score.hd95, score.sensitivity) == (None, None)
    assert not score.in_reference
    assert not score.found


def test_one_empty_side_is_zero_and_has_no_distance():
    empty, square = _picture(), _picture((1, 1, 2, 1, 2))
    missed, invented = score_case(empty, square, ONE)["liver"], score_case(square, empty, ONE)["liver"]
    assert (missed.dice, missed.iou, missed.hd95, missed.sensitivity) == (0, 0, None, 0)
    assert (invented.dice, invented.iou, invented.hd95, invented.sensitivity) == (0, 0, None, None)
    assert invented.specificity == pytest.approx(60 / 64)


def test_a_reference_that_fills_the_picture_has_no_specificity():
    full = np.ones((1, 4, 4), np.uint8)
    score = score_case(full, full, ONE)["liver"]
    assert score.specificity is None
    assert (score.sensitivity, score.hd95) == (1, 0)


def test_classes_that_count_are_those_of_the_reference():
    values = {"liver": 1, "spleen": 2, "aorta": 3}
    liver, both, empty = _picture((1, 1, 2, 1, 2)), _picture((1, 1, 2, 1, 2), (2, 5, 6, 5, 6)), _picture()
    assert scored_classes(score_case(both, liver, values)) == ["liver"]
    assert scored_classes(score_case(empty, both, values)) == ["liver", "spleen"]
    assert scored_classes(score_case(liver, empty, values)) == ["liver"]
    assert scored_classes(score_case(empty, empty, values)) == ["liver", "spleen", "aorta"]


def test_values_need_not_be_consecutive():
    reference = _picture((7, 1, 2, 1, 2), (3, 5, 6, 5, 6))
    scores = score_case(reference, reference, {"pancreas": 7, "aorta": 3, "liver": 5})
    assert list(scores) == ["pancreas", "aorta", "liver"]
    assert [score.in_reference for score in scores.values()] == [True, True, False]
    assert scores["pancreas"].dice == scores["aorta"].dice == 1


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\[1, 8, 8\], reference \[1, 9, 9\]"):
        score_case(_picture(), _picture(size=9), ONE)


def test_mean_leaves_out_what_is_not_defined():
    rows = [dict.fromkeys(FIGURES, 1.0), {**dict.fromkeys(FIGURES, 0.0), "hd95": None}]
    assert mean_figures(rows) == {**dict.fromkeys(FIGURES, 0.5), "hd95": 1.0}
    assert mean_figures(rows[1:])["hd95"] is None


def test_tau_statistics_of_a_known_map():
    statistics = TauStatistics(k_min=8, k_max=64, slice_positions=64)
    tau = np.array([[0.02, 0.12, 0.5, 0.97], [0.99, 0.995, 0.51, 0.0]], np.float32)
    statistics.add(tau)  # k = 8, 8, 32, 62, 63, 63, 32, 8
    summary = statistics.summary()
    assert summary["share_k_min"] == pytest.approx(3 / 8)
    assert summary["share_k_max"] == pytest.approx(2 / 8)
    assert summary["mean"] == pytest.approx(tau.mean())
    assert (summary["histogram"][0], summary["histogram"][2], summary["histogram"][10]) == (2, 1, 2)
    assert (summary["histogram"][19], sum(summary["histogram"]), summary["positions"]) == (3, 8, 8)


def test_tau_statistics_take_k_from_its_own_map():
    """On a grid of 20 positions k cannot pass 20, whatever tau asks for: those with 20 attend to all there are."""
    statistics = TauStatistics(k_min=8, k_max=64, slice_positions=20)
    statistics.add(np.full((4, 5), 0.99, np.float32), np.full((4, 5), 20 / 64, np.float32))
    statistics.add(np.full((4, 5), 0.01, np.float32), np.full((4, 5), 8 / 64, np.float32))
    assert statistics.summary()["share_k_max"] == 0.5
    assert statistics.summary()["share_k_min"] == 0.5
    without_map = TauStatistics(k_min=8, k_max=64, slice_positions=20)
    without_map.add(np.full((4, 5), 0.99, np.float32))
    assert (without_map.summary()["mean_k"], without_map.summary()["share_k_max"]) == (20, 1)
