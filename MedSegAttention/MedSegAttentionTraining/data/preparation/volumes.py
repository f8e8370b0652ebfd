"""Cases of PROMISE12, Prostate158 and BTCV: one image file and one mask file a patient."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

from MedSegAttentionLib.data.errors import InputError

from .saving import read, save_volume
from .source_case import SourceCase, companion

PROSTATE158_PARTS = {"train": "train", "valid": "validation", "test": "test"}
SYNAPSE_TEST = frozenset((1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38))
"""Test cases of TransUNet (arXiv 2102.04306), lists/lists_Synapse/test_vol.txt of its repository."""


def find_promise12(source: Path) -> list[SourceCase]:
    """``CaseXX_segmentation.mhd`` with its image; images without one (the challenge's test cases) are left out."""
    cases = []
    for mask in sorted(source.rglob("Case*_segmentation.mhd")):
        name = mask.name.removesuffix("_segmentation.mhd")
        image = companion(mask.with_name(f"{name}.mhd"), of=mask)
        cases.append(SourceCase(name, name, partial(_write, name=name, image=image, mask=mask)))
    return cases


def find_prostate158(source: Path) -> list[SourceCase]:
    """``NNN/t2.nii.gz`` with the anatomy of reader 1, and the published split of the CSV files."""
    parts = {}
    for stem, part in PROSTATE158_PARTS.items():
        for table in source.rglob(f"{stem}.csv"):
            parts |= dict.fromkeys(_identifiers(table), part)
    cases = []
    for mask in sorted(source.rglob("t2_anatomy_reader1.nii.gz")):
        name = mask.parent.name
        image = companion(mask.with_name("t2.nii.gz"), of=mask)
        write = partial(_write, name=name, image=image, mask=mask, values={0, 1, 2})
        cases.append(SourceCase(name, name, write, parts.get(name)))
    return cases


def find_btcv(source: Path) -> list[SourceCase]:
    """``img/imgNNNN.nii.gz`` with ``label/labelNNNN.nii.gz``, and the split of the papers on "Synapse"."""
    cases = []
    for mask in sorted(source.rglob("label/label*.nii.gz")):
        number = mask.name.removeprefix("label").removesuffix(".nii.gz")
        if not number.isdigit():
            raise InputError(f"'{mask}' has no case number; expected labelNNNN.nii.gz.")
        image = companion(mask.parents[1] / "img" / f"img{number}.nii.gz", of=mask)
        name = f"btcv_{number}"
        write = partial(_write, name=name, image=image, mask=mask, values=set(range(14)))
        cases.append(SourceCase(name, name, write, "test" if int(number) in SYNAPSE_TEST else "train"))
    return cases


def _identifiers(table: Path) -> list[str]:
    """Case numbers of a split file, three digits each (some programs write 20 for 020)."""
    with open(table, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if any(not row.get("ID") for row in rows):
        raise InputError(f"'{table}' has no column ID; expected the split file of Prostate158.")
    return [row["ID"].strip().removesuffix(".0").zfill(3) for row in rows]


def _write(folder: Path, name: str, image: Path, mask: Path, values: set[int] | None = None) -> None:
    """``values`` are those of the mask; None takes everything above 0 as 1."""
    labels = read(mask)
    save_volume(folder, name, read(image), labels if values else labels > 0, values or {0, 1})
