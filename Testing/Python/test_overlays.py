"""What the attention section changes: each choice against the nodes Slicer shows, and against the picture itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import slicer

from conftest import a_result_on, an_image
from MedSegAttentionLib.data.card import AttentionMap
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.data.result import AttentionVolume
from MedSegAttentionLib.output.files import save_scene
from MedSegAttentionLib.output.pictures import slice_picture
from MedSegAttentionLib.scene import overlay_display as display
from MedSegAttentionLib.scene.application import headless_scene
from MedSegAttentionLib.scene.colours import COLOUR_NODE_NAME, overlay_colours
from MedSegAttentionLib.scene.nodes import nodes_of_class
from MedSegAttentionLib.scene.overlays import (
    hide_overlays,
    overlay_opacity,
    overlays_of,
    set_overlay_opacity,
    show_overlay,
    shown_overlay,
    slice_views,
    write_attention,
)
from MedSegAttentionLib.scene.segmentation import source_volume
from MedSegAttentionLib.scene.volumes import add_volume
from MedSegAttentionLib.scene.writing import write_result

SLICE = 4


@pytest.fixture
def a_written(a_scene, a_volume_node, a_result):
    return write_result(a_scene, a_result, a_volume_node)


@pytest.fixture
def an_overlay(a_written):
    return a_written.attention["tau_stage4"]


def picture(scene, overlay) -> np.ndarray:
    """One slice as the views blend it, with the opacity they have."""
    volume = overlay.GetNodeReference("MedSegAttention.Volume")
    opacity = overlay_opacity(scene, overlay)
    return slice_picture(scene, volume, SLICE, overlay_node=overlay, opacity=opacity, height=120).astype(int)


def plain(scene, overlay) -> np.ndarray:
    volume = overlay.GetNodeReference("MedSegAttention.Volume")
    return slice_picture(scene, volume, SLICE, height=120).astype(int)


def values(overlay) -> np.ndarray:
    return slicer.util.arrayFromVolume(overlay)


def test_opacity_is_that_of_the_views_and_changes_the_picture(a_scene, an_overlay):
    image, half = plain(a_scene, an_overlay), picture(a_scene, an_overlay)
    set_overlay_opacity(a_scene, an_overlay, 1.0)
    full = picture(a_scene, an_overlay)
    assert {view.GetForegroundOpacity() for view in slice_views(a_scene)} == {1.0}
    np.testing.assert_allclose(half, (image + full) / 2, atol=2)
    assert np.abs(full - image).max() > 50
    set_overlay_opacity(a_scene, an_overlay, 0.0)
    np.testing.assert_allclose(picture(a_scene, an_overlay), image, atol=1)


def test_opacity_of_another_foreground_is_left_alone(a_scene, an_overlay, a_volume_node):
    *_, other = slice_views(a_scene)
    other.SetForegroundVolumeID(a_volume_node.GetID())
    set_overlay_opacity(a_scene, an_overlay, 0.25)
    assert other.GetForegroundOpacity() == 0.5
    assert overlay_opacity(a_scene, an_overlay) == 0.25


def test_values_below_the_threshold_let_the_image_through(a_scene, an_overlay):
    an_overlay.GetDisplayNode().SetInterpolate(False)
    image, shares = plain(a_scene, an_overlay), []
    for threshold in (0.0, 0.5, 2.0):
        display.set_threshold(an_overlay, threshold)
        shares.append((picture(a_scene, an_overlay) != image).any(axis=-1).mean())
    assert shares[0] > 0.99
    assert shares[1] == pytest.approx((values(an_overlay)[SLICE] >= 0.5).mean(), abs=0.03)
    assert shares[2] == 0


def test_the_window_is_fixed_until_percentiles_are_asked_for(a_scene, an_overlay):
    fixed = picture(a_scene, an_overlay)
    assert display.window(an_overlay) == display.map_range(an_overlay) == (0.0, 1.0)
    assert display.is_window_fixed(an_overlay)
    assert display.window_percentiles(an_overlay) is None
    display.set_percentile_window(an_overlay, 10, 60)
    np.testing.assert_allclose(display.window(an_overlay), np.percentile(values(an_overlay), (10, 60)), atol=1e-6)
    assert display.window_percentiles(an_overlay) == (10, 60)
    assert not display.is_window_fixed(an_overlay)
    assert not an_overlay.GetDisplayNode().GetAutoWindowLevel()
    assert np.abs(picture(a_scene, an_overlay) - fixed).max() > 30
    display.set_fixed_window(an_overlay)
    assert display.window_percentiles(an_overlay) is None
    np.testing.assert_array_equal(picture(a_scene, an_overlay), fixed)


def test_a_window_set_by_hand_is_neither(a_scene, an_overlay):
    display.set_percentile_window(an_overlay, 10, 60)
    an_overlay.GetDisplayNode().SetWindowLevelMinMax(0.2, 0.9)
    assert display.window_percentiles(an_overlay) is None
    assert not display.is_window_fixed(an_overlay)


@pytest.mark.parametrize(("low", "high"), [(60, 10), (-1, 50), (0, 101), (float("nan"), 5)])
def test_impossible_percentiles_are_refused(an_overlay, low, high):
    with pytest.raises(InputError, match="make no window"):
        display.set_percentile_window(an_overlay, low, high)
    assert display.is_window_fixed(an_overlay)


def test_a_map_of_one_value_still_gets_a_window(a_scene, a_volume_node, a_result):
    attention = a_result.attention["tau_stage4"]
    flat = write_attention(a_scene, replace(attention, array=np.full_like(attention.array, 0.5)), a_volume_node, {})
    display.set_percentile_window(flat, 2, 98)
    low, high = display.window(flat)
    assert low == pytest.approx(0.5, abs=1e-6)
    assert high > low


def test_the_range_of_the_map_is_remembered(a_scene, a_volume_node, a_result):
    attention = a_result.attention["tau_stage4"]
    what = AttentionMap("row_stage4", "row", "", (0.0, 0.125))
    node = write_attention(a_scene, AttentionVolume(what, attention.array, attention.ijk_to_ras), a_volume_node, {})
    display.set_percentile_window(node, 5, 50)
    display.set_fixed_window(node)
    assert display.window(node) == display.map_range(node) == (0.0, 0.125)
    assert display.largest_value(node) == attention.array.max()
    assert display.legend(node).GetLabelFormat() == "%.3f"


def test_colours_are_ours_and_slicers_even_ones(a_scene, an_overlay):
    nodes = overlay_colours(a_scene)
    assert [node.GetName() for node in nodes] == [COLOUR_NODE_NAME, "Grey", "InvertedGrey", "Iron", "Ocean"]
    before = picture(a_scene, an_overlay)
    display.set_colours(an_overlay, nodes[1])
    set_overlay_opacity(a_scene, an_overlay, 1.0)
    grey = picture(a_scene, an_overlay)
    assert np.abs(grey - before).max() > 50
    np.testing.assert_array_equal(grey[..., 0], grey[..., 1])
    assert display.window(an_overlay) == (0.0, 1.0)


def test_no_colour_table_is_made_by_looking(a_scene):
    before = a_scene.GetNumberOfNodes()
    assert COLOUR_NODE_NAME not in [node.GetName() for node in overlay_colours(a_scene)]
    assert a_scene.GetNumberOfNodes() == before


def test_the_legend_can_be_hidden_and_made_again(a_scene, an_overlay):
    assert display.legend(an_overlay).GetVisibility()
    display.show_legend(an_overlay, False)
    assert not display.legend(an_overlay).GetVisibility()
    a_scene.RemoveNode(display.legend(an_overlay))
    display.show_legend(an_overlay, False)
    assert display.legend(an_overlay) is None
    display.show_legend(an_overlay, True)
    assert display.legend(an_overlay).GetVisibility()


def test_overlays_are_those_of_the_run_and_the_rows(a_scene, a_volume_node, a_result, a_written):
    again = write_result(a_scene, replace(a_result, provenance={"checkpoint": "other"}), a_volume_node)
    elsewhere = add_volume(a_scene, replace(an_image(), name="case 2"))
    write_result(a_scene, a_result_on(an_image()), elsewhere)
    attention = a_result.attention["tau_stage4"]
    row = write_attention(a_scene, attention, a_volume_node, {"attention_row": {"ras": [0, 0, 0]}})
    first, second = a_written.attention["tau_stage4"], again.attention["tau_stage4"]
    assert overlays_of(a_scene, a_volume_node) == [first, second, row]
    assert overlays_of(a_scene, a_volume_node, a_written.segmentation) == [first, row]
    assert overlays_of(a_scene, a_volume_node, again.segmentation) == [second, row]
    assert overlays_of(a_scene, None) == []
    assert source_volume(again.segmentation) is a_volume_node


def test_what_is_shown_is_what_the_views_show(a_scene, a_volume_node, an_overlay):
    assert shown_overlay(a_scene) is an_overlay
    hide_overlays(a_scene)
    assert shown_overlay(a_scene) is None
    red, green, _ = slice_views(a_scene)
    red.SetForegroundVolumeID(a_volume_node.GetID())
    green.SetForegroundVolumeID(an_overlay.GetID())
    assert shown_overlay(a_scene) is an_overlay
    hide_overlays(a_scene)
    assert red.GetForegroundVolumeID() == a_volume_node.GetID()
    show_overlay(a_scene, an_overlay, a_volume_node, 0.7)
    assert {(view.GetForegroundVolumeID(), view.GetForegroundOpacity()) for view in slice_views(a_scene)} == {
        (an_overlay.GetID(), 0.7)
    }


def test_a_new_overlay_is_complete_when_the_scene_tells_of_it(a_scene, a_volume_node, a_result):
    seen = []
    a_scene.AddObserver(a_scene.NodeAddedEvent, lambda *_: seen.append(len(overlays_of(a_scene, a_volume_node))))
    write_attention(a_scene, a_result.attention["tau_stage4"], a_volume_node, a_result.provenance)
    assert seen[0] == 1


def test_a_saved_scene_opens_with_the_same_display(a_scene, an_overlay, tmp_path):
    display.set_percentile_window(an_overlay, 5, 95)
    display.set_threshold(an_overlay, 0.3)
    set_overlay_opacity(a_scene, an_overlay, 0.8)
    display.show_legend(an_overlay, False)
    before = picture(a_scene, an_overlay)
    path = save_scene(a_scene, tmp_path / "scene.mrb")
    opened = headless_scene()
    opened.SetRootDirectory(str(tmp_path))
    assert opened.ReadFromMRB(str(path), True)
    (node,) = [
        item for item in nodes_of_class(opened, "vtkMRMLScalarVolumeNode") if item.GetAttribute(display.RANGE_ATTRIBUTE)
    ]
    (segmentation,) = nodes_of_class(opened, "vtkMRMLSegmentationNode")
    assert overlays_of(opened, source_volume(segmentation), segmentation) == [node] == [shown_overlay(opened)]
    assert display.window_percentiles(node) == (5, 95)
    assert not display.legend(node).GetVisibility()
    assert overlay_opacity(opened, node) == 0.8
    np.testing.assert_allclose(picture(opened, node), before, atol=1)


def test_the_map_of_another_run_does_not_stay_over_a_result_without_maps(a_scene, an_overlay, a_volume_node):
    other, pet = (a_scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name) for name in ("other", "PET"))
    show_overlay(a_scene, None, other)
    assert shown_overlay(a_scene) is None
    show_overlay(a_scene, an_overlay, a_volume_node)
    show_overlay(a_scene, None, a_volume_node)
    assert shown_overlay(a_scene) is None
    for view in slice_views(a_scene):
        view.SetForegroundVolumeID(pet.GetID())
    show_overlay(a_scene, None, other)
    assert {view.GetForegroundVolumeID() for view in slice_views(a_scene)} == {pet.GetID()}  # the user's own


def test_an_empty_view_is_fitted_and_no_node_is_left_behind(a_scene, a_volume_node):
    view = slice_views(a_scene)[0]
    slice_node = slicer.vtkMRMLSliceLogic.GetSliceNode(view)
    before, nodes = slice_node.GetFieldOfView(), a_scene.GetNumberOfNodes()
    show_overlay(a_scene, None, a_volume_node)
    assert slice_node.GetFieldOfView() != before
    assert a_scene.GetNumberOfNodes() == nodes
    assert view.GetBackgroundVolumeID() == a_volume_node.GetID()


def test_views_are_told_when_another_legend_is_right(a_scene, a_volume_node, an_overlay):
    """Slice views look which legend to draw when one is modified, and not when another volume is shown."""
    told = []
    display.legend(an_overlay).AddObserver("ModifiedEvent", lambda *_: told.append(1))
    for change in (
        lambda: show_overlay(a_scene, an_overlay, a_volume_node),
        lambda: show_overlay(a_scene, None, a_volume_node),
        lambda: hide_overlays(a_scene),
        lambda: display.show_legend(an_overlay, False),
    ):
        told.clear()
        change()
        assert told
