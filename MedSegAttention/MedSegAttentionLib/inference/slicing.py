"""Cutting a volume into slices in the order the network expects, as views: nothing is copied or resampled here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.errors import InputError
from ..data.volume import AXIS_NAMES, VolumeImage

ANATOMICAL_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Slice orientation -> the RAS axis its slices are stacked along."""


@dataclass(frozen=True)
class SlicePlan:
    """How the index axes of a volume become (slice, row, column).

    Attributes:
        axes: index axes (0 = i, 1 = j, 2 = k) that become (slice, row, column).
        flipped: whether each of those three runs backwards.
        shape: number of (slices, rows, columns).
        spacing: mm between (slices, rows, columns).
        to_ras: ``[4, 4]``; maps (column, row, slice, 1) of the plan to RAS mm.
        warning: why the chosen axis may be the wrong one, or None.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    to_ras: np.ndarray
    warning: str | None = None

    def view(self, array: np.ndarray) -> np.ndarray:
        """``[K, J, I, ...] -> [slices, rows, columns, ...]`` without a copy: writing into it writes into ``array``."""
        kji = [2 - axis for axis in self.axes]
        view = array.transpose(*kji, *range(3, array.ndim))
        return view[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]


def plan_slices(volume: VolumeImage, orientation: str = "axial", axis: str = "auto") -> SlicePlan:
    """Choose the slice axis of ``volume`` and the reading direction of its slices.

    Args:
        volume: any orientation, oblique or not.
        orientation: ``"axial"``, ``"coronal"`` or ``"sagittal"``: what the checkpoint's card asks for.
        axis: ``"auto"`` takes the index axis closest to that orientation (a singleton axis always wins);
            ``"i"``, ``"j"`` or ``"k"`` takes that one.

    Returns:
        A plan with columns running R to L and rows A to P (or, where a slice shows another plane, towards L, P or I);
        those of a photograph, or of another picture without a scale, run as they are stored.

    Raises:
        InputError: unknown ``axis``.
    """
    if axis != "auto" and axis not in tuple(AXIS_NAMES):
        raise InputError(f"axis '{axis}' is not known; expected auto, i, j or k.")
    directions = volume.ijk_to_ras[:3, :3] / np.asarray(volume.spacing)
    anatomical = volume.anatomical_axes
    wanted = anatomical.index(ANATOMICAL_AXES[orientation])
    singletons = [index for index in range(3) if volume.size[index] == 1]
    if axis != "auto":
        slice_axis = AXIS_NAMES.index(axis)
    elif singletons:
        slice_axis = wanted if wanted in singletons else singletons[-1]
    else:
        slice_axis = wanted
    column, row = sorted((index for index in range(3) if index != slice_axis), key=lambda index: anatomical[index])
    # Towards L, P and I is against R, A and S; the order of the slices themselves stays that of the file.
    flips = tuple(bool(directions[anatomical[index], index] > 0) for index in (row, column))
    if slice_axis == 2 and (volume.channels > 1 or not volume.has_scale):
        # A picture is read upright as it is; where it lies may be turned, as a camera that was held sideways says.
        column, row, flips = 0, 1, (False, False)
    if axis == "auto":
        warning = _acquisition_warning(volume, slice_axis, orientation)
    else:
        warning = _asked_warning(volume, slice_axis, wanted, orientation)
    return _build(volume, (slice_axis, row, column), (False, *flips), warning)


def with_adjacent(numbers: np.ndarray, plan: SlicePlan, mm: float, within: slice) -> list[np.ndarray]:
    """Numbers of the slices below (caudal of, or left or posterior of) ``numbers``, ``numbers``, and of those above.

    Args:
        numbers: of slices.
        plan: which the numbers are of; it says what is below.
        mm: how far away those are; at least the next slice is taken.
        within: slices that hold something: at its ends the last one stands for the next, outside each for its own.
    """
    direction = plan.to_ras[:3, 2]
    up = np.sign(direction[np.argmax(np.abs(direction))])
    step = int(up) * max(1, round(mm / plan.spacing[0]))
    is_inside = (numbers >= within.start) & (numbers < within.stop)
    below, above = (np.clip(numbers + offset, within.start, within.stop - 1) for offset in (-step, step))
    return [np.where(is_inside, below, numbers), numbers, np.where(is_inside, above, numbers)]


def _build(
    volume: VolumeImage, axes: tuple[int, int, int], flipped: tuple[bool, bool, bool], warning: str | None
) -> SlicePlan:
    size, spacing = volume.size, volume.spacing
    index_to_ijk = np.zeros((4, 4))
    index_to_ijk[3, 3] = 1
    for position, axis, flip in zip((2, 1, 0), axes, flipped, strict=True):  # columns of the matrix: column, row, slice
        index_to_ijk[axis, position] = -1 if flip else 1
        index_to_ijk[axis, 3] = size[axis] - 1 if flip else 0
    return SlicePlan(
        axes=axes,
        flipped=flipped,
        shape=tuple(size[axis] for axis in axes),
        spacing=tuple(spacing[axis] for axis in axes),
        to_ras=volume.ijk_to_ras @ index_to_ijk,
        warning=warning,
    )


def _acquired_along(volume: VolumeImage) -> int | None:
    """The axis that the volume was plainly acquired along: spacing largest there and at least twice; else None."""
    coarse = int(np.argmax(volume.spacing))
    others = [volume.spacing[index] for index in range(3) if index != coarse]
    return coarse if volume.spacing[coarse] >= 2 * max(others) else None


def _asked_warning(volume: VolumeImage, slice_axis: int, wanted: int, orientation: str) -> str | None:
    """A sentence when the user asked for slices that the network does not know.

    Also where the image was acquired along them: fine pixels of a plane that it never saw help a network less than
    coarse ones of a plane that it knows.
    """
    if slice_axis == wanted or volume.size[slice_axis] == 1:
        return None
    return (
        f"'{volume.name}' is cut along axis {AXIS_NAMES[slice_axis]} as asked, but the network was trained on "
        f"{orientation} slices, along axis {AXIS_NAMES[wanted]}; it may find little. Use axis 'auto' for those."
    )


def _acquisition_warning(volume: VolumeImage, slice_axis: int, orientation: str) -> str | None:
    """A sentence when the volume was plainly acquired along another axis."""
    coarse = _acquired_along(volume)
    if coarse in (None, slice_axis) or volume.size[slice_axis] == 1:
        return None
    return (
        f"'{volume.name}' was acquired along axis {AXIS_NAMES[coarse]} ({volume.spacing[coarse]:.2f} mm between "
        f"slices), so the {orientation} slices that the network was trained on are coarse here, and the result is less "
        f"exact. Use a series that was acquired in {orientation} slices, if there is one; axis 'auto' is right for "
        "this one."
    )
