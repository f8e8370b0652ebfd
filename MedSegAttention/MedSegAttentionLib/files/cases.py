"""Which images a folder holds."""

from __future__ import annotations

from pathlib import Path

from .reading import has_series, is_image, stem_of


def batch_of(path: Path) -> dict[Path, str] | None:
    """The cases of a folder of images or of DICOM series folders, each with the stem of its results.

    Returns:
        None for a single input: a file, or the folder of one DICOM series. Images that differ in their suffix alone
        keep it in the stem.
    """
    if not path.is_dir() or has_series(path):
        return None
    found = sorted(child for child in path.iterdir() if is_image(child) or (child.is_dir() and has_series(child)))
    stems = [stem_of(child) for child in found]
    return {
        child: stem if stems.count(stem) == 1 else child.name for child, stem in zip(found, stems, strict=True)
    } or None
