"""How well two segmentations agree, by MONAI's metrics: for the panel and the command line alike."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from ..data.comparison import (
    ONLY_FIRST,
    ONLY_SECOND,
    OTHER_CLASS,
    ClassAgreement,
    Comparison,
    NamedLabels,
    SliceAgreement,
)
from ..data.errors import InputError
from ..data.volume import VolumeImage

MARGIN = 1
"""Voxels kept around two masks; distances do not need them, a mask's outermost voxels are surface either way."""


def compare(first: NamedLabels, second: NamedLabels, axis: int | None = None) -> Comparison:
    """Compare two segmentations of one image.

    Classes are matched by name, whatever the case; where none matches and each has a single class, those two are.
    The second is brought to the grid of the first, each voxel the nearest one's label; where it reaches beyond that,
    the grid is widened, and slices are numbered on the wider one.

    Args:
        first: gives the grid.
        second: of the same patient.
        axis: 0, 1 or 2 for i, j or k: what slices are counted along; None for the one closest to head-feet.

    Raises:
        InputError: no class in common, or no place in common.
    """
    pairs = _matched(first, second)
    first, array = _on_one_grid(first, second)
    axis = _head_feet(first) if axis is None else axis
    both = [np.zeros_like(first.array), np.zeros_like(array)]
    for number, (_name, value_a, value_b) in enumerate(pairs, start=1):
        both[0][first.array == value_a] = number
        both[1][array == value_b] = number
    unit = first.has_scale and second.has_scale
    spacing = np.linalg.norm(first.ijk_to_ras[:3, :3], axis=0)[::-1] if unit else None
    voxel, size_unit = _voxel(first, unit)
    classes = [_class(name, both, number, spacing, voxel) for number, (name, _a, _b) in enumerate(pairs, start=1)]
    return Comparison(
        names=(first.name, second.name),
        classes=tuple(classes),
        slices=_slices(both, 2 - axis),
        axis=axis,
        slice_count=first.array.shape[2 - axis],
        only_a=tuple(name for name in first.values if name not in {pair[0] for pair in pairs}),
        only_b=tuple(name for name in second.values if second.values[name] not in {pair[2] for pair in pairs}),
        disagreement=_disagreement(*both),
        distance_unit="mm" if unit else "pixels",
        size_unit=size_unit,
    )


def joint_box(first: np.ndarray, second: np.ndarray) -> tuple[slice, ...]:
    """The box around two masks with a margin; one voxel where both are empty."""
    union = first | second
    if not union.any():
        return (slice(0, 1),) * union.ndim
    box = []
    for axis, length in enumerate(union.shape):
        places = np.flatnonzero(union.any(tuple(other for other in range(union.ndim) if other != axis)))
        box.append(slice(max(0, int(places[0]) - MARGIN), min(length, int(places[-1]) + 1 + MARGIN)))
    return tuple(box)


def dice_of(first: np.ndarray, second: np.ndarray) -> float:
    """Dice of two bool masks of one shape; 1 where both are empty."""
    from monai.metrics import compute_dice

    return compute_dice(*_tensors(first, second), ignore_empty=False).item()


def hausdorff95(first: np.ndarray, second: np.ndarray, spacing: Sequence[float] | None) -> float:
    """The larger of the two directed 95th percentiles of the distances between two surfaces.

    Args:
        first: bool mask of two or three axes, not empty.
        second: the same shape, not empty.
        spacing: mm along each axis; None counts in pixels.
    """
    from monai.metrics import compute_hausdorff_distance

    with _quiet():
        return compute_hausdorff_distance(
            *_tensors(first, second), include_background=True, percentile=95, spacing=spacing
        ).item()


def mean_distance(first: np.ndarray, second: np.ndarray, spacing: Sequence[float] | None) -> float:
    """Mean distance between two surfaces, both ways; arguments as of :func:`hausdorff95`."""
    from monai.metrics import compute_average_surface_distance

    with _quiet():
        return compute_average_surface_distance(
            *_tensors(first, second), include_background=True, symmetric=True, spacing=spacing
        ).item()


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # MONAI 1.6 passes an argument that it has deprecated itself.
        warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)
        yield


def _tensors(*masks: np.ndarray) -> list:
    import torch

    return [torch.from_numpy(mask.astype(np.uint8))[None, None] for mask in masks]


def _matched(first: NamedLabels, second: NamedLabels) -> list[tuple[str, int, int]]:
    """(name in the first, value there, value in the second) of the classes in both."""
    others = {name.casefold(): value for name, value in second.values.items()}
    pairs = [
        (name, value, others[name.casefold()]) for name, value in first.values.items() if name.casefold() in others
    ]
    if not pairs and len(first.values) == len(second.values) == 1:
        ((name, value),), (other,) = first.values.items(), second.values.values()
        pairs = [(name, value, other)]
    if not pairs:
        raise InputError(
            f"'{first.name}' ({', '.join(first.values) or 'nothing'}) and '{second.name}' "
            f"({', '.join(second.values) or 'nothing'}) have no class in common; expected one of the same name."
        )
    return pairs


def _on_one_grid(first: NamedLabels, second: NamedLabels) -> tuple[NamedLabels, np.ndarray]:
    """The first, wide enough for all that the second holds, and ``[K, J, I]`` of the second on its grid.

    Raises:
        InputError: the two have no place in common.
    """
    same = first.array.shape == second.array.shape
    if same and np.allclose(first.ijk_to_ras, second.ijk_to_ras, atol=1e-3):
        return first, second.array
    to_first = np.linalg.inv(first.ijk_to_ras) @ second.ijk_to_ras
    size = np.array(first.array.shape[::-1])
    low, high = _extent(np.array(second.array.shape[::-1])[:, None] * [0.0, 1.0] - 0.5, to_first)
    if (high < -0.5).any() or (low > size - 0.5).any():
        raise InputError(
            f"'{first.name}' and '{second.name}' have no place in common; expected segmentations of one image."
        )
    first = _widened(first, second, to_first)
    return first, _nearest(second, np.linalg.inv(second.ijk_to_ras) @ first.ijk_to_ras, first.array.shape)


def _extent(ends: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest indices of a box whose ``[3, 2]`` ends are given in another grid."""
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1)
    moved = matrix[:3, :3] @ corners + matrix[:3, 3:]
    return moved.min(1), moved.max(1)


def _widened(first: NamedLabels, second: NamedLabels, to_first: np.ndarray) -> NamedLabels:
    """The first with empty voxels around it, where the second has labels beyond its ends."""
    places = np.argwhere(second.array)[:, ::-1]
    if not len(places):
        return first
    low, high = _extent(np.stack([places.min(0) - 0.5, places.max(0) + 0.5], 1), to_first)
    size = np.array(first.array.shape[::-1])
    before = np.maximum(0, -np.ceil(low - 1e-3)).astype(int)
    after = np.maximum(0, np.floor(high + 1e-3) - (size - 1)).astype(int)
    matrix = first.ijk_to_ras.copy()
    matrix[:3, 3] -= matrix[:3, :3] @ before
    pads = list(zip(before[::-1], after[::-1], strict=True))
    return replace(first, array=np.pad(first.array, pads), ijk_to_ras=matrix)


def _nearest(second: NamedLabels, to_second: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """``[K, J, I]``: the label of the nearest voxel, 0 outside; a slice at a time, since coordinates need much more."""
    result = np.zeros(shape, np.uint8)
    rows, columns = np.meshgrid(*(np.arange(size) for size in shape[1:]), indexing="ij")
    count = np.array(second.array.shape[::-1])[:, None, None]
    for number in range(shape[0]):
        ijk = np.stack([columns, rows, np.full_like(rows, number), np.ones_like(rows)])
        index = np.rint(np.tensordot(to_second[:3], ijk, 1)).astype(int)
        inside = ((index >= 0) & (index < count)).all(0)
        i, j, k = index[:, inside]
        result[number][inside] = second.array[k, j, i]
    return result


def _head_feet(labels: NamedLabels) -> int:
    return VolumeImage(np.empty((1, 1, 1)), labels.ijk_to_ras).anatomical_axes.index(2)


def _voxel(labels: NamedLabels, has_scale: bool) -> tuple[float, str]:
    """(size of a voxel, its unit): mL of a volume, square mm of a single slice, else counts."""
    single = [axis for axis in range(3) if labels.array.shape[2 - axis] == 1]
    if not has_scale:
        return 1.0, "pixels" if single else "voxels"
    axes = labels.ijk_to_ras[:3, :3]
    if single:
        return float(np.linalg.norm(np.cross(*np.delete(axes, single[-1], 1).T))), "mm2"
    return abs(float(np.linalg.det(axes))) / 1000, "mL"


def _class(
    name: str, both: Sequence[np.ndarray], number: int, spacing: np.ndarray | None, voxel: float
) -> ClassAgreement:
    masks = [array == number for array in both]
    sizes = [int(np.count_nonzero(mask)) * voxel for mask in masks]
    box = joint_box(*masks)
    axes = [axis for axis, length in enumerate(masks[0].shape) if length > 1] or [0]  # a picture has an outline
    cropped = [mask[box].reshape([mask[box].shape[axis] for axis in axes]) for mask in masks]
    steps = None if spacing is None else [float(spacing[axis]) for axis in axes]
    distances = (None, None)
    if all(sizes):
        distances = hausdorff95(*cropped, steps), mean_distance(*cropped, steps)
    return ClassAgreement(name, dice_of(*cropped), *distances, *sizes)


def _slices(both: Sequence[np.ndarray], axis: int) -> tuple[SliceAgreement, ...]:
    """Slices that differ, most voxels first."""
    found = []
    for number, (a, b) in enumerate(zip(*(np.moveaxis(array, axis, 0) for array in both), strict=True)):
        differing = int(np.count_nonzero(a != b))
        if differing:
            agreeing, all_of_both = np.count_nonzero((a == b) & (a > 0)), np.count_nonzero(a) + np.count_nonzero(b)
            found.append(SliceAgreement(number, differing, 2 * int(agreeing) / int(all_of_both)))
    return tuple(sorted(found, key=lambda item: -item.differing))


def _disagreement(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    result = np.zeros_like(first)
    result[(first > 0) & (second == 0)] = ONLY_FIRST
    result[(first == 0) & (second > 0)] = ONLY_SECOND
    result[(first > 0) & (second > 0) & (first != second)] = OTHER_CLASS
    return result
