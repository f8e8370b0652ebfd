"""Compressed voxels: unpacked, with their checksum, their length and what follows their end compared."""

from __future__ import annotations

from pathlib import Path

from .faults import damaged

try:  # reads compressed files in half the time
    from isal import igzip as gzip
    from isal import isal_zlib as zlib
except ImportError:
    import gzip
    import zlib

GZIP = b"\x1f\x8b"
ANY_FRAME, GZIP_FRAME = 47, 31
"""What zlib is told: to take what is framed by zlib or gzip, or by gzip alone."""


def ungzipped(path: Path, content: bytes | memoryview) -> bytes:
    """What the members of a gzip stream hold together; zeros behind them are padding.

    Args:
        path: the file, for the error.
        content: the stream.

    Raises:
        InputError: it is cut short, its length or its CRC is another, or more bytes follow.
    """
    try:
        return gzip.decompress(content)  # also compares length and CRC
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, _surplus(content) or error) from error


def inflated(path: Path, content: bytes | memoryview) -> bytes:
    """What one zlib or gzip stream holds; raises as :func:`ungzipped`."""
    unpacking = zlib.decompressobj(ANY_FRAME)
    try:
        values = unpacking.decompress(content)
    except zlib.error as error:
        raise damaged(path, error) from error
    if not unpacking.eof:
        raise damaged(path, "its compressed voxels end too early")
    if unpacking.unused_data:
        raise damaged(path, _following(unpacking.unused_data))
    return values


def _surplus(content: bytes | memoryview) -> str:
    """That something other than a member follows the first, if that is what is wrong."""
    unpacking = zlib.decompressobj(GZIP_FRAME)
    try:
        unpacking.decompress(content)
    except zlib.error:
        return ""
    rest = unpacking.unused_data.lstrip(b"\0")
    return _following(rest) if rest and not rest.startswith(GZIP[: len(rest)]) else ""


def _following(rest: bytes) -> str:
    return f"{len(rest):,} bytes follow the end of its compressed voxels"
