"""The test inside Slicer, on the test double: it passes on a good panel, and finds what it is there to find."""

from __future__ import annotations

from itertools import chain, repeat

import pytest

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.scene.preview import PREVIEW_ATTRIBUTE
from slicer_double.fakes import nodes_of

pytest_plugins = ["slicer_double.fixtures"]


@pytest.fixture
def a_test(a_volume_node, a_scene, open_module, an_application, a_runner, monkeypatch):
    """The panel's test; slices come one a poll, and the view looks different as soon as a preview is there."""
    from MedSegAttentionLib.panel.self_test import PanelTest

    monkeypatch.setattr("MedSegAttentionLib.logic.segment_handle.SegmentHandle.POLL_MILLISECONDS", 5)
    monkeypatch.setattr("MedSegAttentionLib.scene.live.PREVIEW_SECONDS", 0.0)
    a_runner.slices_per_poll = 1

    def view() -> bytes:
        nodes = nodes_of(a_scene, "vtkMRMLSegmentationNode")
        return b"slices" if any(node.GetAttribute(PREVIEW_ATTRIBUTE) for node in nodes) else b"image"

    an_application.views = view
    return PanelTest(open_module(), a_volume_node, "abdomen", steadySeconds=0.1)


def test_the_panel_passes(a_test, an_application):
    before = dict(an_application.settings)
    a_test.run()
    assert an_application.shown == []
    assert an_application.settings == before


def test_a_preview_that_nobody_sees_is_found(a_test, an_application):
    an_application.views = lambda: b"image"
    with pytest.raises(AssertionError, match="no slice was seen"):
        a_test.segmentsWithPreview()


def test_an_error_in_the_log_is_found(a_test, an_application):
    an_application.log.append(("Warning", "harmless"))
    an_application.during_events = lambda: an_application.log.append(("Error", "hierarchy item not found"))
    with pytest.raises(AssertionError, match="hierarchy item not found"):
        a_test.run()


def test_a_stale_legend_is_found(a_test, monkeypatch):
    a_test.segmentsWithPreview()
    monkeypatch.setattr("MedSegAttentionLib.scene.overlay_display.show_legend", lambda *_: None)
    a_test._ui.legendCheckBox.click()
    from MedSegAttentionLib.scene import overlay_display
    from MedSegAttentionLib.scene.overlays import shown_overlay

    overlay_display.legend(shown_overlay(a_test._volumeNode.GetScene())).SetVisibility(False)
    with pytest.raises(AssertionError, match="legend"):
        a_test.legendsFollowTheMap()


def test_a_window_that_grows_once_to_hold_the_panel_is_none_that_widens(a_test, monkeypatch):
    widths = chain((835, 900), repeat(1038))
    monkeypatch.setattr(a_test, "_width", lambda: next(widths))
    rest, shown = a_test._rest, []
    monkeypatch.setattr(a_test, "_rest", lambda: (shown.append(a_test._width()) if len(shown) < 2 else None, rest()))
    a_test.staysAsWideAsItIs()


def test_a_panel_that_widens_is_found(a_test, monkeypatch):
    widths = iter(range(400, 10**6))
    monkeypatch.setattr(a_test, "_width", lambda: next(widths))
    with pytest.raises(AssertionError, match="the panel widens"):
        a_test.staysAsWideAsItIs()


def test_the_checkpoint_may_be_told_where_an_image_does_not_say_of_which_modality_it_is(a_test, a_runner):
    a_test._checkpoint = "abdomen-mr-x"
    a_test.segmentsWithPreview()
    assert a_runner.calls[-1]["checkpoint"] == "abdomen-mr-x"


def test_an_error_that_was_shown_is_told_with_what_it_led_to(a_test, a_runner):
    a_runner.errors = [InputError("choose a checkpoint")]
    with pytest.raises(AssertionError, match=r"(?s)no result: .*choose a checkpoint"):
        a_test.run()
