"""The colour map of the overlays: one perceptually uniform map for all, so that equal values look equal everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer

from .nodes import nodes_of_class

COLOUR_FILE = Path(__file__).parents[2] / "Resources" / "Colors" / "MedSegAttention-Viridis.ctbl"
COLOUR_NODE_NAME = "MedSegAttention Viridis"
COLOUR_NODE_TAG = "MedSegAttentionViridis"
OFFERED = (COLOUR_NODE_NAME, "Plasma", "Inferno", "Magma", "Grey", "InvertedGrey", "Iron", "Ocean")


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


def overlay_colours(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLColorNode]:
    """The colour maps offered for overlays: ours, and of Slicer's own in the scene those that brighten evenly.

    Rainbows are left out: their bands look like edges that the values do not have.
    """
    found: dict[str, slicer.vtkMRMLColorNode] = {}
    for node in nodes_of_class(scene, "vtkMRMLColorNode"):
        found.setdefault(node.GetName(), node)
    return [found[name] for name in OFFERED if name in found]
