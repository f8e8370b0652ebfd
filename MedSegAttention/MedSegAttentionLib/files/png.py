"""What the chunks of a PNG say that Pillow does not: bits of a channel, and whether its rows are there and right."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .gzipped import zlib

END, TAIL = b"IEND\xaeB`\x82", 1 << 16
"""What closes a PNG, and within how many of its last bytes it must be: other things may follow."""
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type -> values of a pixel."""
PASSES = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
"""First row, step of rows, first column, step of columns of each part of an interlaced picture (Adam7)."""


def is_deep_colour(content: bytes) -> bool:
    """Whether channels of colour have 16 bits, of which Pillow keeps 8."""
    _, _, bits, kind, _ = _header(content)
    return bits == 16 and CHANNELS.get(kind, 1) > 2


def what_lacks(content: bytes) -> str:
    """What a PNG lacks that Pillow has read; empty where it is whole."""
    if END not in content[-TAIL:]:
        return "its end is missing"
    unpacking, there = zlib.decompressobj(), 0
    for name, data, checksum in _chunks(content):
        if name == b"IDAT":
            if zlib.crc32(data, zlib.crc32(name)) != checksum:
                return "the checksum of its data is another"
            there += len(unpacking.decompress(data))
    promised, row = _promised(content)
    if there < promised:
        return "its data end before the picture does"
    return "it has more rows than its header says" if there >= promised + row else ""


def _header(content: bytes) -> tuple[int, int, int, int, int]:
    """Columns, rows, bits, colour type, whether it is interlaced."""
    columns, rows, bits, kind, interlaced = struct.unpack(">IIBBxxB", content[16:29])
    return columns, rows, bits, kind, interlaced


def _chunks(content: bytes) -> Iterator[tuple[bytes, memoryview, int]]:
    """Name, data and checksum of each."""
    view, place = memoryview(content), 8
    while place + 12 <= len(content):
        length = int.from_bytes(view[place : place + 4], "big")
        end = place + 8 + length
        yield bytes(view[place + 4 : place + 8]), view[place + 8 : end], int.from_bytes(view[end : end + 4], "big")
        place = end + 4


def _promised(content: bytes) -> tuple[int, int]:
    """Bytes of all rows, each with one that says how it was filtered; and of the longest one."""
    columns, rows, bits, kind, interlaced = _header(content)
    total, longest = 0, 0
    for first_row, every_row, first_column, every_column in PASSES if interlaced else ((0, 1, 0, 1),):
        lines = max(0, -(-(rows - first_row) // every_row))
        values = max(0, -(-(columns - first_column) // every_column)) * CHANNELS.get(kind, 1)
        row = 1 + -(-values * bits // 8) if values else 0
        total, longest = total + lines * row, max(longest, row)
    return total, longest
