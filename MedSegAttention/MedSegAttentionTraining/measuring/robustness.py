"""Whether what should not matter changes a result, and whether nonsense is noticed, on real images."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from MedSegAttentionLib.checkpoints.catalogue import find_checkpoint
from MedSegAttentionLib.data.errors import ContractWarning, InputError
from MedSegAttentionLib.data.findings import LOWER_BOUND, OUTLINE_CUT
from MedSegAttentionLib.data.result import VolumeResult
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.files.cases import sources_in
from MedSegAttentionLib.files.reading import read_volume
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.runner.in_process import run

from ..data.cases import read_folder
from .alterations import HARMLESS, NONSENSE

WAYS = ("refused", "stopped", "said at a segment", "not noticed")
"""What becomes of an image: cannot be run; is run when forced; is run, with a sentence; is run."""


def measure_robustness(
    checkpoint: str | Path,
    folder: str | Path,
    split: str | None = None,
    splits: str | Path | None = None,
    *,
    cases: int = 3,
    slices: int = 6,
    others: Sequence[str | Path] = (),
    device: str = "auto",
) -> dict[str, Any]:
    """Alter some images in every way of :mod:`.alterations`.

    Args:
        checkpoint: ID or folder.
        folder: of cases, see :mod:`~..data.cases`.
        split: as :func:`~..data.cases.read_folder` takes it.
        splits: likewise.
        cases: how many, evenly spread.
        slices: of each volume, the middle ones.
        others: folders of images of other tasks, of each of which as many are tried.
        device: see :class:`~MedSegAttentionLib.inference.settings.RunSettings`.

    Returns:
        JSON-ready: ``harmless``: alteration -> Dice between the result and that of the image as it is, one a case, see
        :func:`dice_between`; None where it cannot be done. ``nonsense``: alteration or folder ->
        how many images met which of :data:`WAYS`.
    """
    found = read_folder(folder, split, splits).cases
    images = [_middle(read_volume(found[place].image), slices) for place in _spread(len(found), cases)]
    report: dict[str, Any] = {"checkpoint": Path(checkpoint).name, "folder": Path(folder).name}
    report |= {"cases": [image.name for image in images], "slices": slices}
    settings = RunSettings(device=device, attention=False)
    checkpoint = find_checkpoint(checkpoint)
    with _without_a_word():
        plain = [run(image, checkpoint=checkpoint, settings=replace(settings, force=True)) for image in images]
        report["harmless"] = {
            name: [_agreement(name, *pair, checkpoint, settings) for pair in zip(images, plain, strict=True)]
            for name in HARMLESS
        }
        report["nonsense"] = {
            name: _counted(
                [
                    _way(replace(image, array=alter(image.array).copy()), checkpoint, settings, result)
                    for image, result in zip(images, plain, strict=True)
                ]
            )
            for name, alter in NONSENSE.items()
            if name != "slices shuffled" or images[0].array.shape[0] > 1
        }
        for other in others:
            sources = sources_in(Path(other))
            chosen = [_middle(sources[place].read(), slices) for place in _spread(len(sources), cases)]
            name = Path(other).parent.name if Path(other).name == "images" else Path(other).name
            report["nonsense"][name] = _counted([_way(one, checkpoint, settings) for one in chosen])
    return report


def tables(report: dict[str, Any]) -> str:
    """The report as two Markdown tables."""
    lines = [f"{report['checkpoint']}, {len(report['cases'])} cases of {report['folder']}", ""]
    lines += ["| what should not matter | lowest Dice | mean Dice |", "| --- | --- | --- |"]
    for name, values in report["harmless"].items():
        known = [value for value in values if value is not None]
        lines.append(f"| {name} | {min(known):.3f} | {np.mean(known):.3f} |" if known else f"| {name} | - | - |")
    lines += ["", f"| nonsense | {' | '.join(WAYS)} |", f"| --- |{' --- |' * len(WAYS)}"]
    lines += [f"| {name} | {' | '.join(str(ways[way]) for way in WAYS)} |" for name, ways in report["nonsense"].items()]
    return "\n".join(lines)


def _agreement(
    name: str, image: VolumeImage, plain: VolumeResult, checkpoint: Path, settings: RunSettings
) -> float | None:
    altered = HARMLESS[name](image)
    if altered is None:
        return None
    result = run(altered.volume, checkpoint=checkpoint, settings=replace(settings, force=True))
    return dice_between(plain.labels, altered.back(result.labels))


def dice_between(first: np.ndarray, second: np.ndarray) -> float:
    """Of two label maps, over all classes together: a voxel agrees where both say the same class; 1 without any.

    The mean over classes would say more of one that has two voxels in the few slices than of the liver.
    """
    found = int((first > 0).sum() + (second > 0).sum())
    return float(2 * ((first == second) & (first > 0)).sum() / found) if found else 1.0


def _way(image: VolumeImage, checkpoint: Path, settings: RunSettings, plain: VolumeResult | None = None) -> str:
    """Which of :data:`WAYS`; a sentence counts where the image as it is does not get it."""
    try:
        result = run(image, checkpoint=checkpoint, settings=settings)
    except ContractWarning:
        return "stopped"
    except InputError:
        return "refused"
    return "said at a segment" if _said(result) - (_said(plain) if plain else set()) else "not noticed"


def _said(result: VolumeResult) -> set[tuple[str, str]]:
    """Sentences about segments, but those about the border: the slices were cut out here."""
    texts = ((item["name"], text) for item in result.found() for text in item["findings"])
    return {(name, text) for name, text in texts if not text.endswith((LOWER_BOUND, OUTLINE_CUT))}


def _counted(ways: Sequence[str]) -> dict[str, int]:
    return {way: sum(one == way for one in ways) for way in WAYS}


def _spread(count: int, most: int) -> list[int]:
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()


def _middle(volume: VolumeImage, slices: int) -> VolumeImage:
    first = max(0, (len(volume.array) - slices) // 2)
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += first * matrix[:3, 2]
    return replace(volume, array=volume.array[first : first + slices], ijk_to_ras=matrix)


@contextmanager
def _without_a_word() -> Iterator[None]:
    """Warnings of forced runs are what is measured here."""
    logger = logging.getLogger("MedSegAttentionLib.inference")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
