"""Standard codes of a class as Slicer keeps them in a segment's tag."""

from __future__ import annotations

from pathlib import Path

import slicer

from ..data.labels import Code, Label

TERMINOLOGY_FOLDER = Path(__file__).parents[2] / "Resources" / "Terminology"
TERMINOLOGY_FILE = TERMINOLOGY_FOLDER / "SegmentationCategoryTypeModifier-MedSegAttention.term.json"
REGION_FILE = TERMINOLOGY_FOLDER / "AnatomicRegionAndModifier-MedSegAttention.term.json"
TERMINOLOGY_NAME = "Segmentation category and type - MedSegAttention"
REGION_NAME = "Anatomic codes - MedSegAttention"


def load_terminology(logic: slicer.vtkSlicerTerminologiesModuleLogic) -> None:
    """Make the codes of our classes known to Slicer's terminology selector."""
    logic.LoadTerminologyFromFile(str(TERMINOLOGY_FILE))
    logic.LoadRegionContextFromFile(str(REGION_FILE))


def terminology_entry(label: Label) -> str:
    """The codes of ``label`` as a serialised Slicer terminology entry."""
    parts = [TERMINOLOGY_NAME]
    for code in (label.category, label.type, label.type_modifier):
        parts += _triple(code)
    parts.append(REGION_NAME if label.region else "")
    for code in (label.region, label.region_modifier):
        parts += _triple(code)
    return slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(*parts)


def _triple(code: Code | None) -> tuple[str, str, str]:
    return (code.value, code.scheme, code.meaning) if code else ("", "", "")
