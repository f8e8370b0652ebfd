"""What the network says of the slices of a volume, smoothed over those below and above where the card asks for it."""

from __future__ import annotations

import numpy as np
import torch

from ..networks.contract import SegmentationOutput
from .prediction import Predictor, joined
from .preparation import PreparedVolume
from .slicing import with_adjacent


class SliceOutputs:
    """The outputs of slices, in any order; each slice is predicted once as long as they are asked for in order.

    The logits of a slice are the weighted mean of its own and those of the slices below and above at the distance that
    the card's ``smoothing`` says; its attention maps and its presence are its own.

    Args:
        prepared: the volume.
        predictor: of the checkpoint.
    """

    def __init__(self, prepared: PreparedVolume, predictor: Predictor) -> None:
        self._prepared, self._predictor = prepared, predictor
        self._known: dict[int, SegmentationOutput] = {}

    def of(self, first: int, count: int) -> SegmentationOutput:
        """Those of ``count`` slices from number ``first`` on, or fewer at the end: ``[B, ...]``, float32 on the CPU."""
        prepared, how = self._prepared, self._prepared.card.smoothing
        if not how:
            return self._predictor.predict(prepared.canvases(first, count))
        numbers = np.arange(first, min(first + count, prepared.plan.shape[0]))
        below, own, above = with_adjacent(numbers, prepared.plan, how["mm"], prepared.content[0])
        self._predict(np.unique([below, own, above]))
        parts = joined([self._known[number] for number in own])
        beside = [torch.cat([self._known[number].logits for number in numbers]) for numbers in (below, above)]
        logits = (parts.logits + how["weight"] * (beside[0] + beside[1])) / (1 + 2 * how["weight"])
        return SegmentationOutput(logits, parts.attention, presence=parts.presence)

    def _predict(self, numbers: np.ndarray) -> None:
        """Have the outputs of these slices, and no others that lie outside of them."""
        self._known = {n: output for n, output in self._known.items() if numbers[0] <= n <= numbers[-1]}
        missing = [int(number) for number in numbers if number not in self._known]
        for run in np.split(missing, np.flatnonzero(np.diff(missing) != 1) + 1) if missing else []:
            output = self._predictor.predict(self._prepared.canvases(int(run[0]), len(run)))
            self._known.update(zip(run.tolist(), _one_by_one(output), strict=True))


def _one_by_one(output: SegmentationOutput) -> list[SegmentationOutput]:
    return [
        SegmentationOutput(
            output.logits[n : n + 1].clone(),
            {name: maps[n : n + 1].clone() for name, maps in output.attention.items()},
            presence=None if output.presence is None else output.presence[n : n + 1].clone(),
        )
        for n in range(len(output.logits))
    ]
