"""What the headers of a DICOM series leave open about its values, or say differently from slice to slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .dicom_places import group_of
from .dicom_voxels import File, stored_voxels

ALIKE = ("PatientID", "FrameOfReferenceUID", "Modality", "PixelRepresentation")
"""Elements that are the same in all slices of a volume."""
AIR = -200
"""HU up to which a filling is taken for air."""
OVERLAYS, OVERLAY_BIT = range(0x6000, 0x6020, 2), 0x0102
"""Groups of overlays, and the element that says in which bit of the voxels one is."""


def doubts_about(files: Sequence[File], voxels: np.ndarray, modality: str | None, named: str) -> tuple[str, ...]:
    """Why the values of a series may be wrong, a sentence each.

    Args:
        files: of the series.
        voxels: of all of them, real values.
        modality: of it.
        named: what it is, for messages.
    """
    of_a_ct = (*_units(files, named), *_bright_padding(files, voxels, named)) if modality == "CT" else ()
    return (*_unlike(files, named), *of_a_ct, *_beyond_bits(files))


def _unlike(files: Sequence[File], named: str) -> Iterator[str]:
    for name in ALIKE:
        if len({str(file.header.get(name)) for file in files}) > 1:
            yield f"the slices of {named} differ in {name}; those of one volume have it in common."


def _units(files: Sequence[File], named: str) -> Iterator[str]:
    """Whether voxels of a CT are Hounsfield units, as those of the images are that checkpoints were trained on."""
    if any(file.header.get("PhotometricInterpretation") == "MONOCHROME1" for file in files):
        yield (
            f"the grey values of {named} are stored the other way round (PhotometricInterpretation MONOCHROME1), and "
            "are turned as they are read, here and in Slicer: they are no Hounsfield units."
        )
    scales = [scale for file in files for scale in _scales(file.header)]
    lacking = sum(
        not float(scale.get("RescaleSlope") or 0) or scale.get("RescaleIntercept") is None for scale in scales
    )
    if lacking:
        yield (
            f"{lacking} of {len(scales)} slices of {named} do not say how their values become Hounsfield units "
            "(RescaleSlope, RescaleIntercept); they were taken as they are."
        )


def _bright_padding(files: Sequence[File], voxels: np.ndarray, named: str) -> Iterator[str]:
    """What fills the image around the field of view is air in most files, and tissue or metal in some."""
    fillings = set()
    for file in files:
        told, scale = file.header.get("PixelPaddingValue"), _scales(file.header)[0]
        if isinstance(told, int):
            slope, intercept = (float(scale.get(name) or 0) for name in ("RescaleSlope", "RescaleIntercept"))
            fillings.add(told * (slope or 1) + intercept)
    if any(filling > AIR and (voxels == filling).any() for filling in fillings):
        yield (
            f"{named} is filled with {max(fillings):g} HU around what was scanned (PixelPaddingValue), which looks "
            "like tissue or metal; expected air."
        )


def _scales(header: Any) -> list[Any]:
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if groups is None:
        return [header]
    return [group_of(header, group, "PixelValueTransformationSequence") for group in groups]


def _beyond_bits(files: Sequence[File]) -> Iterator[str]:
    """Values that need more bits than a header says lose them as they are read."""
    for file in files:
        header, bits = file.header, int(file.header.get("BitsStored") or 0)
        if header.BitsAllocated != 16 or not 0 < bits < 16 or header.get("HighBit") != bits - 1:
            continue
        voxels = stored_voxels(file)
        if voxels is None or not np.bitwise_or.reduce(voxels) >> bits:
            continue
        signed, half = voxels.view(np.int16), 1 << (bits - 1)
        fits = header.get("PixelRepresentation") and signed.min() >= -half and signed.max() < half
        if not fits and not any(
            header[group, OVERLAY_BIT].value for group in OVERLAYS if (group, OVERLAY_BIT) in header
        ):
            yield f"'{file.path.name}' has values of more than the {bits} bits that it says (BitsStored); they are cut."
            return
