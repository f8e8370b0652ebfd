"""From per-slice attention maps to volumes with an exact place in the patient."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from ..data.card import AttentionMap
from ..data.result import AttentionVolume
from ..data.volume import VolumeImage
from .fitting import SliceFit
from .slicing import SlicePlan


def native_volume(what: AttentionMap, maps: np.ndarray, plan: SlicePlan, fit: SliceFit, first: int) -> AttentionVolume:
    """Stack maps on their own grid.

    Args:
        what: the map.
        maps: ``[slices, h, w]`` float32, covering the canvas.
        plan: how the volume was cut.
        fit: how its slices lie on the canvas.
        first: number of the first of these slices.

    Returns:
        ``[slices, h', w']``: the cells that touch the slice (not those of the padding alone), with their IJK-to-RAS.
    """
    rows, columns = (_cells_on_slice(fit, maps.shape[1:], dimension) for dimension in (0, 1))
    matrix = np.eye(4)
    in_plane = fit.canvas_to_slice(maps.shape[1:])
    shift = np.array([columns.start, rows.start])
    matrix[:2, :2] = in_plane[:2, :2]
    matrix[:2, 3] = in_plane[:2, :2] @ shift + in_plane[:2, 2]
    matrix[2, 3] = first
    return _right_handed(what, maps[:, rows, columns], plan.to_ras @ matrix)


def input_volume(
    what: AttentionMap, maps: np.ndarray, plan: SlicePlan, fit: SliceFit, first: int, volume: VolumeImage
) -> AttentionVolume:
    """Resample maps ``[slices, h, w]`` to the grid of ``volume``; padding and slices without a map are 0."""
    array = np.zeros(volume.array.shape[:3], np.float32)
    view = plan.view(array)
    for number, values in enumerate(maps, start=first):
        canvas = F.interpolate(torch.from_numpy(values)[None, None], fit.canvas, mode="bilinear", align_corners=False)
        view[number][fit.content] = fit.from_canvas(canvas)[0, 0].numpy()
    return AttentionVolume(what, array, volume.ijk_to_ras)


def _cells_on_slice(fit: SliceFit, grid: tuple[int, int], dimension: int) -> slice:
    """Cells along one dimension of ``grid`` that share area with the resized slice."""
    cell = fit.canvas[dimension] / grid[dimension]
    begin = max(0, fit.offset[dimension])
    end = min(fit.canvas[dimension], fit.offset[dimension] + fit.resized[dimension])
    return slice(int(begin // cell), int(-(-end // cell)))


def _right_handed(what: AttentionMap, array: np.ndarray, ijk_to_ras: np.ndarray) -> AttentionVolume:
    """Reverse the slice order where needed, so that the axes form a right-handed system as image files expect."""
    if np.linalg.det(ijk_to_ras[:3, :3]) < 0:
        reverse = np.eye(4)
        reverse[2, 2], reverse[2, 3] = -1, len(array) - 1
        array, ijk_to_ras = array[::-1], ijk_to_ras @ reverse
    return AttentionVolume(what, np.ascontiguousarray(array, np.float32), ijk_to_ras)
