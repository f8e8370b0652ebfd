"""One run: a volume in, one result a slice while it goes, the whole volume at the end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checkpoints.loading import Checkpoint
from ..data.card import UNCERTAINTY, AttentionMap, probability_map
from ..data.errors import ContractWarning
from ..data.result import AttentionVolume, RunStart, SliceResult, VolumeResult
from ..data.volume import VolumeImage
from ..networks.contract import SegmentationOutput
from .attention_maps import input_volume, native_volume
from .familiarity import description, distance
from .judgement import judgement
from .likeness import nearest_kind
from .limits import as_json, outside_box, told, wanted_slices
from .outputs import SliceOutputs
from .postprocessing import postprocess
from .prediction import Predictor
from .preparation import prepare
from .presence import presence_scores
from .probabilities import entropy, log_probabilities
from .quality import slice_sums
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
        tile = ONE_PIECE * int(checkpoint.card.fit["size"])
        self.predictor = Predictor(checkpoint.network, settings.device, settings.batch_size, tile, mirrors)
        self.outputs = SliceOutputs(self.prepared, self.predictor)
        self.warnings = list(self.prepared.warnings)
        self.distance = self._judge_kind(checkpoint)
        for warning in self.warnings:
            logger.warning("%s", warning)
        self.labels = np.zeros(self.prepared.volume.array.shape[:3], np.uint8) if labels is None else labels
        self.wanted = wanted_slices(settings, self.prepared.plan)
        self._left_out = settings.left_out_values(checkpoint.card)
        probable = {probability_map(label).name: label.value for label in checkpoint.card.labels}
        self._probable = {item.name: probable[item.name] for item in self.maps if item.name in probable}
        self._outside = outside_box(settings, self.prepared.volume)
        self.attention: dict[int, dict[str, np.ndarray]] = {}
        self._stacks: dict[str, np.ndarray] = {}
        self.presence: dict[int, list[float]] = {}
        self.sums: dict[int, np.ndarray] = {}
        self._sums = np.zeros((self.prepared.plan.shape[0], len(checkpoint.card.labels), 3))
        self.seconds = {"prepare": perf_counter() - begin, "network": 0.0, "slices": 0.0, "assemble": 0.0}

    def _judge_kind(self, checkpoint: Checkpoint) -> float | None:
        """The distance of the volume from the training images; a :class:`ContractWarning` where it is too large."""
        card, prepared = checkpoint.card, self.prepared
        if not checkpoint.familiar:
            return None
        found = distance(description(self.predictor.network, prepared, self.predictor.device), checkpoint.familiar)
        if found > card.familiar["threshold"]:
            text = (
                f"'{prepared.volume.name}' looks unlike the images that '{card.id}' was trained on (distance "
                f"{found:.2f}; nearly all images like those lie below {card.familiar['threshold']:.2f}). Expected: "
                f"{card.description}"
            )
            if not prepared.settings.force:
                nearest = nearest_kind(prepared.volume, card, self.predictor.device)
                raise ContractWarning(f"{text} {nearest}Use another volume or checkpoint, or run anyway (force).")
            self.warnings.append(text)
        return found

    @property
    def start(self) -> RunStart:
        """What the run is going to do."""
        plan = self.prepared.plan
        classes = tuple(label for label in self.prepared.card.labels if label.value not in self._left_out)
        return RunStart(len(self.wanted), plan.axes[0], classes, tuple(self.warnings))

    @property
    def done(self) -> list[int]:
        """Numbers of the finished slices, ascending."""
        return sorted(self.attention)

    @property
    def pending(self) -> list[int]:
        """Numbers of the slices still to do, ascending."""
        return [number for number in self.wanted if number not in self.attention]

    def __iter__(self) -> Iterator[SliceResult]:
        """Segment the slices that are not done yet, in order; stop iterating to cancel."""
        while pending := self.pending:
            stop = next((n for n, number in enumerate(pending) if number != pending[0] + n), len(pending))
            yield from self.segment(pending[0], min(stop, self.predictor.batch_size))

    def segment(self, first: int, count: int = 1) -> list[SliceResult]:
        """Segment ``count`` slices from number ``first`` on, at once; done ones are done anew."""
        prepared, results = self.prepared, []
        written = prepared.plan.view(self.labels)
        begin = perf_counter()
        output = self.outputs.of(first, count)
        network = perf_counter() - begin
        absent = self._absent(output, first)
        outside = None if self._outside is None else prepared.plan.view(self._outside)
        given = {item.name: output.attention[item.name][:, 0] for item in self.maps if item.name in output.attention}
        logarithms = log_probabilities(output.logits, prepared.card.temperature)
        probabilities, kept = logarithms.exp(), logarithms.argmax(1)
        if UNCERTAINTY in self.maps:
            given[UNCERTAINTY.name] = entropy(probabilities, logarithms)
        for labels, unwanted in zip(kept, absent, strict=True):
            labels[torch.isin(labels, torch.tensor([*unwanted, *self._left_out]))] = 0
        for number, sums in enumerate(slice_sums(probabilities, kept), start=first):
            self._sums[number] = sums
            self.sums[number] = self._sums[number]
        for offset, logits in enumerate(output.logits):
            number = first + offset
            on_slice = prepared.fit.from_canvas(logits[None])
            labels = _labels_of(on_slice)
            labels[np.isin(labels, [*absent[offset], *self._left_out])] = 0
            written[number][prepared.fit.content] = 0 if prepared.is_blank(number) else labels
            if outside is not None:
                written[number][outside[number]] = 0
            own = {name: values[offset].numpy() for name, values in given.items()} | self._probabilities(on_slice)
            self.attention[number] = {item.name: self._kept(item.name, number, own[item.name]) for item in self.maps}
            maps, of = self.attention[number], (len(self.wanted), len(self.attention))
            results.append(SliceResult(number, of[0], written[number].copy(), maps, of[1]))
        self.seconds["network"] += network
        self.seconds["slices"] += perf_counter() - begin - network
        return results

    def _kept(self, name: str, number: int, values: np.ndarray) -> np.ndarray:
        """A map of a slice, in its place in one array for all slices, as its sums are.

        Small arrays of their own, made between the large ones that come and go, would keep the memory of those in use.
        """
        if name not in self._stacks:
            self._stacks[name] = np.zeros((self.prepared.plan.shape[0], *values.shape), values.dtype)
        self._stacks[name][number] = values
        return self._stacks[name][number]

    def _probabilities(self, logits: Tensor) -> dict[str, np.ndarray]:
        """The maps asked for on the grid of the slice, ``[rows, columns]`` float16; 0 outside its content."""
        if not self._probable:
            return {}
        values = log_probabilities(logits, self.prepared.card.temperature)[0].exp()
        maps = {name: np.zeros(self.prepared.plan.shape[1:], np.float16) for name in self._probable}
        for name, value in self._probable.items():
            maps[name][self.prepared.fit.content] = values[value].numpy()
        return maps

    def _absent(self, output: SegmentationOutput, first: int) -> list[list[int]]:
        """For each slice the values of the classes that the card's presence score says are not in it."""
        how = self.prepared.card.presence
        if not how:
            return [[] for _ in output.logits]
        scores = presence_scores(output, how)
        self.presence.update(enumerate(scores.tolist(), start=first))
        return [
            [value for value, score in enumerate(row, start=1) if score < how["thresholds"][value - 1]]
            for row in scores.tolist()
        ]

    def result(self) -> VolumeResult:
        """The volume as far as it was segmented, post-processed; at least one slice must be done."""
        begin = perf_counter()
        prepared = self.prepared
        postprocess(self.labels, prepared.card.postprocessing)
        done = self.done
        whole = done == list(range(done[0], done[-1] + 1))  # maps with holes would not be a volume
        attention = {item.name: self._attention_volume(item, done) for item in self.maps} if whole else {}
        self.seconds["assemble"] += perf_counter() - begin
        return VolumeResult(
            name=prepared.volume.name,
            labels=self.labels,
            ijk_to_ras=prepared.volume.ijk_to_ras,
            classes=self.start.classes,
            attention=attention,
            provenance=self._provenance(),
            slice_range=(done[0], done[-1]) if self.pending else None,
        )

    def _attention_volume(self, item: AttentionMap, done: list[int]) -> AttentionVolume:
        maps, prepared = self._stacks[item.name][done[0] : done[-1] + 1], self.prepared
        if item.name in self._probable:
            array = np.zeros(self.labels.shape, maps.dtype)
            prepared.plan.view(array)[done[0] : done[-1] + 1] = maps
            return AttentionVolume(item, array, prepared.volume.ijk_to_ras)
        if prepared.settings.attention_grid == "input":
            return input_volume(item, maps, prepared.plan, prepared.fit, done[0], prepared.volume)
        return native_volume(item, maps, prepared.plan, prepared.fit, done[0])

    def _provenance(self) -> dict[str, Any]:
        present = set(np.unique(self.labels).tolist())
        known, classes, done = self.prepared.provenance(), self.start.classes, self.done
        count = self.prepared.plan.shape[0]
        limits = as_json(self.prepared.settings, self.wanted, count)
        return known | {
            "device": self.predictor.device.type,
            "precision": self.predictor.precision,
            "batch_size": self.predictor.batch_size,
            "slices": [len(done), len(self.wanted)],
            "slices_done": None if len(done) == count else done,
            "partial": bool(self.pending),
            "left_out": limits,
            "attention_positions": {item.name: self.attention[done[0]][item.name].size for item in self.maps},
            "not_found": [label.name for label in classes if label.value not in present],
            **judgement(self.prepared, self.labels, classes, self.sums),
            "presence": self._presence(),
            "distance": None if self.distance is None else round(self.distance, 3),
            "warnings": [
                *self.warnings,
                *told(self.prepared.settings, self.wanted, count),
                *self.predictor.warnings,
            ],
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
        }

    def _presence(self) -> dict[str, list[float]]:
        """Class name -> its presence score in each finished slice, ascending; empty where the card has none."""
        scores = [self.presence[number] for number in sorted(self.presence)]
        by_class = zip(self.prepared.card.labels, zip(*scores, strict=True), strict=False)
        return {label.name: [round(score, 4) for score in values] for label, values in by_class}


def _labels_of(logits: Tensor) -> np.ndarray:
    """``[1, K, rows, columns]`` logits to ``[rows, columns]`` uint8: sigmoid of one channel, else softmax."""
    if logits.shape[1] == 1:
        return (logits[0, 0] > 0).byte().numpy()
    return logits[0].argmax(0).byte().numpy()
