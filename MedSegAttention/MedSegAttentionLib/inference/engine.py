"""One run: a volume in, one result a slice while it goes, the whole volume at the end."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timezone
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..checkpoints.loading import Checkpoint
from ..data.result import AttentionVolume, SliceResult, VolumeResult
from ..data.volume import VolumeImage
from .attention_maps import input_volume, native_volume
from .contract import accept
from .fitting import plan_fit
from .intensity import measure
from .postprocessing import postprocess
from .prediction import Predictor
from .settings import RunSettings
from .slicing import AXIS_NAMES, plan_slices

ONE_PIECE = 2
"""A canvas of up to this many times the trained side is predicted in one piece: the networks have no position code, and
four overlapping tiles would cost more and see less."""


class SegmentationRun:
    """Segments one volume; iterate over it to do the work, then ask for :meth:`result`.

    Args:
        volume: any orientation, oblique or not; one slice or a thousand.
        checkpoint: what to run.
        settings: choices of the user.

    Raises:
        InputError: the volume or a setting cannot be used.
        ContractWarning: the volume lies outside what the checkpoint was trained on, and ``settings.force`` is off.
    """

    def __init__(self, volume: VolumeImage, checkpoint: Checkpoint, settings: RunSettings) -> None:
        begin = perf_counter()
        card = checkpoint.card
        self.volume, self.warnings = accept(volume, card, settings.force)
        self.card, self.settings, self.maps = card, settings, settings.maps(card)
        self.plan = plan_slices(self.volume, card.orientation, settings.axis)
        self.warnings += [self.plan.warning] if self.plan.warning else []
        stride = checkpoint.network.stride
        self.fit = plan_fit(self.plan.shape[1:], self.plan.spacing[1:], card.fit, stride)
        self.predictor = Predictor(
            checkpoint.network, settings.device, settings.batch_size, ONE_PIECE * int(card.fit["size"])
        )
        self.normalise = measure(self.volume.array, card.intensity)
        self.labels = np.zeros(self.volume.array.shape[:3], np.uint8)
        self.attention: dict[str, list[np.ndarray]] = {item.name: [] for item in self.maps}
        self.done = 0
        self.seconds = {"prepare": perf_counter() - begin, "network": 0.0, "slices": 0.0, "assemble": 0.0}

    def __iter__(self) -> Iterator[SliceResult]:
        """Segment the slices in order; stop iterating to cancel."""
        slices, written, count = self.plan.view(self.volume.array), self.plan.view(self.labels), self.plan.shape[0]
        while self.done < count:
            begin = perf_counter()
            batch = slices[self.done : self.done + self.predictor.batch_size]
            canvases = self.fit.to_canvas(as_tensor(self.normalise(batch)))
            before_network = perf_counter()
            output = self.predictor.predict(canvases)
            after_network = perf_counter()
            results = []
            for offset, logits in enumerate(output.logits):
                written[self.done] = _labels_of(self.fit.from_canvas(logits[None]))
                maps = {item.name: output.attention[item.name][offset, 0].numpy() for item in self.maps}
                for name, values in maps.items():
                    self.attention[name].append(values)
                results.append(SliceResult(self.done, count, written[self.done].copy(), maps))
                self.done += 1
            self.seconds["network"] += after_network - before_network
            self.seconds["slices"] += perf_counter() - begin - (after_network - before_network)
            yield from results

    def result(self) -> VolumeResult:
        """The volume as far as it was segmented, post-processed; at least one slice must be done."""
        begin = perf_counter()
        postprocess(self.labels, self.card.postprocessing)
        attention = {item.name: self._attention_volume(item) for item in self.maps if self.attention[item.name]}
        self.seconds["assemble"] += perf_counter() - begin
        complete = self.done == self.plan.shape[0]
        return VolumeResult(
            name=self.volume.name,
            labels=self.labels,
            ijk_to_ras=self.volume.ijk_to_ras,
            classes=self.card.labels,
            attention=attention,
            provenance=self._provenance(),
            slice_range=None if complete else (0, self.done - 1),
        )

    def _attention_volume(self, item: Any) -> AttentionVolume:
        maps = np.stack(self.attention[item.name])
        if self.settings.attention_grid == "input":
            return input_volume(item, maps, self.plan, self.fit, 0, self.volume)
        return native_volume(item, maps, self.plan, self.fit, 0)

    def _provenance(self) -> dict[str, Any]:
        present = set(np.unique(self.labels).tolist())
        return {
            "software": "MedSegAttention",
            "version": __version__,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "volume": self.volume.name,
            "task": self.card.task,
            "checkpoint": self.card.id,
            "checkpoint_version": self.card.version,
            "weights_sha256": self.card.weights_sha256,
            "device": self.predictor.device.type,
            "precision": self.predictor.precision,
            "batch_size": self.predictor.batch_size,
            "slice_axis": AXIS_NAMES[self.plan.axes[0]],
            "slices": [self.done, self.plan.shape[0]],
            "settings": asdict(self.settings),
            "display_window": [self.normalise.low, self.normalise.high] if self.card.in_channels == 1 else None,
            "not_found": [label.name for label in self.card.labels if label.value not in present],
            "warnings": [*self.warnings, *self.predictor.warnings],
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        }


def as_tensor(slices: np.ndarray) -> Tensor:
    """``[B, rows, columns]`` or ``[B, rows, columns, C]`` to ``[B, C, rows, columns]`` float32."""
    ordered = slices[:, None] if slices.ndim == 3 else slices.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(ordered))


def _labels_of(logits: Tensor) -> np.ndarray:
    """``[1, K, rows, columns]`` logits to ``[rows, columns]`` uint8: sigmoid of one channel, else softmax."""
    if logits.shape[1] == 1:
        return (logits[0, 0] > 0).byte().numpy()
    return logits[0].argmax(0).byte().numpy()
