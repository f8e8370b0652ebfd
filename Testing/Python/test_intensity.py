"""Intensities come to the network's range, the same for all slices of a volume."""

from __future__ import annotations

import numpy as np
import pytest

from MedSegAttentionLib.inference.intensity import SAMPLED_VOXELS, air_of, measure

WINDOW = {"method": "window", "low": -100, "high": 300}
ZSCORE = {"method": "zscore", "percentiles": [0.5, 99.5]}


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64, np.float32, np.float64])
def test_a_window_maps_to_zero_and_one_for_any_number_type(kind):
    values = np.array([[[-3024, -100, 100, 300, 3000]]], kind)
    found = measure(values, WINDOW)(values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.ravel(), [0, 0, 0.5, 1, 1])


def test_unsigned_bytes_are_not_wrapped_by_a_negative_bound():
    values = np.array([[[0, 100, 255]]], np.uint8)
    np.testing.assert_allclose(measure(values, WINDOW)(values).ravel(), [0.25, 0.5, 0.8875])


def test_zscore_clips_to_the_percentiles_and_has_mean_zero_and_deviation_one():
    values = np.random.default_rng(0).normal(300, 40, (10, 30, 40))
    values[0, 0, 0], values[0, 0, 1] = 1e6, -1e6
    found = measure(values, ZSCORE)(values)
    low, high = np.percentile(values, [0.5, 99.5])
    clipped = np.clip(values, low, high)
    np.testing.assert_allclose(found, (clipped - clipped.mean()) / clipped.std(), atol=1e-4)
    assert found.mean() == pytest.approx(0, abs=1e-4)
    assert found.std() == pytest.approx(1, abs=1e-4)


def test_the_volume_is_measured_not_the_slice():
    values = np.arange(60.0).reshape(3, 4, 5)
    normalise = measure(values, ZSCORE)
    np.testing.assert_array_equal(np.concatenate([normalise(values[n : n + 1]) for n in range(3)]), normalise(values))


@pytest.mark.parametrize("how", [WINDOW, ZSCORE])
def test_the_volume_itself_is_not_changed(how):
    values = np.arange(60.0, dtype=np.float32).reshape(3, 4, 5)
    before = values.copy()
    measure(values, how)(values)
    np.testing.assert_array_equal(values, before)


def test_a_constant_volume_gives_zeros_not_nan():
    values = np.full((2, 3, 4), 7, np.int16)
    assert (measure(values, ZSCORE)(values) == 0).all()


def test_a_large_volume_is_sampled_and_nearly_the_same():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 1000, (3, 1500, 1501), np.int16)  # a little more than is looked at
    assert values.size > SAMPLED_VOXELS
    normalise = measure(values, ZSCORE)
    assert normalise.offset == pytest.approx(values.mean(), abs=1)
    assert normalise.scale == pytest.approx(values.std(), rel=0.02)


def test_a_large_colour_picture_is_sampled_in_all_its_channels():
    picture = np.zeros((1, 2000, 2000, 3), np.uint8)  # 12 million numbers: every third is looked at
    picture[..., 1], picture[..., 2] = 100, 200
    normalise = measure(picture, ZSCORE)
    assert normalise.offset == pytest.approx(100, abs=1)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match=r"magic.*window, zscore or body"):
        measure(np.zeros((1, 1, 1)), {"method": "magic"})


def a_body(seed: int = 0) -> np.ndarray:
    """Noise of air, 0 to 12, around a body of about 100."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 12, (6, 60, 60)).astype(np.float32)
    values[:, 15:45, 10:50] = rng.normal(100, 20, (6, 30, 40)).clip(40)
    return values


BODY = {"method": "body", "percentiles": [0.5, 99.5]}


def test_a_body_is_measured_alike_whatever_air_is_around_it():
    values = a_body()
    wanted = measure(values, BODY)
    air = np.random.default_rng(1).integers(0, 12, (6, 160, 160)).astype(np.float32)
    air[:, 50:110, 50:110] = values
    for other in (air, values[:, 12:48, 8:52], values[:, ::-1, ::-1]):
        found = measure(other, BODY)
        for name in ("low", "high", "offset", "scale"):
            assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=0.02), name
    inside = wanted(values[:, 15:45, 10:50])
    assert inside.mean() == pytest.approx(0, abs=0.02)
    assert inside.std() == pytest.approx(1, abs=0.02)
    assert measure(air, ZSCORE).offset < 0.5 * wanted.offset  # which is why


@pytest.mark.parametrize(("factor", "offset", "kind"), [(0.01, 0, np.float32), (20, 0, np.int16), (3, 500, np.float64)])
def test_a_body_in_other_units_is_the_same_body(factor, offset, kind):
    values = a_body()
    other = (values * factor + offset).astype(kind)
    np.testing.assert_allclose(measure(other, BODY)(other), measure(values, BODY)(values), atol=0.05)


def test_a_constant_volume_has_no_body_and_no_nan():
    values = np.full((2, 3, 4), 7, np.int16)
    assert (measure(values, BODY)(values) == 0).all()


def test_only_a_window_that_begins_below_fat_tells_air():
    assert air_of({"method": "window", "low": -125, "high": 275}) == -85
    assert air_of({"method": "window", "low": -1000, "high": 400}) == -860
    assert air_of(WINDOW) == air_of({"method": "window", "low": -100, "high": 1400}) == -80  # never what may be tissue
    assert air_of({"method": "window", "low": -10, "high": 990}) is None
    assert air_of({"method": "window", "low": 0, "high": 255}) is None
    assert air_of(ZSCORE) is None
