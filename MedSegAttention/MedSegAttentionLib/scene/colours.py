"""Colours: of segments, so that they can be told apart, and of overlays, so that equal values look equal everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import slicer

from ..data.labels import Label
from .colour_difference import differences
from .nodes import nodes_of_class

Colour = tuple[int, int, int]
LEAST_DIFFERENCE = 20.0
"""CIEDE2000 between any two segments of a task, in usual vision, protanopia and deuteranopia."""
ORGANS: dict[tuple[str, str], Colour] = {
    ("10200004", ""): (140, 66, 94),
    ("78961009", ""): (146, 74, 199),
    ("64033007", "24028007"): (240, 103, 19),
    ("64033007", "7771000"): (195, 253, 212),
    ("28231008", ""): (80, 169, 138),
    ("69695003", ""): (247, 164, 226),
    ("15825003", ""): (174, 42, 29),
    ("15776009", ""): (254, 242, 37),
}
"""SNOMED CT codes of (type, modifier) -> colour: searched for near those of the organs, every pair far apart."""

COLOUR_FILE = Path(__file__).parents[2] / "Resources" / "Colors" / "MedSegAttention-Viridis.ctbl"
COLOUR_NODE_NAME = "MedSegAttention Viridis"
COLOUR_NODE_TAG = "MedSegAttentionViridis"
OFFERED = (COLOUR_NODE_NAME, "Plasma", "Inferno", "Magma", "Grey", "InvertedGrey", "Iron", "Ocean")


def segment_colours(classes: Sequence[Label]) -> dict[str, Colour]:
    """A colour for each class of a task, by name.

    A task keeps its own colours where any two of them can be told apart, also by the colour blind. Else known organs
    get those of :data:`ORGANS`, and each other class its own colour, or the most different one where that is too like
    another.
    """
    return dict(_segment_colours(tuple((label.name, label.colour, _organ(label)) for label in classes)))


def _organ(label: Label) -> Colour | None:
    modifier = label.type_modifier.value if label.type_modifier else ""
    return ORGANS.get((label.type.value, modifier)) if label.type.scheme == "SCT" else None


@lru_cache(maxsize=32)
def _segment_colours(classes: tuple[tuple[str, Colour, Colour | None], ...]) -> tuple[tuple[str, Colour], ...]:
    own = {name: tuple(colour) for name, colour, _known in classes}
    if _can_be_told_apart(list(own.values())):
        return tuple(own.items())
    chosen = {name: known for name, _own, known in classes if known}
    for name, colour in own.items():
        if name not in chosen:
            others = list(chosen.values())
            chosen[name] = colour if _can_be_told_apart([*others, colour]) else _most_different(others)
    return tuple((name, chosen[name]) for name in own)


def _can_be_told_apart(colours: list[Colour]) -> bool:
    pairs = np.triu_indices(len(colours), 1)
    return len(colours) < 2 or bool((differences(np.array(colours))[pairs] >= LEAST_DIFFERENCE).all())


def _most_different(others: list[Colour]) -> Colour:
    """Of a grid of colours, none nearly black, that which is farthest from all others."""
    grid = np.array([colour for colour in product(range(0, 256, 51), repeat=3) if sum(colour) > 200])
    distances = differences(np.concatenate([others, grid]))[: len(others), len(others) :]
    return tuple(int(value) for value in grid[distances.min(0).argmax()])


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
