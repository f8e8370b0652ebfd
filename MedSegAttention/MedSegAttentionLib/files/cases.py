"""Which images a folder holds."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from os.path import realpath
from pathlib import Path

from ..data.case import file_names, readable_name
from ..data.errors import InputError, MedSegAttentionError
from ..data.volume import VolumeImage
from .dicom import series_in, series_of_file, suffix_of
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
        fault: the error that reading it ends with, where that is known beforehand.
    """

    path: Path
    stem: str
    title: str = ""
    dicom: FoundSeries | None = None
    anonymous: bool = False
    fault: InputError | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What the user calls it, see :func:`~..data.case.readable_name`."""
        return readable_name(self.title or self.path.name)

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
        if self.fault is not None:
            raise self.fault
        return read_volume(self.path) if self.dicom is None else read_found(self.dicom, self.stem)

    def _without_names(self, text: str) -> str:
        """``text`` with the pseudonym for every quoted path and name of this image, and without UIDs."""
        names = "|".join(re.escape(name) for name in (self.path.name, stem_of(self.path)))
        return UID.sub("a UID", re.sub(rf"'([^']*[/\\][^']*|({names})[^']*)'", f"'{self.stem}'", text))


def everything_in(path: Path) -> list[ImageSource]:
    """The images of a folder and all DICOM series below it, those among them that are no images too.

    Images that differ in their suffix alone keep it in the stem. Series are named after their way down from ``path``;
    several of one folder are told apart by the end of their UIDs, which does not change; photographs by the names of
    their files, or where these are UIDs by the numbers of series and image.

    Args:
        path: a folder, or a DICOMDIR; of another file it is that file alone.
    """
    if not path.is_dir() and not is_directory(path):
        return [ImageSource(path, stem_of(path))]
    top = path if path.is_dir() else path.parent
    series = find_series(path)
    images = [one for one in series if not (one.no_image or one.no_stack)]
    found = [ImageSource(child, stem_of(child)) for child in sorted(top.iterdir()) if is_image(child)]
    if any(one.folder == top and not one.no_image for one in series):
        found = []  # pictures that lie among the files of a series go with it
    shared = Counter(one.folder for one in images)
    found += [_source_of(one, top, shared[one.folder]) for one in series]
    found.sort(key=lambda source: (source.path.relative_to(top).parts, source.stem))
    counts = Counter(source.stem.lower() for source in found)
    distinct = [source.stem if counts[source.stem.lower()] == 1 else source.name for source in found]
    return _named([replace(source, stem=stem) for source, stem in zip(found, file_names(distinct), strict=True)])


def told_apart(found: Sequence[tuple[Path, ImageSource]]) -> list[ImageSource]:
    """Images of several inputs with stems of their own: those that share one get the names of the folders above.

    An image that two inputs hold comes once.

    Args:
        found: (input, image of it), in their order.
    """
    once = {(realpath(image.path), image.dicom and image.dicom.key): (place, image) for place, image in reversed(found)}
    ordered = list(reversed(once.values()))
    above = [_names_above(place, image) for place, image in ordered]
    stems = [image.stem for _, image in ordered]
    for level in range(max(map(len, above), default=0)):
        counts = Counter(stem.lower() for stem in stems)
        pairs = zip(stems, above, strict=True)
        stems = [
            f"{names[level]}_{stem}" if counts[stem.lower()] > 1 and level < len(names) else stem
            for stem, names in pairs
        ]
    named = zip(ordered, file_names(stems), strict=True)
    return _named([replace(image, stem=stem) for (_, image), stem in named])


def _names_above(place: Path, image: ImageSource) -> list[str]:
    """Names of the folders that tell ``image`` from one of the same stem in another input, the nearest first."""
    place = Path(realpath(place))
    own = [] if image.stem == stem_of(place) else [stem_of(place)]
    return [*own, *(folder.name for folder in place.parents if folder.name)]


def _named(sources: Sequence[ImageSource]) -> list[ImageSource]:
    """The same, each with a name of its own, which is its row in the table: the stem where several share one."""
    counts = Counter(source.name for source in sources)
    return [replace(source, title=source.stem) if counts[source.name] > 1 else source for source in sources]


def _source_of(series: FoundSeries, top: Path, images: int) -> ImageSource:
    """A series as a source; ``images`` is how many series of its folder are some."""
    way = "_".join(series.folder.relative_to(top).parts) or stem_of(top)
    if images + bool(series.no_image or series.no_stack) <= 1:
        return ImageSource(series.folder, way, dicom=series)
    stem = f"{way}_{_photograph(series) or series.key[-12:].strip('.')}"
    return ImageSource(series.folder, stem, stem, series)


def _photograph(series: FoundSeries) -> str:
    """What tells a photograph of a folder from the others; empty for other series, and where nothing readable does."""
    if not series.instance:
        return ""
    name = series.files[0].name
    name = series.files[0].stem if suffix_of(series.files[0]) else name
    if not UID.search(name):
        return name
    numbers = (("series", series.number), ("image", series.instance_number))
    return (
        ""
        if series.instance_number is None
        else "_".join(f"{what}-{number}" for what, number in numbers if number is not None)
    )


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
    if not source.path.is_file():  # reading it will say what is wrong
        return hashlib.sha256(source.name.encode()).hexdigest()
    with suppress(OSError), source.path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
