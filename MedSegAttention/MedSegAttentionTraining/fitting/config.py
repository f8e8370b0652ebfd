"""The settings of one training run, read from a JSON file; names no path."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path

from MedSegAttentionLib.data.card import is_distance
from MedSegAttentionLib.data.errors import InputError


@dataclass(frozen=True)
class Stage:
    """A part of the training at one resolution: how slices are fitted (see the card) and for how many epochs."""

    fit: dict
    epochs: int


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a run.

    Attributes:
        checkpoint: name of the checkpoint that comes out.
        task: one word in small letters, built in or new; the card gives it a title.
        network: ``{"name": ..., **options}`` of :func:`~MedSegAttentionLib.networks.build_network`.
        classes: names of the classes, in the order of the output channels.
        in_channels: of an image: 1 for grey, 3 for colour.
        adjacent: mm from a slice to those below and above it that the network sees as well; 0 for one slice alone.
        intensity: see :func:`~MedSegAttentionLib.inference.intensity.measure`.
        stages: resolutions, in order; the last one is what the checkpoint is used with.
        augmentation: see :class:`~MedSegAttentionTraining.data.augmentation.Augmentation`.
        epoch_slices: slices drawn in an epoch, those without any class ``background_weight`` times as often.
        validation_share: share of the training cases kept aside to select the best epoch.
        training_cases: how many of the cases that are not kept aside are learned from, of each folder, drawn with
            ``seed``; 0 for all.
        training_only: folders (last part of the path) of which no case is kept aside.
        selection: how they are chosen: ``random``, or ``last`` in the order of names (the frames of a video, which
            resemble their neighbours).
        pretrained: weights that the encoder starts from, see :mod:`~.pretrained`; empty for none.
        encoder_rate: learning rate of the encoder over that of the rest.
        frozen_epochs: epochs at the beginning in which the encoder stays as it is, its statistics too.
        balance: how data sets share an epoch: each gets a part in proportion to ``slices ** balance``.
        loss: ``dice_ce``, or for one class ``structure`` (see :class:`~.objective.StructureLoss`).
        subsets: weight of the loss on the summed logits of every subset of the decoder's heads.
        presence: weight of the loss on whether a class is in the picture at all.
        tau_error: weight of the term that draws tau towards the network's own error, see :mod:`~.objective`.
        tau_lowest: what tau is drawn towards where there is no error: ``k_min / k_max``.
        tau_budget: weight of ``(mean tau - 1/2)^2`` in the loss.
        boundary: weight of a loss that counts errors by their distance from the boundary (Karimi 2019, on distance
            maps) beside Dice and cross-entropy; 1 makes it as large as those in every step.
        ema: decay of the averaged weights, per step, once the run is well under way.
    """

    checkpoint: str
    task: str
    network: dict
    classes: list[str]
    intensity: dict
    stages: list[Stage]
    in_channels: int = 1
    adjacent: float = 0.0
    augmentation: dict = field(default_factory=dict)
    epoch_slices: int = 512
    background_weight: float = 0.3
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup_steps: int = 100
    ema: float = 0.99
    pretrained: str = ""
    encoder_rate: float = 1.0
    frozen_epochs: int = 0
    balance: float = 1.0
    loss: str = "dice_ce"
    subsets: float = 0.0
    presence: float = 0.0
    tau_error: float = 0.0
    tau_lowest: float = 0.125
    tau_budget: float = 0.0
    boundary: float = 0.0
    validation_share: float = 0.15
    training_cases: int = 0
    training_only: list[str] = field(default_factory=list)
    selection: str = "random"
    seed: int = 0

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def network_options(self) -> dict:
        """Options of the network beside its name."""
        return {key: value for key, value in self.network.items() if key != "name"}

    @property
    def network_channels(self) -> int:
        """Input channels of the network: those of the image, of three slices with adjacent ones."""
        return self.in_channels * (3 if self.adjacent else 1)

    @property
    def out_channels(self) -> int:
        """One sigmoid channel for one class; background and classes with a softmax otherwise."""
        return 1 if len(self.classes) == 1 else 1 + len(self.classes)

    def stage_at(self, epoch: int) -> int:
        """Index of the stage that ``epoch`` (from 0) belongs to."""
        for index, stage in enumerate(self.stages):
            if epoch < stage.epochs:
                return index
            epoch -= stage.epochs
        return len(self.stages) - 1


def read_config(path: str | Path, frozen_epochs: int | None = None) -> TrainingConfig:
    """Read a JSON file; raises :class:`InputError` for a missing file, unknown, missing or impossible settings.

    Args:
        path: of the file.
        frozen_epochs: instead of the one in the file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"training configuration '{path}' does not exist; see MedSegAttentionTraining/configs.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"'{path}' is no JSON ({error}).") from error
    known = {item.name for item in fields(TrainingConfig)}
    if unknown := sorted(set(values) - known):
        raise InputError(f"'{path}' has unknown settings {unknown}; expected some of {sorted(known)}.")
    if values.get("selection", "random") not in ("random", "last"):
        raise InputError(f"'{path}': selection '{values['selection']}' is not known; expected random or last.")
    if frozen_epochs is not None:
        values["frozen_epochs"] = frozen_epochs
    try:
        values["stages"] = [Stage(**stage) for stage in values.get("stages", [])]
        config = TrainingConfig(**values)
    except TypeError as error:
        raise InputError(f"'{path}': {error}") from error
    if not is_distance(config.adjacent) or (config.adjacent and config.in_channels != 1):
        raise InputError(
            f"'{path}': adjacent {config.adjacent!r} with in_channels {config.in_channels} is not possible; expected "
            "the mm from one slice of a grey volume to the next, or 0."
        )
    if not config.epochs:
        raise InputError(f"'{path}' has no epoch to train; expected stages of 1 epoch or more.")
    if not 0 <= config.frozen_epochs <= config.epochs:
        raise InputError(
            f"'{path}': frozen_epochs {config.frozen_epochs} is not possible; expected 0 to the {config.epochs} epochs."
        )
    if not 0 < config.batch_size <= config.epoch_slices:
        raise InputError(
            f"'{path}': epoch_slices {config.epoch_slices} does not hold one batch of batch_size {config.batch_size}."
        )
    return config
