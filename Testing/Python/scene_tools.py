"""Looking into a scene from a test, by other means than those of the code under test."""

from __future__ import annotations

import numpy as np
import slicer
import vtk


def world_matrix(node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """``[4, 4]`` from voxel indices to the world, through MRML's own point transforms."""
    local = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(local)
    origin = _world(node, local, (0, 0, 0))
    columns = [_world(node, local, unit) - origin for unit in np.eye(3)]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.stack(columns, axis=1), origin
    return matrix


def _world(node: slicer.vtkMRMLTransformableNode, local: vtk.vtkMatrix4x4, index: np.ndarray) -> np.ndarray:
    point = list(local.MultiplyPoint((*index, 1))[:3])
    world = [0.0, 0.0, 0.0]
    node.TransformPointToWorld(point, world)
    return np.array(world)


def segments_at(node: slicer.vtkMRMLSegmentationNode, volume_node: slicer.vtkMRMLVolumeNode) -> dict[str, np.ndarray]:
    """Segment name -> ``[K, J, I]`` bool on the grid of the volume, through Slicer's own resampling."""
    found = {}
    scene = node.GetScene()
    for segment_id in node.GetSegmentation().GetSegmentIDs():
        label_node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        ids = vtk.vtkStringArray()
        ids.InsertNextValue(segment_id)
        slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode(node, ids, label_node, volume_node)
        array = slicer.util.arrayFromVolume(label_node).copy()
        found[node.GetSegmentation().GetSegment(segment_id).GetName()] = array > 0
        scene.RemoveNode(label_node)
    return found


def add_transform(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLTransformableNode) -> slicer.vtkMRMLTransformNode:
    """Put ``node`` under a rotation, shear and shift."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([0.8, -0.6, 0, 10, 0.6, 0.8, 0.2, -20, 0, 0, 1.1, 5, 0, 0, 0, 1])
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "couch")
    transform.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def snapshot(scene: slicer.vtkMRMLScene) -> tuple:
    """Everything a failed run must leave as it was: nodes, hierarchy, contents of the slice views."""
    nodes = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
    hierarchy = scene.GetSubjectHierarchyNode()
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    ids = [items.GetId(n) for n in range(items.GetNumberOfIds())]
    views = [node for node in nodes if node.IsA("vtkMRMLSliceCompositeNode")]
    return (
        [node.GetID() for node in nodes],
        [(item, hierarchy.GetItemParent(item), hierarchy.GetItemName(item)) for item in ids],
        [
            (v.GetBackgroundVolumeID(), v.GetForegroundVolumeID(), v.GetLabelVolumeID(), v.GetForegroundOpacity())
            for v in views
        ],
    )
