"""Segments of a task can be told apart, also by the colour blind; the difference is that of CIE."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conftest import ANATOMY, CLASSES
from MedSegAttentionLib.checkpoints.catalogue import list_checkpoints
from MedSegAttentionLib.data.labels import Code, Label
from MedSegAttentionLib.scene.colour_difference import VISIONS, ciede2000, differences, lab_of
from MedSegAttentionLib.scene.colours import LEAST_DIFFERENCE, ORGANS, segment_colours
from MedSegAttentionLib.scene.segmentation import write_segmentation

PUBLISHED = (  # of Sharma, Wu and Dalal (2005), table 1
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0),
    ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0009), 7.1792),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0011), 7.2195),
    ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((50.0, 2.5, 0.0), (61.0, -5.0, 29.0), 22.8977),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
    ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
)


@pytest.mark.parametrize(("first", "second", "published"), PUBLISHED)
def test_the_difference_is_that_of_cie(first, second, published):
    assert ciede2000(np.array(first), np.array(second)) == pytest.approx(published, abs=5e-5)
    assert ciede2000(np.array(second), np.array(first)) == pytest.approx(published, abs=5e-5)


def test_white_black_and_red_are_where_they_belong():
    assert np.allclose(lab_of(np.array([[255, 255, 255], [0, 0, 0]])), [[100, 0, 0], [0, 0, 0]], atol=0.02)
    assert np.allclose(lab_of(np.array([255, 0, 0])), [53.24, 80.09, 67.2], atol=0.05)
    red_and_green = np.array([[190, 60, 40], [120, 120, 40]])
    far, near = (ciede2000(*lab_of(red_and_green, vision)) for vision in ("usual", "deuteranopia"))
    assert far > 2 * near  # what simulation is for
    for vision in VISIONS:  # greys stay grey to all
        assert np.allclose(lab_of(np.array([128, 128, 128]), vision)[1:], 0, atol=0.5)


def least_difference(colours) -> float:
    values = differences(np.array(list(colours)))
    return values[np.triu_indices(len(values), 1)].min()


@pytest.mark.parametrize("card", list_checkpoints(), ids=lambda card: card.id)
def test_segments_of_every_shipped_task_can_be_told_apart(card):
    colours = segment_colours(card.labels)
    assert list(colours) == [label.name for label in card.labels]
    if len(colours) == 1:
        assert colours == {label.name: label.colour for label in card.labels}
    else:
        assert least_difference(colours.values()) >= LEAST_DIFFERENCE == 20


def test_known_organs_look_the_same_in_every_task():
    assert least_difference(ORGANS.values()) >= LEAST_DIFFERENCE
    by_name = [segment_colours(card.labels) for card in list_checkpoints() if card.task == "abdomen"]
    assert len(by_name) > 1
    assert len({colours["liver"] for colours in by_name}) == 1


def unknown(name: str, value: int, colour: tuple[int, int, int]) -> Label:
    return Label(name, value, colour, ANATOMY, Code("99X", name, name))


def test_colours_of_a_task_that_differ_are_kept_and_others_are_not():
    bright = [unknown("a", 1, (255, 255, 0)), unknown("b", 2, (0, 0, 255)), unknown("c", 3, (255, 255, 255))]
    assert segment_colours(bright) == {label.name: label.colour for label in bright}
    alike = [replace(label, colour=(200, 100, 100 + n)) for n, label in enumerate(bright)]
    assert segment_colours(alike)["a"] == alike[0].colour
    for classes in (alike, [*alike, CLASSES[0]]):
        assert least_difference(segment_colours(classes).values()) >= LEAST_DIFFERENCE


def test_a_result_keeps_its_codes_and_a_class_its_colour_whatever_else_is_found(a_scene, a_volume_node, a_result):
    all_found = write_segmentation(a_scene, a_result, a_volume_node).GetSegmentation()
    less = replace(a_result, labels=np.where(a_result.labels == 2, 2, 0).astype(np.uint8))
    one = write_segmentation(a_scene, less, a_volume_node).GetSegmentation()
    assert all_found.GetSegment("left kidney").GetColor() == one.GetSegment("left kidney").GetColor()
    entry = one.GetSegment("left kidney").GetTerminology()
    assert "SCT^64033007^Kidney~SCT^7771000^Left" in entry
