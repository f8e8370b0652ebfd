"""One image of many: how it is read, and how its result is kept."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .result import VolumeResult
from .volume import VolumeImage

UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
"""Control characters, and what stands for bytes of a file name that are no UTF-8."""
LONGEST = 150
"""Bytes of the stem of a file: most systems have room for 255 with what follows it."""
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""What Windows takes for a device whatever follows the point."""


def readable_name(name: str) -> str:
    """``name`` in one line that can be written anywhere, with escapes for line breaks and for bytes that are no UTF-8.

    What it gives stays as it is when given again, so that a name read from a table is the one that was written.
    """
    return UNWRITABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), name)


@dataclass(frozen=True)
class Case:
    """An image to segment, alone or in a batch.

    Attributes:
        name: what the user calls it: a file or a volume; see :func:`readable_name`.
        stem: start of the names of its result files; one of its own in a batch.
        read: gives the image; called again for every look at it, so that a batch holds one image at a time.
        save: writes all result files but the record into a folder; returns the seconds by stage.
        endings: what follows ``stem`` in the names of the files that ``save`` always writes.
        kinds: what kind of files it writes, where there are several of one ending; kept in the record: a result with
            others is not there already.
    """

    name: str
    stem: str
    read: Callable[[], VolumeImage]
    save: Callable[[VolumeImage, VolumeResult, Path], dict[str, float]]
    endings: tuple[str, ...] = ()
    kinds: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", readable_name(self.name))


@dataclass(frozen=True)
class FileChoice:
    """What is written for an image besides STEM.seg.nrrd, STEM.MAP.nrrd and STEM.png.

    Attributes:
        nifti: STEM.nii.gz, the label map.
        report: STEM.report.png and STEM.report.pdf, the page to look at.
        scene: STEM.mrb, a scene that Slicer opens.
        dicom: ``"binary"`` or ``"labelmap"``: STEM.seg.dcm of that kind, STEM.sr.dcm and STEM.MAP.dcm; empty for none.
    """

    nifti: bool = False
    report: bool = False
    scene: bool = False
    dicom: str = ""

    def endings(self) -> tuple[str, ...]:
        """Endings of the files that are always written."""
        also = {".nii.gz": self.nifti, ".report.png": self.report, ".report.pdf": self.report, ".mrb": self.scene}
        also |= dict.fromkeys((".seg.dcm", ".sr.dcm"), bool(self.dicom))
        return (".seg.nrrd", ".png", *(ending for ending, wanted in also.items() if wanted))


def file_names(names: Sequence[str]) -> list[str]:
    """Names that can be files on every system, each once whatever the case of its letters, not too long."""
    stems: list[str] = []
    taken: set[str] = set()
    counts: dict[str, int] = {}  # of each base: a cohort may hold 100,000 of one name
    for name in names:
        base = re.sub(r"[^\w .()+-]", "_", unicodedata.normalize("NFC", name)).strip(" .")
        base = base.encode()[:LONGEST].decode(errors="ignore").strip(" .") or "volume"
        stem = base = f"_{base}" if DEVICES.match(base) else base
        number = counts.get(base.lower(), 1)
        while stem.lower() in taken:
            number += 1
            stem = f"{base}_{number}"
        counts[base.lower()] = number
        taken.add(stem.lower())
        stems.append(stem)
    return stems
