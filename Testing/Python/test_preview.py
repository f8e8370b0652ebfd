"""The preview: seen slice by slice, gone without a trace, in the order that the application's own plugins want."""

from __future__ import annotations

import numpy as np
import pytest
import slicer

from MedSegAttentionLib.data.result import RunProgress, RunStart
from MedSegAttentionLib.scene import preview as preview_module
from MedSegAttentionLib.scene.live import LiveRun
from MedSegAttentionLib.scene.nodes import nodes_of_class
from MedSegAttentionLib.scene.preview import Preview


@pytest.fixture
def labels(a_result) -> np.ndarray:
    return a_result.labels


@pytest.fixture
def a_preview(a_scene, a_volume_node, a_result) -> Preview:
    return Preview(a_scene, a_volume_node, a_result.classes, axis=2)


def test_slice_views_are_told_of_new_slices(a_preview, labels):
    """They watch the display node; the label map alone would be drawn with the next change of something else."""
    told = []
    a_preview.node.GetDisplayNode().AddObserver("ModifiedEvent", lambda *_: told.append(1))
    a_preview.update(labels, [])
    assert not told
    while len(a_preview.shown) < 4:
        a_preview.update(labels, [0, 1, 2, 3])
    assert told


def test_the_node_goes_before_its_place_in_the_hierarchy(a_scene, a_preview):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(a_scene)
    item, order = hierarchy.GetItemByDataNode(a_preview.node), []
    assert item
    a_scene.AddObserver(a_scene.NodeRemovedEvent, lambda *_: order.append("node"))
    hierarchy.AddObserver(hierarchy.SubjectHierarchyItemRemovedEvent, lambda *_: order.append("item"))
    a_preview.remove()
    assert order.index("node") < order.index("item")
    assert not nodes_of_class(a_scene, "vtkMRMLSegmentationNode")
    a_preview.remove()


class Running:
    """A run that has three slices and goes on."""

    def __init__(self, result) -> None:
        self.started = RunStart(9, 2, result.classes)
        self.labels, self.done, self.progress = result.labels, [0, 1, 2], RunProgress(3, 9)

    def poll(self) -> bool:
        return True

    def cancel(self, keep: bool = False) -> None:
        pass


def test_a_preview_that_fails_half_way_leaves_nothing(a_scene, a_volume_node, a_result, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("no memory")

    before = [node.GetID() for node in nodes_of_class(a_scene, "vtkMRMLNode")]
    monkeypatch.setattr(preview_module, "add_segments", fail)
    live = LiveRun(a_scene, a_volume_node, Running(a_result))
    assert live.poll()
    assert [node.GetID() for node in nodes_of_class(a_scene, "vtkMRMLNode")] == before
    live.discard("done")
