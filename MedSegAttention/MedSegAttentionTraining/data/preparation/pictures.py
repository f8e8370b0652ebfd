"""Cases of the photographs and video frames: ISIC, PH2, Kvasir-SEG, CVC-ClinicDB."""

from __future__ import annotations

from bisect import bisect_right
from functools import partial
from pathlib import Path

from MedSegAttentionLib.data.errors import InputError

from .saving import save_picture
from .source_case import SourceCase, companion

ISIC_FOLDERS = {
    "2017": ("ISIC-2017_{}_Data", "ISIC-2017_{}_Part1_GroundTruth"),
    "2018": ("ISIC2018_Task1-2_{}_Input", "ISIC2018_Task1_{}_GroundTruth"),
}
ISIC_PARTS = {"Training": "train", "Validation": "validation", "Test_v2": "test", "Test": "test"}
CLINICDB_FIRST_FRAMES = (
    *(1, 26, 51, 68, 79, 104, 127, 152, 178, 200, 206, 228, 253, 278, 298),
    *(318, 343, 364, 384, 409, 429, 448, 467, 479, 504, 529, 547, 572, 592),
)
"""First frame of each of the 29 sequences; the last one ends with frame 612. From the frame ranges that come with the
data, as repeated in src/convert.py of github.com/dataset-ninja/cvc-612."""
CLINICDB_FRAMES = 612


def _case(name: str, group: str, image: Path, mask: Path, part: str | None = None) -> SourceCase:
    return SourceCase(name, group, partial(save_picture, name=name, image=image, mask=mask), part)


def find_isic(source: Path, year: str) -> list[SourceCase]:
    """``ISIC_NNNNNNN.jpg`` with ``ISIC_NNNNNNN_segmentation.png``, in the published parts."""
    cases = []
    for part, split in ISIC_PARTS.items():
        images, masks = (pattern.format(part) for pattern in ISIC_FOLDERS[year])
        found = {path.name: path for path in source.rglob(f"{masks}/ISIC_*_segmentation.png")}
        for image in sorted(source.rglob(f"{images}/ISIC_*.jpg")):
            name = f"{image.stem}_segmentation.png"
            mask = companion(found.get(name, source / masks / name), of=image)
            cases.append(_case(image.stem, image.stem, image, mask, split))
    return cases


def find_ph2(source: Path) -> list[SourceCase]:
    """``IMDNNN_Dermoscopic_Image/IMDNNN.bmp`` with ``IMDNNN_lesion/IMDNNN_lesion.bmp``."""
    cases = []
    for image in sorted(source.rglob("IMD*_Dermoscopic_Image/IMD*.bmp")):
        mask = image.parents[1] / f"{image.stem}_lesion" / f"{image.stem}_lesion.bmp"
        cases.append(_case(image.stem, image.stem, image, companion(mask, of=image)))
    return cases


def find_kvasir_seg(source: Path) -> list[SourceCase]:
    """``images/NAME.jpg`` with ``masks/NAME.jpg``."""
    return [
        _case(image.stem, image.stem, image, companion(image.parents[1] / "masks" / image.name, of=image))
        for image in sorted(source.rglob("images/*.jpg"))
    ]


def find_cvc_clinicdb(source: Path) -> list[SourceCase]:
    """``Original/N`` with ``Ground Truth/N``; the PNG files where both kinds are there."""
    images = sorted(source.rglob("Original/*.png")) or sorted(source.rglob("Original/*.tif"))
    cases = []
    for image in images:
        sequence = sequence_of(image)
        mask = companion(image.parents[1] / "Ground Truth" / image.name, of=image)
        cases.append(_case(f"{int(image.stem):04d}", f"sequence {sequence:02d}", image, mask))
    return cases


def sequence_of(image: Path) -> int:
    """Number of the sequence, 1 to 29, that frame ``N.tif`` belongs to; :class:`InputError` for no such frame."""
    if not image.stem.isdigit() or not 1 <= int(image.stem) <= CLINICDB_FRAMES:
        raise InputError(f"'{image}' is no frame of CVC-ClinicDB; expected a name from 1 to {CLINICDB_FRAMES}.")
    return bisect_right(CLINICDB_FIRST_FRAMES, int(image.stem))
