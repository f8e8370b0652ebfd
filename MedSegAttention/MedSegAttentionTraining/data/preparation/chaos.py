"""Cases of CHAOS (MR): a folder of DICOM slices and a folder of PNG masks, paired by the order of their names."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.files.reading import read_volume

from .dicom import in_order, read_slices
from .saving import save_volume
from .source_case import SourceCase

ORGAN_RANGES = ((1, 55, 70), (2, 110, 135), (3, 175, 200), (4, 240, 255))
"""Label -> grey values that stand for it (63, 126, 189, 252), by the challenge's readme; all others are background."""
PHASES = {"T2SPIR": {"": "DICOM_anon"}, "T1DUAL": {"_in": "DICOM_anon/InPhase", "_out": "DICOM_anon/OutPhase"}}


def find_chaos(source: Path, sequence: str = "T2SPIR") -> list[SourceCase]:
    """Patients with ``SEQUENCE/Ground``; those without (the challenge's test cases) are left out."""
    cases = []
    for ground in sorted(source.rglob(f"{sequence}/Ground")):
        patient = ground.parents[1].name
        masks = sorted(ground.glob("*.png"))
        for suffix, where in PHASES[sequence].items():
            slices = sorted((ground.parent / where).glob("*.dcm"))
            if not masks or len(slices) != len(masks):
                raise InputError(
                    f"'{ground.parent / where}' has {len(slices)} DICOM slices and '{ground}' {len(masks)} PNG masks; "
                    "expected one mask for each slice. Unpack the download whole."
                )
            name = f"chaos_{patient.zfill(2)}{suffix}"
            write = partial(_write, name=name, masks=dict(zip(slices, masks, strict=True)))
            cases.append(SourceCase(name, patient, write))
    return cases


def _write(folder: Path, name: str, masks: dict[Path, Path]) -> None:
    ordered = in_order(list(masks))
    image = read_slices(ordered)
    grey = []
    for path in (masks[file] for file in ordered):
        read_volume(path)  # raises where it is not whole
        with Image.open(path) as picture:
            grey.append(np.asarray(picture.convert("L")))
        if grey[-1].shape != image.GetSize()[1::-1]:
            raise InputError(
                f"'{path}' is {grey[-1].shape} pixels; expected {image.GetSize()[1::-1]}, the size of the DICOM slices."
            )
    labels = np.zeros((len(grey), *grey[0].shape), np.uint8)
    for value, low, high in ORGAN_RANGES:
        labels[(np.stack(grey) >= low) & (np.stack(grey) <= high)] = value
    reference = sitk.GetImageFromArray(labels)
    reference.CopyInformation(image)
    save_volume(folder, name, image, reference, {0, 1, 2, 3, 4})
