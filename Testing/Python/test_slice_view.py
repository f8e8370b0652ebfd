"""What a slice view draws, by the application's own displayable managers: the preview as it grows, the right legend."""

from __future__ import annotations

from dataclasses import replace

import pytest

from MedSegAttentionLib.scene.overlays import hide_overlays, show_overlay, slice_views
from MedSegAttentionLib.scene.preview import Preview
from MedSegAttentionLib.scene.writing import write_result
from slicer_double.slice_view import SliceView


@pytest.fixture
def a_view(a_scene):
    view = SliceView(a_scene)
    yield view
    view.close()


@pytest.fixture
def two_maps(a_scene, a_view, a_volume_node, a_result):
    tau = a_result.attention["tau_stage4"]
    other = replace(tau, map=replace(tau.map, name="k_stage4", title="k, stage 4"))
    result = replace(a_result, attention={"tau_stage4": tau, "k_stage4": other})
    return list(write_result(a_scene, result, a_volume_node).attention.values())


def test_new_slices_of_the_preview_are_drawn(a_scene, a_view, a_volume_node, a_result):
    show_overlay(a_scene, None, a_volume_node)
    preview = Preview(a_scene, a_volume_node, a_result.classes, axis=2)
    for finished in range(1, 10):
        before = a_view.drawn
        while len(preview.shown) < finished:
            preview.update(a_result.labels, list(range(finished)))
        assert a_view.drawn > before, finished
    before = a_view.drawn
    preview._labelmap.Modified()
    assert a_view.drawn == before  # which is why the preview tells of its display node


def test_the_legend_is_that_of_the_map_shown(a_scene, a_view, a_volume_node, two_maps):
    tau, k = two_maps
    assert a_view.legends(a_scene) == ["tau, stage 4"]
    for shown, titles in ((k, ["k, stage 4"]), (tau, ["tau, stage 4"])):
        show_overlay(a_scene, shown, a_volume_node)
        assert a_view.legends(a_scene) == titles
    hide_overlays(a_scene)
    assert a_view.legends(a_scene) == []
    show_overlay(a_scene, tau, a_volume_node)
    slice_views(a_scene)[0].SetForegroundVolumeID(None)
    assert a_view.legends(a_scene) == ["tau, stage 4"]  # which is why every switch is told to the legends


def test_a_legend_covers_a_small_part_of_the_view(two_maps):
    for node in two_maps:
        legend = node.GetNthDisplayNode(node.GetNumberOfDisplayNodes() - 1)
        width, height = legend.GetSize()
        assert width * height < 0.05
        assert legend.GetLabelTextProperty().GetFontSize() <= 12
