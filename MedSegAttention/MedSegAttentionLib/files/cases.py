"""Which images a folder holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..data.case import file_names
from ..data.volume import VolumeImage
from .dicom import has_series, series_in
from .names import is_image, stem_of
from .reading import read_volume


@dataclass(frozen=True)
class ImageSource:
    """One image on disk.

    Attributes:
        path: file, or folder of a DICOM series.
        stem: start of the names of its result files.
        series: which series of the folder, where it holds several.
    """

    path: Path
    stem: str
    series: str | None = None

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self.path.name if self.series is None else self.stem

    def read(self) -> VolumeImage:
        """Read it; raises ``InputError``."""
        return read_volume(self.path, self.series)


def images_in(path: Path) -> list[ImageSource] | None:
    """The images of a folder: files, DICOM series in folders below it, or several series in the folder itself.

    Returns:
        None for a single input: a file, or the folder of one DICOM series; also for a folder without images. Images
        that differ in their suffix alone keep it in the stem.
    """
    if not path.is_dir():
        return None
    own = series_in(path)
    if own:
        return _series_of(path, stem_of(path)) if len(own) > 1 else None
    found: list[ImageSource] = []
    for child in sorted(path.iterdir()):
        if is_image(child):
            found.append(ImageSource(child, stem_of(child)))
        elif child.is_dir():
            found += _series_below(child, path)
    stems = [source.stem.lower() for source in found]
    distinct = [source.stem if stems.count(source.stem.lower()) == 1 else source.name for source in found]
    return [
        ImageSource(source.path, stem, source.series) for source, stem in zip(found, file_names(distinct), strict=True)
    ] or None


def sources_in(folder: Path) -> list[ImageSource]:
    """The images of a folder as :func:`images_in`, or its one DICOM series; empty when it holds none."""
    return images_in(folder) or (_series_of(folder, stem_of(folder)) if has_series(folder) else [])


def _series_below(folder: Path, top: Path) -> list[ImageSource]:
    """The DICOM series of a study, however its folders are nested; named after their way down from ``top``."""
    if folder.name.startswith("."):
        return []
    found = _series_of(folder, "_".join(folder.relative_to(top).parts))
    for child in sorted(folder.iterdir()):
        if child.is_dir():
            found += _series_below(child, top)
    return found


def _series_of(folder: Path, stem: str) -> list[ImageSource]:
    """The series of a folder; several are told apart by the end of their UIDs, which does not change."""
    series = series_in(folder)
    if len(series) == 1:
        return [ImageSource(folder, stem)]
    return [ImageSource(folder, f"{stem}_{one.uid[-12:].strip('.')}", one.uid) for one in series]
