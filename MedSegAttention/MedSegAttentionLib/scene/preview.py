"""The segmentation as far as it is, while a run goes on: shown in the slice views, gone at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
import slicer

from ..data.labels import Label
from .colours import segment_colours
from .nodes import follow, remove_items
from .segmentation import add_segments, labelmap

PREVIEW_ATTRIBUTE = "MedSegAttention.Preview"
UPDATE_SECONDS = 0.04
"""Copying stops after this time and goes on at the next update: the window stays alive, whatever the volume."""


class Preview:
    """A segmentation of ``volume_node`` that fills up slice by slice; without a surface in the 3D view.

    Args:
        scene: of the volume.
        volume_node: gives geometry, parent transform and place in the hierarchy.
        classes: all that may be found.
        axis: 0, 1 or 2 for i, j or k: the index axis the slices of the run are planes of.
    """

    def __init__(
        self, scene: slicer.vtkMRMLScene, volume_node: slicer.vtkMRMLVolumeNode, classes: Sequence[Label], axis: int
    ) -> None:
        self.shown: set[int] = set()
        self._axis = 2 - axis  # of an array [K, J, I]
        self._labels = np.zeros(volume_node.GetImageData().GetDimensions()[::-1], np.uint8)
        # The system hands out the memory of zeros as they are first touched, which takes long for a big volume.
        self._touching = threading.Thread(target=self._labels.fill, args=(0,), daemon=True)
        self._touching.start()
        self._labelmap = labelmap(self._labels, volume_node, share=True)
        self._scene = scene
        self.node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{volume_node.GetName()} segmentation, running")
        self.node.SetAttribute(PREVIEW_ATTRIBUTE, "1")
        self.node.SetSaveWithScene(False)
        follow(self.node, volume_node)
        add_segments(self.node.GetSegmentation(), classes, self._labelmap, "", segment_colours(classes))
        self.node.CreateDefaultDisplayNodes()
        self.node.GetDisplayNode().SetSaveWithScene(False)
        self.node.GetDisplayNode().SetVisibility3D(False)

    def update(self, labels: np.ndarray, done: Sequence[int]) -> None:
        """Show the slices finished since the last update, those finished last first.

        Args:
            labels: ``[K, J, I]`` uint8 of the run, right in the finished slices.
            done: numbers of the finished slices, in the order they came.
        """
        missing = [number for number in reversed(done) if number not in self.shown]
        if not missing or not self._scene.IsNodePresent(self.node):
            return
        self._touching.join(UPDATE_SECONDS)
        if self._touching.is_alive():
            return
        begin = time.perf_counter()
        target, source = np.moveaxis(self._labels, self._axis, 0), np.moveaxis(labels, self._axis, 0)
        for number in missing:
            target[number] = source[number]
            self.shown.add(number)
            if time.perf_counter() - begin > UPDATE_SECONDS:
                break
        self._labelmap.GetPointData().GetScalars().Modified()
        self._labelmap.Modified()  # all segments share it: one event for all
        self.node.GetDisplayNode().Modified()  # slice views draw anew for this, and not for the label map

    def remove(self) -> None:
        """Take it out of the scene, with its display and its place in the hierarchy; twice is once."""
        if not self._scene.IsNodePresent(self.node):
            return
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)
        item = hierarchy.GetItemByDataNode(self.node) if hierarchy else 0
        display = self.node.GetDisplayNode()
        for node in (display, self.node):
            if node is not None and self._scene.IsNodePresent(node):
                self._scene.RemoveNode(node)
        if item:
            remove_items(self._scene, [item])
