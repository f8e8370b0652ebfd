"""Bringing a slice to the pixel size and canvas the network was trained on, and its outputs back.

Constant padding around a volume is left out, in CT the air around the body, too: what lies inside is fitted as if it
were not there.

A slice is resized so that its pixels measure about ``mm`` (``fit: spacing``) or so that it fills the canvas
(``fit: stretch``), then padded with zeros, or cropped, around its centre. Resizing keeps the outer edge of the slice in
place, so going there and back is exact in geometry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional as F

LARGEST_CANVAS = 4096
"""Pixels of a side that no slice of a body needs, and beyond which the memory of a computer ends."""
FEWEST_PIXELS = 8
"""Pixels of a side to which no slice of a body shrinks."""


@dataclass(frozen=True)
class SliceFit:
    """Where the content of a slice lies on the canvas.

    Attributes:
        source: (rows, columns) of the content.
        resized: (rows, columns) of the content after resizing.
        canvas: (rows, columns) of what the network sees.
        offset: (row, column) on the canvas where the resized content begins; negative where it is cropped.
        origin: (row, column) of the slice where the content begins.
    """

    source: tuple[int, int]
    resized: tuple[int, int]
    canvas: tuple[int, int]
    offset: tuple[int, int]
    origin: tuple[int, int] = (0, 0)

    @property
    def content(self) -> tuple[slice, slice]:
        """The rows and columns of a slice that hold its content."""
        return tuple(slice(first, first + count) for first, count in zip(self.origin, self.source, strict=True))

    def to_canvas(self, slices: Tensor, label: bool = False) -> Tensor:
        """Whole slices, ``[B, C, rows, columns]``, to ``[B, C, *canvas]``; labels keep their values."""
        slices = slices[(..., *self.content)]
        if label:
            resized = F.interpolate(slices.float(), self.resized, mode="nearest-exact").to(slices.dtype)
        elif self.resized == self.source:
            resized = slices
        else:
            resized = F.interpolate(slices, self.resized, mode="bilinear", align_corners=False, antialias=True)
        return F.pad(resized, self._padding())

    def from_canvas(self, canvas: Tensor) -> Tensor:
        """``[B, K, canvas rows, canvas columns]`` to ``[B, K, *source]``; what was cropped gets the nearest value."""
        left, right, top, bottom = (-pad for pad in self._padding())
        cut = F.pad(canvas, [min(0, pad) for pad in (left, right, top, bottom)])
        grow = [max(0, pad) for pad in (left, right, top, bottom)]
        if any(grow):
            cut = F.pad(cut, grow, mode="replicate")
        if self.resized == self.source:
            return cut
        return F.interpolate(cut, self.source, mode="bilinear", align_corners=False)

    def canvas_to_slice(self, grid: tuple[int, int]) -> np.ndarray:
        """Matrix from cells of a map that covers the canvas to pixels of the slice.

        Args:
            grid: (rows, columns) of the map; ``canvas`` itself for the canvas pixels.

        Returns:
            ``[3, 3]``; maps (column, row, 1) of the map to (column, row, 1) of the slice, cell centre to pixel centre.
        """
        matrix = np.eye(3)
        for axis, dimension in ((0, 1), (1, 0)):  # x is columns
            cell = self.canvas[dimension] / grid[dimension]
            pixel = self.source[dimension] / self.resized[dimension]
            matrix[axis, axis] = cell * pixel
            matrix[axis, 2] = (0.5 * cell - self.offset[dimension]) * pixel - 0.5 + self.origin[dimension]
        return matrix

    def _padding(self) -> list[int]:
        """(left, right, top, bottom) of ``torch.nn.functional.pad``; negative crops."""
        (rows, columns), (top, left) = self.resized, self.offset
        return [left, self.canvas[1] - left - columns, top, self.canvas[0] - top - rows]


def content_box(slices: np.ndarray, air: float | None = None) -> tuple[slice, slice, slice]:
    """What is left of ``[S, rows, columns, ...]`` when constant padding is taken off all six sides.

    A slice, row or column is padding when it is at the edge and has one value, or none above ``air``. Where one value
    is left, or air alone, all is content.

    Args:
        slices: in the volume's own unit.
        air: what nothing of a body is below, see :func:`~.intensity.air_of`.
    """

    def is_padding(part: np.ndarray) -> bool:
        return is_constant(part) or (air is not None and bool(part.max() <= air))

    box = []
    for axis in range(3):
        planes = np.moveaxis(slices, axis, 0)
        first, last = 0, len(planes) - 1
        while first < last and is_padding(planes[first]):
            first += 1
        while last > first and is_padding(planes[last]):
            last -= 1
        box.append(slice(first, last + 1))
    box = tuple(box)
    return tuple(slice(0, length) for length in slices.shape[:3]) if is_padding(slices[box]) else box


def is_constant(plane: np.ndarray) -> bool:
    """Whether an array of any shape has one value throughout."""
    first = plane[(0,) * plane.ndim]
    return bool((plane[0] == first).all() and (plane == first).all())  # mostly the first row tells


def plan_fit(
    source: tuple[int, int],
    spacing: tuple[float, float],
    how: dict,
    stride: int = 1,
    crop: bool = False,
    box: tuple[slice, slice, slice] | None = None,
) -> SliceFit:
    """Choose size and place of a slice on the canvas.

    Args:
        source: (rows, columns) of the slice.
        spacing: mm between (rows, columns).
        how: from the card: ``{"fit": "spacing", "mm": 0.75, "size": 256}`` or ``{"fit": "stretch", "size": 256}``.
        stride: a canvas that must be larger than ``size`` is rounded up to a multiple of this.
        crop: keep the canvas at ``size`` and crop a larger slice around its centre (training), instead of growing it.
        box: of the content, see :func:`content_box`; None takes the whole slice.

    Raises:
        ValueError: unknown ``fit``.
    """
    size = int(how["size"])
    origin = (0, 0)
    if box is not None:
        origin, source = zip(*((part.start, part.stop - part.start) for part in box[1:]), strict=True)
    if how["fit"] == "stretch":
        return SliceFit(source, (size, size), (size, size), (0, 0), origin)
    if how["fit"] != "spacing":
        raise ValueError(f"fit '{how['fit']}' is not known; expected spacing or stretch")
    resized = tuple(max(1, round(n * mm / how["mm"])) for n, mm in zip(source, spacing, strict=True))
    canvas = (size, size) if crop else tuple(max(size, -(-n // stride) * stride) for n in resized)
    offset = tuple((room - n) // 2 for room, n in zip(canvas, resized, strict=True))
    return SliceFit(source, resized, canvas, offset, origin)
