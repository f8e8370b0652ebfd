"""Segmentations that another program or a person made, scored by the rules that ours are scored by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from MedSegAttentionLib.data.card import Card
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.data.labels import Code, Label
from MedSegAttentionLib.data.result import VolumeResult
from MedSegAttentionLib.data.volume import VolumeImage

from ..data.cases import DataFolder, read_labels, segmentation_files, values_on

NOTHING = Code("", "", "")


def of_segmentations(folder: str | Path, data: DataFolder) -> tuple[Card, Callable[[VolumeImage], VolumeResult]]:
    """A card with the classes of ``folder``, and what gives the segmentation of an image of ``data``.

    Args:
        folder: label maps with the names of the images, on their grids. A ``dataset.json`` in it maps class names to
            their values; without one those of ``data`` count.
        data: the reference.

    Raises:
        InputError: there is no such folder, or a case has no label map.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"'{folder}' is no folder; expected label maps with the names of the images.")
    known = read_labels(folder / "dataset.json") if (folder / "dataset.json").is_file() else data.labels
    files = segmentation_files(folder)
    if lacking := [case.name for case in data.cases if case.name not in files]:
        raise InputError(f"'{folder}' has no label map for {len(lacking)} cases, '{lacking[0]}' among them.")
    names = list(known)
    source = replace(data, labels=known)

    def predict(image: VolumeImage) -> VolumeResult:
        labels = source.masks(values_on(image, files[image.name], known), names)
        return VolumeResult(image.name, labels, image.ijk_to_ras, card.labels)

    card = Card(
        id=folder.name,
        version="",
        task="",
        title="",
        description="",
        modality="",
        network="",
        network_config={},
        in_channels=1,
        activation="softmax",
        labels=tuple(Label(name, value, (0, 0, 0), NOTHING, NOTHING) for value, name in enumerate(names, 1)),
        orientation="axial",
        intensity={},
        fit={},
        expects={},
        postprocessing={},
        attention=(),
        training_data=(),
        license="",
        limits=(),
        weights_sha256="",
    )
    return card, predict
