"""How an overlay looks: colours, window, threshold, legend. It is all in MRML display nodes, saved with the scene.

A map is never stretched to one image unless the user asks for it: its colours span the range the map can take.
"""

from __future__ import annotations

import textwrap

import numpy as np
import slicer

from ..data.card import PROBABILITY, UNCERTAINTY
from ..data.errors import InputError
from .arrays import image_array
from .colours import colour_node
from .nodes import MAP_ATTRIBUTE, nodes_of_class

RANGE_ATTRIBUTE = "MedSegAttention.Range"
PERCENTILES_ATTRIBUTE = "MedSegAttention.WindowPercentiles"
LEGEND_SIZE, LEGEND_FONT = (0.08, 0.35), 12
"""Width and height, shares of a view, and points: a legend beside the image, not over half of it."""
FAINTEST = 0.1
"""Of the range of an uncertainty or a probability: below it there is nothing to see but the image itself."""
LEGEND_LETTERS = 14
"""In a line of its title, which would else lie across the image."""
NARROWEST_WINDOW = 1e-3
"""Of the range of the map: a window of no width would have no colours."""


def set_default_display(node: slicer.vtkMRMLScalarVolumeNode, title: str) -> None:
    """Colour an overlay over the range of its map and give it a legend.

    Args:
        node: overlay with a display node, which says already what it is.
        title: of the legend.
    """
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(colour_node(node.GetScene()).GetID())
    set_fixed_window(node)
    set_threshold(node, first_shown(node))
    display.SetInterpolate(True)
    _add_legend(node, title)


def _add_legend(node: slicer.vtkMRMLScalarVolumeNode, title: str) -> None:
    display = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(node)
    display.SetTitleText(textwrap.fill(title, LEGEND_LETTERS))
    low, high = map_range(node)
    display.SetLabelFormat("%.2f" if high - low >= 1 else "%.3f")  # Slicer's one decimal hides most of [0, 1]
    display.SetSize(*LEGEND_SIZE)
    for text in (display.GetTitleTextProperty(), display.GetLabelTextProperty()):
        text.SetFontSize(LEGEND_FONT)


def map_range(node: slicer.vtkMRMLVolumeNode) -> tuple[float, float]:
    """Values the map can take: what its colours span unless the user asks for another window."""
    numbers = _numbers(node.GetAttribute(RANGE_ATTRIBUTE))
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0.0, 1.0)


def first_shown(node: slicer.vtkMRMLVolumeNode) -> float:
    """From which value on a map is drawn unless the user asks for more or less; of most maps all are."""
    low, high = map_range(node)
    name = node.GetAttribute(MAP_ATTRIBUTE) or ""
    nothing_at_its_low_end = name == UNCERTAINTY.name or name.startswith(PROBABILITY)
    return low + FAINTEST * (high - low) if nothing_at_its_low_end else low


def largest_value(node: slicer.vtkMRMLVolumeNode) -> float:
    """The largest value of the map, or the upper end of its range where that is larger, or the map is empty."""
    image = node.GetImageData()  # None while a sequence stands at a frame without a result
    return max(map_range(node)[1], float(image.GetScalarRange()[1]) if image else 0.0)


def set_colours(node: slicer.vtkMRMLVolumeNode, colours: slicer.vtkMRMLColorNode) -> None:
    """Colour the overlay with another table; the window stays."""
    node.GetDisplayNode().SetAndObserveColorNodeID(colours.GetID())


def set_threshold(node: slicer.vtkMRMLVolumeNode, lowest: float) -> None:
    """Make values below ``lowest`` transparent."""
    display = node.GetDisplayNode()
    display.SetAutoThreshold(False)
    display.SetThreshold(lowest, max(lowest, largest_value(node)))
    display.SetApplyThreshold(True)


def window(node: slicer.vtkMRMLVolumeNode) -> tuple[float, float]:
    """Values shown with the first and the last colour."""
    display = node.GetDisplayNode()
    return display.GetWindowLevelMin(), display.GetWindowLevelMax()


def set_fixed_window(node: slicer.vtkMRMLVolumeNode) -> None:
    """Let the colours span the range of the map, the same for every image."""
    _set_window(node, *map_range(node), None)


def is_window_fixed(node: slicer.vtkMRMLVolumeNode) -> bool:
    """Whether the colours span the range of the map, so that they can be compared between images."""
    return bool(np.allclose(window(node), map_range(node)))


def set_percentile_window(node: slicer.vtkMRMLVolumeNode, low: float, high: float) -> None:
    """Let the colours span percentiles of this map's own values: more contrast, no comparison between images.

    Args:
        node: overlay.
        low: percentile of the first colour, 0 to 100.
        high: percentile of the last colour, not below ``low``.

    Raises:
        InputError: no percentiles, or in the wrong order.
    """
    if not 0 <= low <= high <= 100:
        raise InputError(f"percentiles {low:g} and {high:g} make no window; expected 0 <= first <= second <= 100.")
    first, last = (float(value) for value in np.percentile(image_array(node.GetImageData()), (low, high)))
    narrowest = NARROWEST_WINDOW * (map_range(node)[1] - map_range(node)[0])
    _set_window(node, first, max(last, first + narrowest), (low, high))


def window_percentiles(node: slicer.vtkMRMLVolumeNode) -> tuple[float, float] | None:
    """The percentiles the window was last set to, or None when it has been set otherwise since."""
    numbers = _numbers(node.GetDisplayNode().GetAttribute(PERCENTILES_ATTRIBUTE))
    if len(numbers) != 4 or not np.allclose(numbers[2:], window(node)):
        return None
    return numbers[0], numbers[1]


def legend(node: slicer.vtkMRMLVolumeNode) -> slicer.vtkMRMLColorLegendDisplayNode | None:
    """The colour legend of an overlay, or None where the user removed it."""
    return slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)


def show_legend(node: slicer.vtkMRMLVolumeNode, shown: bool) -> None:
    """Show or hide the colour legend of an overlay; one the user removed is made again."""
    if shown and legend(node) is None:
        _add_legend(node, node.GetName())
    if legend(node) is not None:
        legend(node).SetVisibility(shown)
        refresh_legends(node.GetScene())


def refresh_legends(scene: slicer.vtkMRMLScene) -> None:
    """Have every slice view look again which legend it has to show.

    A view draws legends anew when one of them changes, and not when another volume is shown in it.
    """
    for node in nodes_of_class(scene, "vtkMRMLColorLegendDisplayNode"):
        node.Modified()


def _set_window(
    node: slicer.vtkMRMLVolumeNode, low: float, high: float, percentiles: tuple[float, float] | None
) -> None:
    display = node.GetDisplayNode()
    was_modifying = display.StartModify()
    display.SetAutoWindowLevel(False)  # a window fitted to one image would make maps of two patients incomparable
    display.SetWindowLevelMinMax(low, high)
    display.SetAttribute(PERCENTILES_ATTRIBUTE, text_of(*percentiles, *window(node)) if percentiles else None)
    display.EndModify(was_modifying)


def text_of(*numbers: float) -> str:
    """Numbers as an attribute keeps them, exactly."""
    return " ".join(repr(float(number)) for number in numbers)


def _numbers(text: str | None) -> tuple[float, ...]:
    """What :func:`text_of` wrote; empty where nothing was, or where it was edited and holds no numbers."""
    try:
        return tuple(float(word) for word in (text or "").split())
    except ValueError:
        return ()
