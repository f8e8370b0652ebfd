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
from .dicom import series_in, series_of_file
from .dicomdir import is_directory
from .names import is_image, stem_of
from .reading import read_found, read_volume
from .study import FoundSeries, find_series

UID = re.compile(r"\b\d+(\.\d+){3,}\b")


@dataclass(frozen=True)
class ImageSource:
    """One image on disk.

    Attributes:
        path: file, or folder of a DICOM series.
        stem: start of the names of its result files.
        title: what the user calls it, where that is not the name of ``path``.
        dicom: the series, where it was found among others.
        anonymous: whether ``stem`` is a pseudonym (see :func:`pseudonymous`), which stands for the path in all texts.
    """

    path: Path
    stem: str
    title: str = ""
    dicom: FoundSeries | None = None
    anonymous: bool = False

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self.title or self.path.name

    def read(self) -> VolumeImage:
        """Read it; raises ``InputError``."""
        if not self.anonymous:
            return self._read()
        try:
            volume = self._read()
        except MedSegAttentionError as error:
            raise type(error)(self._without_names(str(error))) from None
        texts = {name: tuple(map(self._without_names, getattr(volume, name))) for name in ("notes", "doubts")}
        return replace(volume, name=self.stem, **texts)

    def _read(self) -> VolumeImage:
        return read_volume(self.path) if self.dicom is None else read_found(self.dicom, self.stem)

    def _without_names(self, text: str) -> str:
        """``text`` with the pseudonym for every quoted path and name of this image, and without UIDs."""
        names = "|".join(re.escape(name) for name in (self.path.name, stem_of(self.path)))
        return UID.sub("a UID", re.sub(rf"'([^']*[/\\][^']*|({names})[^']*)'", f"'{self.stem}'", text))


def everything_in(path: Path) -> list[ImageSource]:
    """The images of a folder and all DICOM series below it, those among them that are no images too.

    Images that differ in their suffix alone keep it in the stem. Series are named after their way down from ``path``;
    several of one folder are told apart by the end of their UIDs, which does not change.

    Args:
        path: a folder, or a DICOMDIR; of another file it is that file alone.
    """
    if not path.is_dir() and not is_directory(path):
        return [ImageSource(path, stem_of(path))]
    top = path if path.is_dir() else path.parent
    series = find_series(path)
    images = [one for one in series if not one.no_image]
    found = [ImageSource(child, stem_of(child)) for child in sorted(top.iterdir()) if is_image(child)]
    if any(one.folder == top for one in images):
        found = []  # pictures that lie among the files of a series go with it
    found += [_source_of(one, top, images) for one in series]
    found.sort(key=lambda source: (source.path.relative_to(top).parts, source.stem))
    stems = [source.stem.lower() for source in found]
    distinct = [source.stem if stems.count(source.stem.lower()) == 1 else source.name for source in found]
    return [replace(source, stem=stem) for source, stem in zip(found, file_names(distinct), strict=True)]


def _source_of(series: FoundSeries, top: Path, images: Sequence[FoundSeries]) -> ImageSource:
    way = "_".join(series.folder.relative_to(top).parts) or stem_of(top)
    if [one.folder for one in images].count(series.folder) + bool(series.no_image) <= 1:
        return ImageSource(series.folder, way, dicom=series)
    stem = f"{way}_{series.key[-12:].strip('.')}"
    return ImageSource(series.folder, stem, stem, series)


def is_one_series(path: Path, found: Sequence[ImageSource]) -> bool:
    """Whether ``path`` is the folder of one DICOM series and nothing else."""
    return len(found) == 1 and found[0].dicom is not None and found[0].path == path


def sources_in(folder: Path) -> list[ImageSource]:
    """The images of a folder: files, and the DICOM series in it and below it, however nested; may be empty."""
    return [source for source in everything_in(folder) if source.dicom is None or not source.dicom.no_image]


def pseudonymous(sources: Sequence[ImageSource]) -> list[ImageSource]:
    """The same images under pseudonyms, which tell nothing and do not change from run to run.

    That of a DICOM series is of the hash of its UID, so that who has the archive can find it again; that of another
    file of the hash of its content. Reading says nothing of the path either.
    """
    stems = file_names([f"case-{_fingerprint(source)[:12]}" for source in sources])
    return [replace(source, stem=stem, title=stem, anonymous=True) for source, stem in zip(sources, stems, strict=True)]


def _fingerprint(source: ImageSource) -> str:
    if source.dicom:
        return hashlib.sha256(source.dicom.key.encode()).hexdigest()
    if source.path.is_dir():
        return hashlib.sha256("".join(series.uid for series in series_in(source.path)).encode()).hexdigest()
    if uid := series_of_file(source.path):
        return hashlib.sha256(uid.encode()).hexdigest()
    digest = hashlib.sha256()
    with suppress(OSError), source.path.open("rb") as file:  # reading it will say what is wrong
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
