"""Slices come to the canvas and back in the same place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from MedSegAttentionLib.inference.fitting import SliceFit, content_box, plan_fit

SPACING = {"fit": "spacing", "mm": 0.75, "size": 64}
STRETCH = {"fit": "stretch", "size": 64}
CASES = [
    ((40, 50), (0.75, 0.75), SPACING),
    ((40, 51), (0.6, 0.9), SPACING),
    ((33, 20), (1.5, 2.0), SPACING),
    ((100, 90), (0.75, 0.75), SPACING),
    ((7, 300), (1.0, 0.5), SPACING),
    ((30, 50), (1.0, 1.0), STRETCH),
    ((200, 31), (1.0, 1.0), STRETCH),
]


def ramps(rows: int, columns: int) -> torch.Tensor:
    """``[1, 2, rows, columns]``: each pixel holds its own row and column."""
    y, x = torch.meshgrid(torch.arange(rows).float(), torch.arange(columns).float(), indexing="ij")
    return torch.stack((y, x))[None]


def inner(fit: SliceFit, margin: int = 1) -> tuple[slice, slice]:
    """Pixels of the slice whose surroundings lie on the canvas too."""
    bounds = []
    for dimension in (0, 1):
        edge = margin * max(1, -(-fit.source[dimension] // fit.resized[dimension]))
        bounds.append(slice(edge, fit.source[dimension] - edge))
    return tuple(bounds)


@pytest.mark.parametrize(("source", "spacing", "how"), CASES)
def test_pixels_measure_what_the_card_says(source, spacing, how):
    fit = plan_fit(source, spacing, how, stride=16)
    if how["fit"] == "stretch":
        assert fit.resized == fit.canvas == (64, 64)
        return
    for n, mm, resized in zip(source, spacing, fit.resized, strict=True):
        assert resized == max(1, round(n * mm / 0.75))
        assert abs(n * mm / resized - 0.75) <= 0.75 / (2 * resized) + 1e-9  # half a pixel of the slice at most


@pytest.mark.parametrize(("source", "spacing", "how"), CASES)
def test_a_canvas_is_large_enough_and_a_multiple_of_the_stride(source, spacing, how):
    fit = plan_fit(source, spacing, how, stride=16)
    for canvas, resized, offset in zip(fit.canvas, fit.resized, fit.offset, strict=True):
        assert canvas >= max(64, resized)
        assert canvas % 16 == 0
        assert canvas - resized < 16 or canvas == 64
        assert 0 <= offset <= (canvas - resized + 1) // 2


def test_a_larger_slice_grows_the_canvas_on_its_own_side_alone():
    fit = plan_fit((65, 20), (0.75, 0.75), SPACING, stride=16)
    assert fit.canvas == (80, 64)


def test_cropping_keeps_the_canvas_and_the_centre():
    fit = plan_fit((100, 20), (0.75, 0.75), SPACING, stride=16, crop=True)
    assert fit.canvas == (64, 64)
    assert fit.offset == (-18, 22)
    canvas = fit.to_canvas(ramps(100, 20))
    assert canvas[0, 0, :, 30].tolist() == list(range(18, 82))


@pytest.mark.parametrize(("source", "spacing", "how"), CASES)
def test_there_and_back_every_pixel_finds_its_own_place(source, spacing, how):
    fit = plan_fit(source, spacing, how, stride=16)
    picture = ramps(*source)
    back = fit.from_canvas(fit.to_canvas(picture))
    assert back.shape == picture.shape
    rows, columns = inner(fit)
    off = (back - picture)[..., rows, columns]
    assert off.numel()
    # Making a ramp coarser by a fraction wobbles it by hundredths of a pixel; it must not move.
    assert off.abs().max() < 0.05
    assert off.mean(dim=(0, 2, 3)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("source", "spacing", "how", "cell"),
    [(*case, cell) for case in CASES for cell in (1, 8) if cell == 1 or min(case[0]) > cell],
)
def test_canvas_to_slice_is_the_place_of_each_cell_centre(source, spacing, how, cell):
    """A ramp on the slice, brought to the canvas and averaged over each cell, holds the place of the cell's centre."""
    fit = plan_fit(source, spacing, how, stride=16)
    cells = F.avg_pool2d(fit.to_canvas(ramps(*source)), cell)[0].numpy()
    matrix = fit.canvas_to_slice(cells.shape[1:])
    rows, columns = (index.ravel() for index in np.indices(cells.shape[1:]))
    x, y = (matrix @ [columns, rows, np.ones_like(rows)])[:2]
    half = (0.5 + 2 / cell) * np.diag(matrix)[:2]
    # Only cells wholly inside the slice: padding and repeated edges bend the ramp.
    inside = (abs(x - (source[1] - 1) / 2) + half[0] <= (source[1] - 1) / 2) & (
        abs(y - (source[0] - 1) / 2) + half[1] <= (source[0] - 1) / 2
    )
    assert inside.any()
    off = np.stack((cells[0].ravel() - y, cells[1].ravel() - x))[:, inside]
    assert np.abs(off).max() < (0.05 if cell == 1 else 1e-3)
    assert np.abs(off.mean(axis=1)).max() < 1e-4


def test_canvas_to_slice_by_hand():
    """80 x 40 pixels of 1.5 x 3 mm at 0.75 mm are 160 x 160, on a canvas of 160; a map of 10 x 10 has cells of 16."""
    fit = plan_fit((80, 40), (1.5, 3.0), SPACING, stride=16)
    assert (fit.resized, fit.canvas, fit.offset) == ((160, 160), (160, 160), (0, 0))
    # Cell 0 covers canvas 0 to 16, rows 0 to 8 and columns 0 to 4 of the slice: centres at 3.5 and 1.5.
    np.testing.assert_allclose(fit.canvas_to_slice((10, 10)) @ [0, 0, 1], [1.5, 3.5, 1])
    np.testing.assert_allclose(fit.canvas_to_slice((10, 10)) @ [9, 9, 1], [37.5, 75.5, 1])
    padded = plan_fit((40, 50), (0.75, 0.75), SPACING, stride=16)
    assert padded.offset == (12, 7)
    np.testing.assert_allclose(padded.canvas_to_slice((64, 64)) @ [7, 12, 1], [0, 0, 1])
    np.testing.assert_allclose(padded.canvas_to_slice((8, 8)) @ [0, 0, 1], [3.5 - 7, 3.5 - 12, 1])


def test_padding_is_zero_and_only_around_the_slice():
    fit = plan_fit((40, 50), (0.75, 0.75), SPACING, stride=16)
    canvas = fit.to_canvas(torch.ones(2, 1, 40, 50))
    assert canvas.shape == (2, 1, 64, 64)
    assert (canvas[..., 12:52, 7:57] == 1).all()
    assert canvas.sum() == 2 * 40 * 50


@pytest.mark.parametrize(("source", "spacing", "how"), CASES)
def test_labels_keep_their_values(source, spacing, how):
    fit = plan_fit(source, spacing, how, stride=16)
    labels = torch.from_numpy(np.random.default_rng(1).choice([0, 3, 200], (1, 1, *source)).astype(np.uint8))
    canvas = fit.to_canvas(labels, label=True)
    assert canvas.dtype == torch.uint8
    assert set(canvas.unique().tolist()) <= {0, 3, 200}


def test_labels_are_resized_in_place():
    """Half of the slice is labelled; so is half of it on the canvas, to within one pixel."""
    fit = plan_fit((40, 40), (1.5, 1.5), SPACING, stride=16)
    labels = torch.zeros(1, 1, 40, 40, dtype=torch.uint8)
    labels[..., 10:30] = 1
    found = torch.where(fit.to_canvas(labels, label=True)[0, 0, 40])[0]
    assert found.tolist() == list(range(20, 60))


def test_what_was_cropped_gets_the_nearest_value():
    fit = plan_fit((100, 20), (0.75, 0.75), SPACING, stride=16, crop=True)
    back = fit.from_canvas(fit.to_canvas(ramps(100, 20)))
    assert back[0, 0, :, 5].tolist() == [18] * 18 + list(range(18, 82)) + [81] * 18


def test_a_thin_slice_still_has_a_pixel():
    fit = plan_fit((1, 50), (0.1, 0.75), SPACING, stride=16)
    assert fit.resized == (1, 50)
    assert fit.from_canvas(torch.ones(1, 1, 64, 64)).shape == (1, 1, 1, 50)


def test_an_unknown_fit_is_refused():
    with pytest.raises(ValueError, match=r"zoom.*spacing or stretch"):
        plan_fit((4, 4), (1.0, 1.0), {"fit": "zoom", "size": 64})


def padded_slices(margins: tuple[int, int, int, int], value: float = 0.0) -> np.ndarray:
    """Three slices of 20 x 30 pixels of noise with (top, bottom, left, right) constant padding."""
    noise = np.random.default_rng(0).normal(size=(3, 20, 30)).astype(np.float32)
    return np.pad(noise, ((0, 0), margins[:2], margins[2:]), constant_values=value)


@pytest.mark.parametrize("margins", [(0, 0, 0, 0), (5, 0, 0, 7), (11, 3, 1, 0)])
@pytest.mark.parametrize("value", [0.0, -1024.0])
def test_constant_padding_is_no_content(margins, value):
    which, rows, columns = content_box(padded_slices(margins, value))
    assert which == slice(0, 3)
    assert (rows.start, rows.stop) == (margins[0], margins[0] + 20)
    assert (columns.start, columns.stop) == (margins[2], margins[2] + 30)


def test_padding_of_colour_pictures_and_what_is_none():
    colour = np.repeat(padded_slices((4, 0, 0, 2))[..., None], 3, axis=-1)
    assert content_box(colour) == (slice(0, 3), slice(4, 24), slice(0, 30))
    one_value = np.zeros((2, 8, 9))
    assert content_box(one_value) == (slice(0, 2), slice(0, 8), slice(0, 9))
    blank_ends = np.concatenate([np.full((2, 20, 30), 7.0), padded_slices((0, 0, 0, 0))])
    assert content_box(blank_ends) == (slice(2, 5), slice(0, 20), slice(0, 30))
    block = np.zeros((2, 8, 9))
    block[:, 2:4, 3:5] = 1  # what lies around a shape of one value is no padding
    assert content_box(block) == (slice(0, 2), slice(0, 8), slice(0, 9))
    in_one_slice = padded_slices((4, 0, 0, 0))
    in_one_slice[1, 0, 5] = 1  # a row is padding only if it is in all slices
    assert content_box(in_one_slice) == (slice(0, 3), slice(0, 24), slice(0, 30))


def test_noisy_air_is_no_content_and_nothing_but_air_is_all_content():
    noise = np.random.default_rng(0).normal(-1000, 20, (3, 20, 30))
    assert content_box(noise) == content_box(noise, air=-160.0) == (slice(0, 3), slice(0, 20), slice(0, 30))
    noise[:2, 4:9, 6:30] += 1040
    assert content_box(noise, air=-160.0) == (slice(0, 2), slice(4, 9), slice(6, 30))
    assert content_box(noise) == (slice(0, 3), slice(0, 20), slice(0, 30))


@pytest.mark.parametrize("how", [SPACING, {"fit": "stretch", "size": 64}])
def test_padding_changes_nothing_on_the_canvas_and_maps_lie_where_they_belong(how):
    plain, padded = padded_slices((0, 0, 0, 0)), padded_slices((5, 2, 0, 9))
    fits = [plan_fit(s.shape[1:], (1.0, 1.0), how, stride=16, box=content_box(s)) for s in (plain, padded)]
    canvases = [fit.to_canvas(torch.from_numpy(s)[:, None]) for fit, s in zip(fits, (plain, padded), strict=True)]
    torch.testing.assert_close(*canvases, rtol=0, atol=0)
    assert fits[1].from_canvas(canvases[1]).shape == (3, 1, 20, 30)
    shift = fits[1].canvas_to_slice((8, 8)) - fits[0].canvas_to_slice((8, 8))
    np.testing.assert_allclose(shift, [[0, 0, 0], [0, 0, 5], [0, 0, 0]])
