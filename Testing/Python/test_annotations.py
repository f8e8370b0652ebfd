"""Outlines, letters, scale bar and legend on the pictures of a result."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import DIRECTIONS, geometry
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.output.annotations import annotated, outlined
from MedSegAttentionLib.output.pictures import mm_per_pixel, sides_of

RED, GREEN = (200, 40, 40), (40, 200, 40)
NO_SIDES = ("", "", "", "")


def two_segments() -> tuple[np.ndarray, np.ndarray]:
    plain = np.full((100, 120, 3), 90, np.uint8)
    filled = plain.copy()
    filled[20:60, 20:60], filled[20:60, 60:100] = RED, GREEN
    return plain, filled


def test_outlines_are_two_pixels_deep_and_leave_the_image_inside():
    found = outlined(*two_segments())
    assert found[21, 40].tolist() == found[40, 21].tolist() == found[59, 40].tolist() == list(RED)
    assert found[40, 59].tolist() == list(RED)  # where the other begins
    assert found[40, 60].tolist() == list(GREEN)
    assert found[40, 40].tolist() == found[40, 80].tolist() == found[22, 40].tolist() == [90] * 3
    assert found[10, 10].tolist() == [90] * 3


def test_a_segment_at_the_edge_of_the_picture_is_closed_there():
    plain = np.full((50, 50, 3), 90, np.uint8)
    filled = plain.copy()
    filled[:20, :20] = RED
    found = outlined(plain, filled)
    assert found[0, 10].tolist() == found[10, 0].tolist() == list(RED)
    assert found[10, 10].tolist() == [90] * 3


@pytest.mark.parametrize(("mm", "length"), [(1.0, 50), (0.5, 20), (0.2, 10), (3.0, 200)])
def test_the_bar_has_the_length_that_it_says(mm, length):
    dark = np.zeros((200, 240, 3), np.uint8)
    bar = annotated(dark, NO_SIDES, mm)[190:196]
    bright = np.flatnonzero((bar > 200).all(-1).any(0))
    assert np.ptp(bright) * mm == pytest.approx(length, abs=2 * mm)


def test_without_a_scale_there_is_no_bar_and_without_sides_no_letter():
    dark = np.zeros((200, 240, 3), np.uint8)
    np.testing.assert_array_equal(annotated(dark, NO_SIDES, None), dark)


def test_letters_stand_at_their_sides_and_names_beside_their_colours():
    dark = np.zeros((200, 240, 3), np.uint8)
    found = annotated(dark, ("R", "L", "A", "P"), None, [("liver", RED), ("spleen", GREEN)])
    for part in (found[90:110, :30], found[90:110, -30:], found[:30, 110:130], found[-30:, 110:130]):
        assert (part > 200).any()
    assert (found == RED).all(-1).any()
    assert (found == GREEN).all(-1).any()
    assert (found[30:48, 26:70] > 200).any()


@pytest.mark.parametrize("kind", DIRECTIONS)
def test_the_sides_are_those_of_the_patient(kind):
    image = VolumeImage(np.zeros((7, 9, 11), np.uint8), geometry(kind))
    for axis in range(3):
        plane = {0: "sagittal", 1: "coronal", 2: "axial"}[image.anatomical_axes[axis]]
        wanted = {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "S", "I"), "sagittal": ("A", "P", "S", "I")}
        assert sides_of(image, axis) == wanted[plane]


def test_a_pixel_has_the_size_that_the_slice_gives_it():
    image = VolumeImage(np.zeros((4, 20, 40), np.uint8), np.diag([-0.5, -0.5, 5.0, 1.0]))
    assert mm_per_pixel(image, 2, np.zeros((100, 200, 3))) == pytest.approx(0.1)
