"""What is plausible in an adult: sizes, sides and pieces of organs. What is odd is told, never hidden or mended."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..data.labels import Label

VOLUMES = {
    "liver": (825, 1700, "Kim et al. 2019, CT of 2,989 donors"),
    "spleen": (81, 322, "Kim et al. 2019, CT of 2,989 donors"),
    "pancreas": (19, 139, "Saisho et al. 2007"),
}
"""Class -> lowest and highest usual volume in mL, and who measured it."""
SIDES = (("right kidney", "left kidney"), ("liver", "spleen"))
"""Pairs of classes of which the first lies on the patient's right of the second."""
WHOLE = (*VOLUMES, "left kidney", "right kidney", "gallbladder", "stomach", "aorta", "prostate")
"""Classes of which a body has one, in one piece."""
FEWEST = 8
"""Voxels: fewer are no organ."""
PIECE_SHARE = 0.05
"""Share of a class' voxels that a second piece must have to be told of; smaller ones are crumbs."""


def anatomy_findings(
    labels: np.ndarray,
    ijk_to_ras: np.ndarray,
    classes: tuple[Label, ...],
    cut: set[str],
    sizes: dict[str, Any],
) -> dict[str, list[str]]:
    """What is unlike an adult's body, or unlike every training case.

    Args:
        labels: ``[K, J, I]`` of a volume, at least two slices; 0 is background.
        ijk_to_ras: ``[4, 4]``, real mm.
        classes: of the labels.
        cut: names of the classes that the border of the image cuts; they can be too large, not too small.
        sizes: of the card: class name -> smallest and largest volume in mL of the training cases.

    Returns:
        Class name -> sentences; only of classes that have one.
    """
    counts = sum(np.bincount(plane.ravel(), minlength=256) for plane in labels)
    voxel_ml = abs(float(np.linalg.det(ijk_to_ras[:3, :3]))) / 1000
    found: dict[str, list[str]] = {}
    for label in (label for label in classes if counts[label.value]):
        ml = counts[label.value] * voxel_ml
        few = f"has {counts[label.value]} voxel(s), too few for an organ." if counts[label.value] < FEWEST else ""
        odd = few or _odd_volume(label.name, ml, sizes.get(label.name), label.name in cut)
        sentences = [odd] if odd else []
        if label.name in WHOLE and (pieces := _pieces(labels == label.value)) > 1:
            sentences.append(f"is in {pieces} separate pieces; expected one.")
        if sentences:
            found[label.name] = sentences
    for name, sentence in _exchanged(labels, ijk_to_ras, classes, counts):
        found.setdefault(name, []).append(sentence)
    return found


def _odd_volume(name: str, ml: float, trained: list[float] | None, cut: bool) -> str:
    """One sentence, or none."""
    if trained and ml < trained[0] and not cut:
        return f"is smaller ({ml:.3g} mL) than in any training case ({trained[0]:.3g} mL or more)."
    low, high, source = VOLUMES.get(name, (0, math.inf, ""))
    if ml > high or (ml < low and not cut):
        return f"has {ml:.0f} mL, outside the {low} to {high} mL usual in adults ({source})."
    if trained and ml > trained[1]:
        return f"is larger ({ml:.3g} mL) than in any training case ({trained[1]:.3g} mL at most)."
    return ""


def _pieces(mask: np.ndarray) -> int:
    """Number of face-connected pieces with at least :data:`PIECE_SHARE` of the voxels."""
    lines = (np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
    box = mask[tuple(slice(int(line[0]), int(line[-1]) + 1) for line in lines)]
    pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(box.astype(np.uint8))))
    sizes = np.bincount(pieces.ravel())[1:]
    return int((sizes >= PIECE_SHARE * sizes.sum()).sum())


def _exchanged(
    labels: np.ndarray, ijk_to_ras: np.ndarray, classes: tuple[Label, ...], counts: np.ndarray
) -> list[tuple[str, str]]:
    """(class, sentence) of those that lie on the wrong side of another."""
    values = {label.name: label.value for label in classes if counts[label.value]}
    told = []
    for right, left in SIDES:
        if right in values and left in values:
            places = [_to_the_right(labels == values[name], ijk_to_ras) for name in (right, left)]
            if places[0] < places[1]:
                sentence = "lies to the patient's {} of the {}: the sides may be exchanged, in the image or here."
                told += [(right, sentence.format("left", left)), (left, sentence.format("right", right))]
    return told


def _to_the_right(mask: np.ndarray, ijk_to_ras: np.ndarray) -> float:
    """R coordinate of the centre, mm."""
    shares = (mask.sum(tuple({0, 1, 2} - {axis})) for axis in range(3))
    centre = [np.average(np.arange(len(share)), weights=share) for share in shares]
    return float(ijk_to_ras[0, :3] @ centre[::-1] + ijk_to_ras[0, 3])
