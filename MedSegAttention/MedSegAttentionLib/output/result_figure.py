"""The slice of a result that shows most: image, segments and attention side by side."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import slicer

from ..data.volume import AXIS_NAMES
from ..scene.colours import colour_map
from ..scene.volumes import volume_image
from .annotations import annotated, outlined
from .pictures import ColourBar, mm_per_pixel, sides_of, slice_picture

Panels = list[tuple[str, np.ndarray]]
"""(title, ``[H, W, 3]`` uint8) each."""


def result_panels(
    scene: slicer.vtkMRMLScene,
    volume_node: slicer.vtkMRMLVolumeNode,
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    overlay_node: slicer.vtkMRMLScalarVolumeNode | None,
    labels: np.ndarray,
    provenance: dict[str, Any],
    height: int = 512,
) -> tuple[Panels, ColourBar | None]:
    """What :func:`~.pictures.draw_figure` takes: the image, its segments' outlines, and one map where there is one.

    Args:
        scene: of the nodes; left as it was.
        volume_node: the image.
        segmentation_node: its segments.
        overlay_node: an attention map of it, or None.
        labels: ``[K, J, I]`` on the grid of the image; chooses the slice.
        provenance: of the run.
        height: of each panel, pixels.
    """
    axis = AXIS_NAMES.index(provenance.get("slice_axis", "k"))
    index = best_slice(labels, axis)
    window = provenance.get("display_window")
    draw = partial(slice_picture, scene, volume_node, index, axis=axis, window=window and tuple(window), height=height)
    plain, filled = draw(), draw(segmentation_node=segmentation_node, segment_opacity=1.0)
    image, inside = volume_image(volume_node), filled[(plain != filled).any(-1)].astype(int)
    real = provenance.get("has_scale", True) and window is not None
    sides = sides_of(image, axis) if real else ("", "", "", "")
    mark = partial(annotated, sides=sides, mm_per_pixel=mm_per_pixel(image, axis, plain) if real else None)
    names = [entry for entry in _names(segmentation_node) if (abs(inside - entry[1]).max(-1, initial=0) <= 1).any()]
    panels = [
        (f"slice {index + 1} of {labels.shape[2 - axis]}", mark(plain)),
        ("segments", mark(outlined(plain, filled), names=names)),
    ]
    if overlay_node is None:
        return panels, None
    display = overlay_node.GetDisplayNode()
    title = " ".join(slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(overlay_node).GetTitleText().split())
    panels.append((title, mark(draw(overlay_node=overlay_node))))
    return panels, (colour_map(), display.GetWindowLevelMin(), display.GetWindowLevelMax(), title)


def _names(node: slicer.vtkMRMLSegmentationNode) -> list[tuple[str, tuple[int, int, int]]]:
    """(name, colour) of each segment, in their order."""
    segmentation = node.GetSegmentation()
    segments = [segmentation.GetNthSegment(place) for place in range(segmentation.GetNumberOfSegments())]
    return [(one.GetName(), tuple(round(255 * part) for part in one.GetColor())) for one in segments]


def best_slice(labels: np.ndarray, axis: int) -> int:
    """Number of the slice with most of the largest class; the middle one where nothing was found.

    Args:
        labels: ``[K, J, I]``.
        axis: index axis (0 = i, 1 = j, 2 = k) the slices are stacked along.
    """
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    if not len(values):
        return labels.shape[2 - axis] // 2
    largest = labels == values[counts.argmax()]
    return int(largest.sum(axis=tuple({0, 1, 2} - {2 - axis})).argmax())
