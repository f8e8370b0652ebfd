"""Which cases are learned from and which are kept aside, and how often each slice is drawn."""

from __future__ import annotations

import random
from dataclasses import replace

import torch

from MedSegAttentionLib.data.errors import InputError

from ..data.cases import DataFolder
from .config import TrainingConfig


def split_cases(data: DataFolder, share: float, seed: int, selection: str = "random") -> tuple[DataFolder, DataFolder]:
    """Training and selection part of the cases: drawn with ``seed``, or the ``last``; at least one case in each.

    Raises:
        InputError: there are fewer than two cases.
    """
    if len(data.cases) < 2:
        raise InputError(
            f"'{data.path}' has {len(data.cases)} training case; expected 2 or more, one to be kept aside."
        )
    names = [case.name for case in data.cases]
    if selection == "random":
        random.Random(seed).shuffle(names)
    else:
        names.reverse()
    kept = set(names[: min(max(1, round(share * len(names))), len(names) - 1)])
    parts = ([c for c in data.cases if c.name not in kept], [c for c in data.cases if c.name in kept])
    return tuple(DataFolder(data.path, data.labels, data.spacing_is_real, tuple(part)) for part in parts)


def parts_of(data: list[DataFolder], config: TrainingConfig) -> list[tuple[DataFolder, DataFolder]]:
    """Training and selection part of each folder, as the configuration says."""
    parts = [
        (folder, replace(folder, cases=()))
        if folder.path.name in config.training_only
        else split_cases(folder, config.validation_share, config.seed, config.selection)
        for folder in data
    ]
    return [(_some_of(training, config), selection) for training, selection in parts]


def _some_of(data: DataFolder, config: TrainingConfig) -> DataFolder:
    """As many of the training cases as the configuration says; fewer are the first of more, with one seed."""
    wanted = config.training_cases or len(data.cases)
    if wanted > len(data.cases):
        raise InputError(
            f"training_cases {wanted} is not possible: '{data.path}' has {len(data.cases)} cases to learn from, beside "
            "those that are kept aside; expected so many at most, or 0 for all."
        )
    drawn = random.Random(config.seed).sample(data.cases, len(data.cases))[:wanted]
    return replace(data, cases=tuple(case for case in data.cases if case in drawn))


def balanced(weights: list[torch.Tensor], balance: float) -> list[torch.Tensor]:
    """Weights of the slices of each data set, ``[S]``, so that its share of all goes with ``sum ** balance``."""
    return [part * part.sum() ** (balance - 1) for part in weights]


def slice_weights(labels: torch.Tensor, of_empty: float) -> torch.Tensor:
    """``[S, 1, H, W] -> [S]``: how often a slice is drawn, 1 with any class and ``of_empty`` without."""
    return torch.where((labels > 0).flatten(1).any(1), 1.0, of_empty)
