"""Nothing of a run puts an error about the subject hierarchy into the application's log."""

from __future__ import annotations

import numpy as np
import pytest

from MedSegAttentionLib.data.comparison import Comparison
from MedSegAttentionLib.scene.disagreement import disagreement_of, remove_disagreement, write_disagreement
from MedSegAttentionLib.scene.nodes import hierarchy_items, unchanged_after
from MedSegAttentionLib.scene.preview import Preview
from MedSegAttentionLib.scene.writing import write_result
from slicer_double.hierarchy import HierarchyPlugins


@pytest.fixture
def plugins(a_scene):
    return HierarchyPlugins(a_scene)


def test_a_preview_comes_and_goes_without_an_error(plugins, a_scene, a_volume_node, a_result):
    before = hierarchy_items(a_scene)
    preview = Preview(a_scene, a_volume_node, a_result.classes, axis=2)
    assert hierarchy_items(a_scene) != before
    preview.remove()
    assert hierarchy_items(a_scene) == before
    assert plugins.errors == []


def test_a_result_that_is_taken_back_leaves_no_item_and_no_error(plugins, a_scene, a_volume_node, a_result):
    before = hierarchy_items(a_scene)
    with unchanged_after(a_scene):
        write_result(a_scene, a_result, a_volume_node)
        assert len(hierarchy_items(a_scene)) > len(before)
    assert hierarchy_items(a_scene) == before
    assert plugins.errors == []


def test_what_differs_comes_and_goes_without_an_error(plugins, a_scene, a_volume_node, a_result):
    first = write_result(a_scene, a_result, a_volume_node).segmentation
    differing = np.minimum(a_result.labels, 3).astype(np.uint8)
    comparison = Comparison(("a", "b"), (), (), 2, 9, (), (), differing, "mm", "mL")
    write_disagreement(a_scene, comparison, first)
    remove_disagreement(a_scene)
    assert disagreement_of(a_scene) is None
    assert plugins.errors == []


def test_an_item_that_goes_before_its_node_is_seen(plugins, a_scene, a_volume_node):
    hierarchy = a_scene.GetSubjectHierarchyNode()
    hierarchy.RemoveItem(hierarchy.GetItemByDataNode(a_volume_node), False, False)
    assert plugins.errors == ["the item of 'case 1' goes before its node"]
