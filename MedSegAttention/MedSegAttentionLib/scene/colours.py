"""The colour map of the overlays: one perceptually uniform map for all, so that equal values look equal everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer

COLOUR_FILE = Path(__file__).parents[2] / "Resources" / "Colors" / "MedSegAttention-Viridis.ctbl"
COLOUR_NODE_NAME = "MedSegAttention Viridis"
COLOUR_NODE_TAG = "MedSegAttentionViridis"


def colour_map() -> np.ndarray:
    """``[256, 3]`` uint8 red, green, blue, from the lowest value to the highest."""
    return np.loadtxt(COLOUR_FILE, usecols=(2, 3, 4), dtype=np.uint8)


def colour_node(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    """The colour map as a node of ``scene``, made at the first call; a singleton, so loaded scenes do not double it."""
    node = scene.GetSingletonNode(COLOUR_NODE_TAG, "vtkMRMLColorTableNode")
    if node is not None:
        return node
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetName(COLOUR_NODE_NAME)
    node.SetSingletonTag(COLOUR_NODE_TAG)
    node.SetAttribute("Category", "MedSegAttention")
    colours = colour_map() / 255.0
    node.SetNumberOfColors(len(colours))
    for index, (red, green, blue) in enumerate(colours):
        node.SetColor(index, f"{index / (len(colours) - 1):.3f}", red, green, blue, 1.0)
    node.GetLookupTable().SetRange(0, len(colours) - 1)
    return scene.AddNode(node)
