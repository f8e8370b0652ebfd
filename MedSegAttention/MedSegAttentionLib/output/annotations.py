"""What a colleague needs to read a slice: outlines, names of their colours, left and right, a scale bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .lettering import draw_text, text_width

if TYPE_CHECKING:
    from PIL import Image

LENGTHS = (1, 2, 5, 10, 20, 50, 100, 200)
"""Lengths of a scale bar, mm."""
BAR_SHARE = 0.3
"""Of the width of the picture: the longest scale bar."""
EDGE, LETTER, NAME = 8, 15, 14
LIGHT, DARK = (255, 255, 255), (0, 0, 0)


def outlined(picture: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """The outlines of segments on a picture.

    Args:
        picture: ``[H, W, 3]`` uint8, without segments.
        filled: the same slice with opaque segments.

    Returns:
        ``picture`` with the pixels of each segment that lie beside another colour, two pixels deep.
    """
    inside = (picture != filled).any(-1)
    deep = inside.copy()
    for axis in (0, 1):
        for step in (-2, -1, 1, 2):
            same = (np.roll(filled, step, axis) == filled).all(-1) & np.roll(inside, step, axis)
            border = [slice(None), slice(None)]
            border[axis] = slice(None, step) if step < 0 else slice(step, None)
            whole = np.zeros_like(inside)
            whole[tuple(border)] = same[tuple(border)]
            deep &= whole
    return np.where((inside & ~deep)[..., None], filled, picture)


def annotated(
    picture: np.ndarray,
    sides: tuple[str, str, str, str],
    mm_per_pixel: float | None,
    names: Sequence[tuple[str, tuple[int, int, int]]] = (),
) -> np.ndarray:
    """A picture with letters at its sides, a scale bar and a legend.

    Args:
        picture: ``[H, W, 3]`` uint8.
        sides: what lies at the left, right, top and bottom: R, L, A, P, S or I each; empty for none.
        mm_per_pixel: None where the image has no real size; then there is no bar.
        names: (name, colour) of the segments that are seen, listed at the top.

    Returns:
        Likewise; small pictures get what fits.
    """
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    high, wide = picture.shape[:2]
    places = (
        *((EDGE, high / 2, "lm"), (wide - EDGE, high / 2, "rm")),
        *((wide / 2, EDGE, "ma"), (wide / 2, high - EDGE, "md")),
    )
    for text, (x, y, anchor) in zip(sides, places, strict=True):
        _write(draw, (x, y), text, LETTER, anchor)
    if mm_per_pixel:
        _draw_bar(draw, wide, high, mm_per_pixel)
    top = EDGE + LETTER + 4
    for name, colour in names:
        if top + NAME > high / 2 or text_width(draw, name, NAME) > wide - 3 * EDGE - NAME:
            break
        draw.rectangle((EDGE, top + 2, EDGE + NAME - 4, top + NAME - 2), fill=colour, outline=DARK)
        _write(draw, (EDGE + NAME + 2, top), name, NAME, "la")
        top += NAME + 5
    return np.asarray(image)


def _draw_bar(draw: Image.ImageDraw, wide: int, high: int, mm_per_pixel: float) -> None:
    fitting = [length for length in LENGTHS if length / mm_per_pixel <= BAR_SHARE * wide]
    if not fitting or high < 5 * LETTER:
        return
    right, y, pixels = wide - EDGE, high - EDGE, fitting[-1] / mm_per_pixel
    for width, colour in ((5, DARK), (3, LIGHT)):
        draw.line((right - pixels, y, right, y), fill=colour, width=width)
    text = f"{fitting[-1]} mm" if fitting[-1] < 10 else f"{fitting[-1] // 10} cm"
    _write(draw, (right, y - 6), text, NAME, "rd")


def _write(draw: Image.ImageDraw, place: tuple[float, float], text: str, size: int, anchor: str) -> None:
    """Light letters with a dark edge: read on bright and on dark places."""
    for x, y in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        draw_text(draw, (place[0] + x, place[1] + y), text, size, DARK, anchor)
    draw_text(draw, place, text, size, LIGHT, anchor)
