"""What every node this package writes has in common: place in the hierarchy, transform, provenance."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
from vtkmodules.vtkCommonCore import vtkIdList
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from ..data.result import VolumeResult
from .arrays import from_vtk

PROVENANCE_ATTRIBUTE = "MedSegAttention.Provenance"
CHECKPOINT_ATTRIBUTE = "MedSegAttention.Checkpoint"
MAP_ATTRIBUTE = "MedSegAttention.Map"
PARTIAL_ATTRIBUTE = "MedSegAttention.Partial"
ABSENT_ATTRIBUTE = "MedSegAttention.AbsentClasses"


def nodes_of_class(scene: slicer.vtkMRMLScene, class_name: str) -> list[slicer.vtkMRMLNode]:
    """All nodes of a class or of one derived from it, in the order of the scene."""
    return [scene.GetNthNodeByClass(n, class_name) for n in range(scene.GetNumberOfNodesByClass(class_name))]


def world_from_local(node: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    """``[4, 4]`` from a node's own coordinates to the world, RAS mm.

    Identity without a parent transform, and under a non-linear one: no matrix describes that, so work is done in the
    node's own coordinates, and outputs follow because they get the same transform.
    """
    transform = node.GetParentTransformNode()
    if transform is None or not transform.IsTransformToWorldLinear():
        return np.eye(4)
    matrix = vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return from_vtk(matrix)


def follow(node: slicer.vtkMRMLTransformableNode, volume_node: slicer.vtkMRMLVolumeNode) -> None:
    """Give ``node`` the parent transform of the volume and the place beside it in the subject hierarchy."""
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume_node.GetScene())
    volume_item = hierarchy.GetItemByDataNode(volume_node)
    # Invalid (0) only outside the application, which gives every volume an item as it enters the scene.
    parent = hierarchy.GetItemParent(volume_item) if volume_item else hierarchy.GetSceneItemID()
    hierarchy.CreateItem(parent, node)


def set_provenance(node: slicer.vtkMRMLNode, provenance: dict[str, Any]) -> None:
    """Write a run's provenance into the node's attributes, which scene files keep.

    Args:
        node: segmentation or overlay.
        provenance: JSON-ready, see ``VolumeResult.provenance``.
    """
    node.SetAttribute(PROVENANCE_ATTRIBUTE, json.dumps(provenance, sort_keys=True))
    node.SetAttribute(CHECKPOINT_ATTRIBUTE, str(provenance.get("checkpoint", "")))


def provenance_of(node: slicer.vtkMRMLNode) -> dict[str, Any]:
    """What :func:`set_provenance` wrote; empty where nothing was, or where it was edited and is no longer JSON."""
    try:
        provenance = json.loads(node.GetAttribute(PROVENANCE_ATTRIBUTE) or "{}")
    except json.JSONDecodeError:
        return {}
    return provenance if isinstance(provenance, dict) else {}


def is_overlay(node: slicer.vtkMRMLNode | None) -> bool:
    """Whether a node is an attention map that this package wrote."""
    return node is not None and node.GetAttribute(MAP_ATTRIBUTE) is not None


def mark_partial(node: slicer.vtkMRMLNode, result: VolumeResult) -> None:
    """Mark what a stopped run left with its finished slices, from 0, as ``2-6`` or ``2-3,7-7``; a whole one not."""
    if result.partial:
        node.SetAttribute(PARTIAL_ATTRIBUTE, ",".join(f"{first}-{last}" for first, last in result.finished))


def finished_slices(node: slicer.vtkMRMLNode) -> list[tuple[int, int]]:
    """(first, last), from 0, of the stretches of slices that a stopped run left; none for a whole result."""
    stretches = filter(None, (node.GetAttribute(PARTIAL_ATTRIBUTE) or "").split(","))
    return [tuple(map(int, stretch.split("-"))) for stretch in stretches]


@contextmanager
def unchanged_on_error(scene: slicer.vtkMRMLScene) -> Iterator[None]:
    """Take back what the block did to the scene when it raises: new nodes, hierarchy items, slice view contents."""
    restore = _restorer(scene)
    try:
        yield
    except BaseException:
        restore()
        raise


@contextmanager
def unchanged_after(scene: slicer.vtkMRMLScene) -> Iterator[None]:
    """Take back what the block did to the scene, always: for nodes needed only meanwhile."""
    restore = _restorer(scene)
    try:
        yield
    finally:
        restore()


def _restorer(scene: slicer.vtkMRMLScene) -> Callable[[], None]:
    """Remember the scene now; the function returned brings it back."""
    nodes_before = {node.GetID() for node in nodes_of_class(scene, "vtkMRMLNode")}
    items_before = set(hierarchy_items(scene))
    views_before = {node: _view_content(node) for node in nodes_of_class(scene, "vtkMRMLSliceCompositeNode")}

    def restore() -> None:
        for node, content in views_before.items():
            _set_view_content(node, content)
        for node in reversed(nodes_of_class(scene, "vtkMRMLNode")):
            if node.GetID() not in nodes_before and scene.IsNodePresent(node):
                scene.RemoveNode(node)
        remove_items(scene, [item for item in hierarchy_items(scene) if item not in items_before])

    return restore


def remove_items(scene: slicer.vtkMRMLScene, items: list[int]) -> None:
    """Remove items of the subject hierarchy whose nodes have left the scene, each before its parent.

    The application's own plugins remove the item of a node with it: one that is gone already is no error.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for item in sorted(items, reverse=True):  # a child has a higher number than the parent it was made under
        if item in hierarchy_items(scene):
            hierarchy.RemoveItem(item, False, False)


def hierarchy_items(scene: slicer.vtkMRMLScene) -> list[int]:
    """All items of the subject hierarchy below the scene."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    items = vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    return [items.GetId(n) for n in range(items.GetNumberOfIds())]


def _view_content(node: slicer.vtkMRMLSliceCompositeNode) -> tuple[str | None, str | None, float]:
    return node.GetBackgroundVolumeID(), node.GetForegroundVolumeID(), node.GetForegroundOpacity()


def _set_view_content(node: slicer.vtkMRMLSliceCompositeNode, content: tuple[str | None, str | None, float]) -> None:
    background, foreground, opacity = content
    node.SetBackgroundVolumeID(background)
    node.SetForegroundVolumeID(foreground)
    node.SetForegroundOpacity(opacity)
