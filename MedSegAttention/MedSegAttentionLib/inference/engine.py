"""One run: a volume in, one result a slice while it goes, the whole volume at the end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from time import perf_counter
from typing import Any

import numpy as np
from torch import Tensor

from ..checkpoints.loading import Checkpoint
from ..data.card import AttentionMap
from ..data.findings import border_findings
from ..data.result import AttentionVolume, RunStart, SliceResult, VolumeResult
from ..data.volume import VolumeImage
from ..networks.contract import SegmentationOutput
from .attention_maps import input_volume, native_volume
from .postprocessing import postprocess
from .prediction import Predictor
from .preparation import prepare
from .presence import presence_scores
from .settings import RunSettings

logger = logging.getLogger(__name__)

ONE_PIECE = 2
"""A canvas of up to this many times the trained side is predicted in one piece: the networks have no position code, and
four overlapping tiles would cost more and see less."""


class SegmentationRun:
    """Segments one volume; iterate over it to do the work, then ask for :meth:`result`.

    Args:
        volume: any orientation, oblique or not; one slice or a thousand.
        checkpoint: what to run.
        settings: choices of the user.
        labels: ``[K, J, I]`` uint8 of zeros, filled slice by slice; None for a new array.

    Raises:
        InputError: the volume or a setting cannot be used.
        InputError: the settings ask for mirror images and the card allows none.
        ContractWarning: the volume lies outside what the checkpoint was trained on, and ``settings.force`` is off.
    """

    def __init__(
        self, volume: VolumeImage, checkpoint: Checkpoint, settings: RunSettings, labels: np.ndarray | None = None
    ) -> None:
        begin = perf_counter()
        self.maps, mirrors = settings.maps(checkpoint.card), settings.mirrors(checkpoint.card)
        self.prepared = prepare(volume, checkpoint, settings)
        for warning in self.prepared.warnings:
            logger.warning("%s", warning)
        tile = ONE_PIECE * int(checkpoint.card.fit["size"])
        self.predictor = Predictor(checkpoint.network, settings.device, settings.batch_size, tile, mirrors)
        self.labels = np.zeros(self.prepared.volume.array.shape[:3], np.uint8) if labels is None else labels
        self.attention: dict[str, list[np.ndarray]] = {item.name: [] for item in self.maps}
        self.presence: list[list[float]] = []
        self.done = 0
        self.seconds = {"prepare": perf_counter() - begin, "network": 0.0, "slices": 0.0, "assemble": 0.0}

    @property
    def start(self) -> RunStart:
        """What the run is going to do."""
        plan = self.prepared.plan
        return RunStart(plan.shape[0], plan.axes[0], self.prepared.card.labels)

    def __iter__(self) -> Iterator[SliceResult]:
        """Segment the slices in order; stop iterating to cancel."""
        prepared, count = self.prepared, self.prepared.plan.shape[0]
        written = prepared.plan.view(self.labels)
        while self.done < count:
            begin = perf_counter()
            canvases = prepared.canvases(self.done, self.predictor.batch_size)
            before_network = perf_counter()
            output = self.predictor.predict(canvases)
            network = perf_counter() - before_network
            absent = self._absent(output)
            results = []
            for offset, logits in enumerate(output.logits):
                labels = _labels_of(prepared.fit.from_canvas(logits[None]))
                labels[np.isin(labels, absent[offset])] = 0
                blank = prepared.is_blank(self.done)
                written[self.done][prepared.fit.content] = 0 if blank else labels
                maps = {item.name: output.attention[item.name][offset, 0].numpy() for item in self.maps}
                for name, values in maps.items():
                    self.attention[name].append(values)
                results.append(SliceResult(self.done, count, written[self.done].copy(), maps))
                self.done += 1
            self.seconds["network"] += network
            self.seconds["slices"] += perf_counter() - begin - network
            yield from results

    def _absent(self, output: SegmentationOutput) -> list[list[int]]:
        """For each slice the values of the classes that the card's presence score says are not in it."""
        how = self.prepared.card.presence
        if not how:
            return [[] for _ in output.logits]
        scores = presence_scores(output, how)
        self.presence += scores.tolist()
        return [
            [value for value, score in enumerate(row, start=1) if score < how["thresholds"][value - 1]]
            for row in scores.tolist()
        ]

    def result(self) -> VolumeResult:
        """The volume as far as it was segmented, post-processed; at least one slice must be done."""
        begin = perf_counter()
        prepared = self.prepared
        postprocess(self.labels, prepared.card.postprocessing)
        attention = {item.name: self._attention_volume(item) for item in self.maps}
        self.seconds["assemble"] += perf_counter() - begin
        complete = self.done == prepared.plan.shape[0]
        return VolumeResult(
            name=prepared.volume.name,
            labels=self.labels,
            ijk_to_ras=prepared.volume.ijk_to_ras,
            classes=prepared.card.labels,
            attention=attention,
            provenance=self._provenance(),
            slice_range=None if complete else (0, self.done - 1),
        )

    def _attention_volume(self, item: AttentionMap) -> AttentionVolume:
        maps, prepared = np.stack(self.attention[item.name]), self.prepared
        if prepared.settings.attention_grid == "input":
            return input_volume(item, maps, prepared.plan, prepared.fit, 0, prepared.volume)
        return native_volume(item, maps, prepared.plan, prepared.fit, 0)

    def _provenance(self) -> dict[str, Any]:
        present = set(np.unique(self.labels).tolist())
        known = self.prepared.provenance()
        return known | {
            "device": self.predictor.device.type,
            "precision": self.predictor.precision,
            "batch_size": self.predictor.batch_size,
            "slices": [self.done, self.prepared.plan.shape[0]],
            "attention_positions": {item.name: self.attention[item.name][0].size for item in self.maps},
            "not_found": [label.name for label in self.prepared.card.labels if label.value not in present],
            "findings": border_findings(
                self.prepared.plan.view(self.labels), self.prepared.content, self.prepared.card.labels
            ),
            "presence": self._presence(),
            "warnings": [*known["warnings"], *self.predictor.warnings],
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
        }

    def _presence(self) -> dict[str, list[float]]:
        """Class name -> its presence score in each finished slice; empty where the card has none."""
        by_class = zip(self.prepared.card.labels, zip(*self.presence, strict=True), strict=False)
        return {label.name: [round(score, 4) for score in scores] for label, scores in by_class}


def _labels_of(logits: Tensor) -> np.ndarray:
    """``[1, K, rows, columns]`` logits to ``[rows, columns]`` uint8: sigmoid of one channel, else softmax."""
    if logits.shape[1] == 1:
        return (logits[0, 0] > 0).byte().numpy()
    return logits[0].argmax(0).byte().numpy()
