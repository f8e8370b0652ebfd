"""Text on pictures, in whatever script a name has: by Pillow's own font, else by one of this computer that knows it."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

FONTS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "segoeui.ttf", "arial.ttf"),
    *("Arial Unicode.ttf", "NotoSansArabic-Regular.ttf", "GeezaPro.ttc", "NotoSansHebrew-Regular.ttf"),
    *("NotoSansCJK-Regular.ttc", "NotoSansSC-Regular.otf", "wqy-microhei.ttc", "DroidSansFallbackFull.ttf"),
    *("msyh.ttc", "msgothic.ttc", "malgun.ttf", "simsun.ttc", "Nirmala.ttf"),
    *("PingFang.ttc", "Hiragino Sans GB.ttc", "STHeiti Light.ttc", "AppleSDGothicNeo.ttc"),
)
"""Files of fonts as Linux, Windows and macOS have them, in the order in which they are asked."""
NOWHERE = "\U0010ffff"
"""A character that no font has."""
RIGHT_TO_LEFT = ("R", "AL")


def draw_text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int,
    fill: str | tuple[int, ...] = "black",
    anchor: str = "la",
) -> None:
    """Write one line; what breaks a line in ``text`` becomes a space.

    Args:
        draw: on what.
        place: of the first letter, where ``anchor`` says.
        text: in any script; letters that no font has are written as their numbers, ``U+4E2D``.
        size: of the letters, pixels.
        fill: colour.
        anchor: Pillow's, beginning with ``l``.
    """
    left, top = place
    runs = _runs(text, size)
    plain = all(font is _own_font(size) for _, font in runs)
    if not plain and anchor == "la":  # fonts differ in height, so all stand on one line
        anchor, top = "ls", top + _own_font(size).getmetrics()[0]
    for part, font in runs:
        draw.text((left, top), part, fill=fill, font=font, anchor=anchor)
        left += draw.textlength(part, font=font)


def text_width(draw: ImageDraw.ImageDraw, text: str, size: int) -> float:
    """Pixels that :func:`draw_text` needs."""
    return sum(draw.textlength(part, font=font) for part, font in _runs(text, size))


def _runs(text: str, size: int) -> list[tuple[str, ImageFont.FreeTypeFont]]:
    """Parts of one line, each with a font that has all its letters: one part where one font has all."""
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    names = [None, *_files()] if not text.isascii() else [None]
    whole = next((name for name in names if all(_has(name, letter) for letter in text)), "")
    if whole != "":
        return [(_ordered(text), _font(whole, size))]
    written = [
        (letter, name) if (name := next((n for n in names if _has(n, letter)), "")) != "" else (_number(letter), None)
        for letter in text
    ]
    parts = groupby(written, key=lambda pair: pair[1])
    return [(_ordered("".join(letter for letter, _ in pairs)), _font(name, size)) for name, pairs in parts]


def _number(letter: str) -> str:
    return f"[U+{ord(letter):04X}]"


def _ordered(text: str) -> str:
    """Letters as they are drawn one after another, where Pillow cannot bring those from right to left in order."""
    from PIL import features

    if text.isascii() or features.check("raqm"):
        return text
    words = groupby(text, key=lambda letter: unicodedata.bidirectional(letter) in RIGHT_TO_LEFT)
    return "".join("".join(reversed(list(letters))) if reverse else "".join(letters) for reverse, letters in words)


@lru_cache(maxsize=1)
def _files() -> tuple[str, ...]:
    """The fonts of :data:`FONTS` that are here; the one that matplotlib brings first, where it is installed."""
    from PIL import ImageFont

    matplotlib = find_spec("matplotlib")
    beside = Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf" / FONTS[0] if matplotlib else None
    names = [*([str(beside)] if beside and beside.is_file() else []), *FONTS]
    found = []
    for name in names:
        try:
            found.append(ImageFont.truetype(name, 12).path)
        except OSError:
            continue
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=256)
def _font(name: str | None, size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return _own_font(size) if name is None else ImageFont.truetype(name, size)


@lru_cache(maxsize=64)
def _own_font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, ``size`` pixels high."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


@lru_cache(maxsize=4096)
def _has(name: str | None, letter: str) -> bool:
    """Whether a font has a letter: not what it draws for those that it has not."""
    if letter.isspace() or (name is None and letter.isascii()):
        return True
    font = _font(name, 24)
    return bytes(font.getmask(letter)) != bytes(font.getmask(NOWHERE))
