"""How large an image is on the disk: by it the largest goes first, and the time left is told."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..files.cases import ImageSource
from ..files.names import stem_of

DETACHED = (".nhdr", ".mhd", ".hdr")
"""Headers whose voxels lie in another file of the same stem."""


def size_of(image: ImageSource) -> int:
    """Bytes, at least 1; of a DICOM series by its first file, since looking at each takes long over a network."""
    if image.dicom is not None:
        return max(1, len(image.dicom.files) * _bytes(image.dicom.files[0])) if image.dicom.files else 1
    if image.path.is_dir():
        return max(1, sum(_bytes(path) for path in image.path.iterdir()))
    if image.path.suffix.lower() in DETACHED:
        return max(1, sum(_bytes(path) for path in image.path.parent.glob("*") if stem_of(path) == stem_of(image.path)))
    return max(1, _bytes(image.path))


def _bytes(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0
