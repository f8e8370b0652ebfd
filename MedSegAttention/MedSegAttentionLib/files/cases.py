"""Which images a folder holds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..data.case import file_names
from ..data.errors import MedSegAttentionError
from ..data.volume import VolumeImage
from .dicom import has_series, series_in, series_of_file
from .names import is_image, stem_of
from .reading import read_volume


@dataclass(frozen=True)
class ImageSource:
    """One image on disk.

    Attributes:
        path: file, or folder of a DICOM series.
        stem: start of the names of its result files.
        series: which series of the folder, where it holds several.
        anonymous: whether ``stem`` is a pseudonym (see :func:`pseudonymous`), which stands for the path in all texts.
    """

    path: Path
    stem: str
    series: str | None = None
    anonymous: bool = False

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self.path.name if self.series is None and not self.anonymous else self.stem

    def read(self) -> VolumeImage:
        """Read it; raises ``InputError``."""
        if not self.anonymous:
            return read_volume(self.path, self.series)
        try:
            volume = read_volume(self.path, self.series)
        except MedSegAttentionError as error:
            raise type(error)(self._without_names(str(error))) from None
        texts = {name: tuple(map(self._without_names, getattr(volume, name))) for name in ("notes", "doubts")}
        return replace(volume, name=self.stem, **texts)

    def _without_names(self, text: str) -> str:
        """``text`` with the pseudonym for every quoted name that begins like the path, its folder or its name."""
        names = {str(self.path), str(self.path.resolve()), str(self.path.parent), self.path.name, stem_of(self.path)}
        begins = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        return re.sub(rf"'({begins})[^']*'", f"'{self.stem}'", text)


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


def pseudonymous(sources: Sequence[ImageSource]) -> list[ImageSource]:
    """The same images under pseudonyms, which tell nothing and do not change from run to run.

    That of a DICOM series is of the hash of its UID, so that who has the archive can find it again; that of another
    file of the hash of its content. Reading says nothing of the path either.
    """
    stems = file_names([f"case-{_fingerprint(source)[:12]}" for source in sources])
    return [replace(source, stem=stem, anonymous=True) for source, stem in zip(sources, stems, strict=True)]


def _fingerprint(source: ImageSource) -> str:
    if source.series:
        return hashlib.sha256(source.series.encode()).hexdigest()
    if source.path.is_dir():
        return hashlib.sha256("".join(series.uid for series in series_in(source.path)).encode()).hexdigest()
    if uid := series_of_file(source.path):
        return hashlib.sha256(uid.encode()).hexdigest()
    digest = hashlib.sha256()
    with suppress(OSError), source.path.open("rb") as file:  # reading it will say what is wrong
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
