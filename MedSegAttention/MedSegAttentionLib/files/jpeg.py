"""Whether a JPEG is whole: one that was cut and closed again by an end marker is read without a word by decoders.

libjpeg fills what lacks with grey and only warns, on stderr, where nobody can take it. But it shows whether something
lacked: bytes put behind the data of each scan are never looked at in a whole picture, and become pixels in a cut one.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass

import numpy as np

END_OF_DATA = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
"""The next marker after the data of a scan: neither an escaped FF nor a restart."""
START, END, SCAN = 0xD8, 0xD9, 0xDA
FRAMES = tuple(marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC))
HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)
"""Baseline, extended and progressive; arithmetic coding may leave out what is zero at its end."""
LOSSLESS = 0xC3
WITHOUT_LENGTH = (0x01, START, *range(0xD0, 0xD8))
ALL_COEFFICIENTS = frozenset(range(64))
MORE = np.random.default_rng(0).integers(0, 255, 4096, np.uint8).tobytes()
"""Data that decode to something else than grey; without FF, which would be a marker."""


@dataclass
class _Found:
    """What the markers of a JPEG say."""

    components: tuple[int, ...]
    ends: list[int]
    exact: dict[int, set[int]]


def what_lacks(content: bytes, pixels: np.ndarray | None = None) -> str:
    """What a JPEG with an end marker lacks; empty where it is whole, or where that cannot be told.

    Args:
        content: the file, or the frame of a DICOM object.
        pixels: what Pillow makes of it, where that is known already.
    """
    found = _markers(content)
    if found is None:
        return ""
    if any(found.exact.get(component, set()) != ALL_COEFFICIENTS for component in found.components):
        return "some of its scans are missing"
    same = np.array_equal(_decoded(content) if pixels is None else pixels, _decoded(_longer(content, found.ends)))
    return "" if same else "its data end before the picture does"


def longer(content: bytes) -> bytes | None:
    """The same JPEG with more data behind those of each scan: of a whole one decoders make the same picture.

    None for another kind of JPEG, or one whose markers make no sense.
    """
    found = _markers(content)
    return _longer(content, found.ends) if found else None


def _longer(content: bytes, ends: list[int]) -> bytes:
    begins = [0, *ends[:-1]]
    parts = [content[begin:end] + MORE for begin, end in zip(begins, ends, strict=True)]
    return b"".join([*parts, content[ends[-1] :]])


def _decoded(content: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)


def _markers(content: bytes) -> _Found | None:
    """The scans up to the end marker; None for another kind of JPEG, or one whose markers make no sense."""
    found, place = _Found((), [], {}), content.find(b"\xff", 2)
    while 0 < place < len(content) - 1 and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == END:
            return found if found.components and found.ends else None
        if marker == 0xFF or marker in WITHOUT_LENGTH:
            place += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        body = content[place + 4 : place + 2 + length]
        if marker in FRAMES:
            if marker not in (*HUFFMAN_FRAMES, LOSSLESS) or len(body) < 6:
                return None
            found.components = tuple(body[6::3])
        place += 2 + length
        if marker == SCAN:
            if len(body) < 4 or len(body) != 4 + 2 * body[0]:
                return None
            _note_scan(found, body)
            end = END_OF_DATA.search(content, place)
            if end is None:
                return None
            place = end.start()
            found.ends.append(place)
    return None


def _note_scan(found: _Found, body: bytes) -> None:
    """Which coefficients of which components a scan brings to their last bit."""
    count = body[0]
    first, last, bits = struct.unpack("3B", body[1 + 2 * count : 4 + 2 * count])
    if bits & 0x0F == 0:
        for component in body[1 : 1 + 2 * count : 2]:
            found.exact.setdefault(component, set()).update(range(first, last + 1))
