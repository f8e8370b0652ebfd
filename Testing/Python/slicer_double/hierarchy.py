"""The subject hierarchy as the application keeps it: its plugins give every data node an item, and take it away."""

from __future__ import annotations

import slicer
import vtk


class HierarchyPlugins:
    """What the application's plugins do for the nodes of a scene.

    Attributes:
        errors: what MRML would have written into the application's log.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._scene = scene
        self._hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        self.errors: list[str] = []
        self._displays: list[slicer.vtkMRMLDisplayNode] = []  # of the node that is leaving: they follow it
        for event, method in (
            (scene.NodeAddedEvent, self._on_added),
            (scene.NodeAboutToBeRemovedEvent, self._on_leaving),
            (scene.NodeRemovedEvent, self._on_removed),
        ):
            method.__func__.CallDataType = vtk.VTK_OBJECT
            scene.AddObserver(event, method)
        for source in (scene, self._hierarchy):
            self._listen(source)
        removed = self._hierarchy.SubjectHierarchyItemAboutToBeRemovedEvent
        self._on_item_removed.__func__.CallDataType = vtk.VTK_LONG
        self._hierarchy.AddObserver(removed, self._on_item_removed)

    def _listen(self, source: vtk.vtkObject) -> None:
        self._on_error.__func__.CallDataType = vtk.VTK_STRING
        source.AddObserver(vtk.vtkCommand.ErrorEvent, self._on_error)

    def _on_error(self, _caller: object, _event: str, text: str) -> None:
        self.errors.append(text)

    @staticmethod
    def _is_data(node: vtk.vtkObject) -> bool:
        return isinstance(node, slicer.vtkMRMLDisplayableNode) and not node.GetHideFromEditors()

    def _on_added(self, _caller: object, _event: str, node: vtk.vtkObject) -> None:
        if self._is_data(node):
            self._hierarchy.CreateItem(self._hierarchy.GetSceneItemID(), node)

    def _on_leaving(self, _caller: object, _event: str, node: vtk.vtkObject) -> None:
        if node.GetScene() is None:
            self.errors.append(f"'{node.GetID()}' had left the scene: its hierarchy node is not found")
        if isinstance(node, slicer.vtkMRMLDisplayableNode):
            self._displays = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]

    def _on_removed(self, _caller: object, _event: str, node: vtk.vtkObject) -> None:
        item = self._hierarchy.GetItemByDataNode(node) if self._is_data(node) else 0
        if item:
            self._hierarchy.RemoveItem(item, False, False)
        displays, self._displays = self._displays, []
        for display in filter(self._scene.IsNodePresent, filter(None, displays)):
            self._scene.RemoveNode(display)

    def _on_item_removed(self, _caller: object, _event: str, item: int) -> None:
        node = self._hierarchy.GetItemDataNode(item)
        if node is not None and self._scene.IsNodePresent(node):
            self.errors.append(f"the item of '{node.GetName()}' goes before its node")
