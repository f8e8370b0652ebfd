"""What can be done to an image: what should change no result, and what makes it nonsense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from MedSegAttentionLib.data.volume import VolumeImage

PADDING, FINER, AIR, MARGIN = 0.15, 1.25, 0.1, 4
"""Share of a side that is added at each end; pixels to a pixel; share of the intensities that is air, and pixels of it
that stay."""


@dataclass(frozen=True)
class Altered:
    """An altered image.

    Attributes:
        volume: the image.
        back: its labels ``[K, J, I]`` to those on the grid of the original.
    """

    volume: VolumeImage
    back: Callable[[np.ndarray], np.ndarray]


def _same(labels: np.ndarray) -> np.ndarray:
    return labels


def _moved(volume: VolumeImage, to_original: np.ndarray, array: np.ndarray) -> VolumeImage:
    """``array`` whose (i, j, k, 1) are ``to_original`` of those of ``volume``."""
    return replace(volume, array=np.ascontiguousarray(array), ijk_to_ras=volume.ijk_to_ras @ to_original)


def _shifted(columns: float, rows: float, step: float = 1.0) -> np.ndarray:
    matrix = np.diag([step, step, 1.0, 1.0])
    matrix[:2, 3] = columns, rows
    return matrix


def padded(volume: VolumeImage) -> Altered:
    """The darkest value around each slice."""
    rows, columns = (round(PADDING * n) for n in volume.array.shape[1:3])
    margins = ((0, 0), (rows, rows), (columns, columns), (0, 0))[: volume.array.ndim]
    array = np.pad(volume.array, margins, constant_values=volume.array.min())
    inside = np.s_[:, rows : rows + volume.array.shape[1], columns : columns + volume.array.shape[2]]
    return Altered(_moved(volume, _shifted(-columns, -rows), array), lambda labels: labels[inside])


def cropped(volume: VolumeImage) -> Altered | None:
    """Without the air around a body; None for pictures, which have none."""
    if not volume.has_scale:
        return None
    low, high = (float(value) for value in np.percentile(volume.array, (0.5, 99.5)))
    body = (volume.array > low + AIR * (high - low)).any(0)
    box = []
    for axis, size in enumerate(body.shape):
        filled = np.flatnonzero(body.any(1 - axis))
        box.append(slice(max(0, filled[0] - MARGIN), min(size, filled[-1] + 1 + MARGIN)))
    inside = (slice(None), *box)

    def back(labels: np.ndarray) -> np.ndarray:
        whole = np.zeros(volume.array.shape[:3], labels.dtype)
        whole[inside] = labels
        return whole

    return Altered(_moved(volume, _shifted(box[1].start, box[0].start), volume.array[inside]), back)


def rescaled(volume: VolumeImage) -> Altered | None:
    """MR in another unit, colours from 0 to 1; None for CT, whose numbers have a meaning."""
    if not volume.has_scale:
        return Altered(replace(volume, array=(volume.array / 255).astype(np.float32)), _same)
    if volume.array.min() < 0:
        return None
    return Altered(replace(volume, array=(volume.array * 3.7 + 11).astype(np.float32)), _same)


def resampled(volume: VolumeImage) -> Altered:
    """More pixels for the same slice."""
    before = volume.array.shape[1:3]
    factors = (1, *(round(FINER * n) / n for n in before), 1)[: volume.array.ndim]
    array = zoom(volume.array.astype(np.float32), factors, order=1, mode="nearest", grid_mode=True)
    step = 1 / factors[1], 1 / factors[2]
    matrix = np.diag([step[1], step[0], 1.0, 1.0])
    matrix[:2, 3] = [(value - 1) / 2 for value in (step[1], step[0])]
    rows, columns = (((np.arange(n) + 0.5) * f).astype(int) for n, f in zip(before, factors[1:3], strict=True))
    kept = array if volume.array.dtype.kind == "f" else np.rint(array).astype(volume.array.dtype)
    return Altered(_moved(volume, matrix, kept), lambda labels: labels[:, rows[:, None], columns])


def turned(volume: VolumeImage) -> Altered | None:
    """Rows, columns and slices stored from the other end; None for pictures, which are read as they are stored."""
    if not volume.has_scale:
        return None
    matrix = np.diag([-1.0, -1.0, -1.0, 1.0])
    matrix[:3, 3] = np.array(volume.size) - 1
    return Altered(_moved(volume, matrix, volume.array[::-1, ::-1, ::-1]), lambda labels: labels[::-1, ::-1, ::-1])


def in_bytes(volume: VolumeImage) -> Altered | None:
    """MR in 256 steps; None for pictures, which have them, and for CT."""
    if not volume.has_scale or volume.array.min() < 0:
        return None
    low, high = float(volume.array.min()), float(volume.array.max())
    return Altered(replace(volume, array=np.rint((volume.array - low) / (high - low) * 255).astype(np.uint8)), _same)


def in_words(volume: VolumeImage) -> Altered | None:
    """In 16 bits."""
    if not volume.has_scale:
        return Altered(replace(volume, array=volume.array.astype(np.uint16) * 257), _same)
    if volume.array.min() < 0:
        return Altered(replace(volume, array=np.rint(volume.array).astype(np.int16)), _same)
    factor = 60000 / float(volume.array.max())
    return Altered(replace(volume, array=np.rint(volume.array * factor).astype(np.uint16)), _same)


HARMLESS: dict[str, Callable[[VolumeImage], Altered | None]] = {
    "padded": padded,
    "air cropped": cropped,
    "intensity rescaled": rescaled,
    "another matrix": resampled,
    "stored from the other end": turned,
    "8 bits": in_bytes,
    "16 bits": in_words,
}
"""What should change no result; None where it cannot be done to such an image."""


def _shuffled(array: np.ndarray) -> np.ndarray:
    return array[np.random.default_rng(0).permutation(len(array))]


def _noise(array: np.ndarray) -> np.ndarray:
    values = np.random.default_rng(0).uniform(array.min(), array.max(), array.shape)
    return values.astype(array.dtype)


NONSENSE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda array: array,
    "left and right exchanged": lambda array: array[:, :, ::-1],
    "upside down": lambda array: array[:, ::-1],
    "inverted": lambda array: (array.max() - array + array.min()).astype(array.dtype),
    "slices shuffled": _shuffled,
    "noise": _noise,
}
"""What makes another image of the voxels ``[K, J, I]`` or ``[K, J, I, C]``, under the header that they had."""


def _blurred(array: np.ndarray) -> np.ndarray:
    return gaussian_filter(array, (0, 6, 6, 0)[: array.ndim])


def _middle(array: np.ndarray) -> np.ndarray:
    rows, columns = (slice(n // 3, n - n // 3) for n in array.shape[1:3])
    return array[:, rows, columns]


ALTERATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": NONSENSE["as it is"],
    "inverted": NONSENSE["inverted"],
    "upside-down": NONSENSE["upside down"],
    "blurred": _blurred,
    "middle": _middle,
    "noise": NONSENSE["noise"],
}
"""What ``familiarity --altered`` does to the voxels first; ``middle`` keeps the middle third of a side."""
