"""The rows of a comparison, and the settings that all of them share."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from ..fitting.config import TrainingConfig


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        label: its name in table, CSV and ``--rows``.
        network: ``{"name": ..., **options}`` of :func:`.peers.build`.
        training: settings that differ from the ablation's ``base``.
        start: checkpoint whose weights it starts from; empty for none.
    """

    label: str
    network: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    start: str = ""

    @property
    def definition(self) -> str:
        """JSON: what was trained, and how if not like the other rows; a run is known again by it."""
        more = {"training": self.training, "start": self.start}
        return json.dumps(self.network | {name: value for name, value in more.items() if value})


@dataclass(frozen=True)
class Ablation:
    """A comparison.

    Attributes:
        title: heading of its page.
        question: what it asks, and what a reader must know to read the table.
        data: the folder it is meant for, named in the command on the page.
        base: settings of every row; ``network``, ``seed`` and what a row names are set row by row.
        rows: what is compared.
        seeds: how often each row is trained; the seed draws weights, batches and the cases kept aside.
        finding: what came out, in words; shown once every row was run.
    """

    title: str
    question: str
    data: str
    base: TrainingConfig
    rows: tuple[Row, ...]
    seeds: int = 1
    finding: str = ""

    @property
    def steps(self) -> int:
        """Optimiser steps of a run."""
        return self.base.epochs * (self.base.epoch_slices // self.base.batch_size)

    def config(self, row: Row, seed: int) -> TrainingConfig:
        """Settings of one run."""
        return replace(self.base, network=row.network, seed=seed, **row.training)
