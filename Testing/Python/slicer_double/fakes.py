"""What tests put in place of a trained network, and how they look at a scene."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from MedSegAttentionLib.checkpoints.catalogue import read_card
from MedSegAttentionLib.data.card import AttentionMap, Card
from MedSegAttentionLib.data.errors import Cancelled
from MedSegAttentionLib.data.result import AttentionVolume, RunProgress, RunStart, SliceResult, VolumeResult
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.settings import RunSettings


def a_card(checkpoint: str, task: str) -> Card:
    return Card(
        id=checkpoint,
        version="1",
        task=task,
        title=f"{task} title",
        description=f"what {checkpoint} segments",
        modality="CT",
        network="unet",
        network_config={},
        in_channels=1,
        activation="sigmoid",
        labels=(),
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


def an_untrained_checkpoint(folder: Path) -> Card:
    """Write a whole checkpoint of a very small KLO-Net that segments nothing in particular, and give its card."""
    import torch
    from safetensors.torch import save

    from MedSegAttentionLib.networks import build_network

    torch.manual_seed(0)
    config = {"width": 8}
    weights = save(build_network("klo-net", in_channels=1, out_channels=1, **config).state_dict())
    maps = [AttentionMap(name, name, "", (0.0, 1.0)) for name in ("tau_stage4", "tau_bottleneck")]
    code = ["SCT", "41216001", "Prostate"]
    card = asdict(
        replace(
            a_card(folder.name, "prostate"),
            modality="MR",
            network="klo-net",
            network_config=config,
            intensity={"method": "zscore", "percentiles": [0.5, 99.5]},
            fit={"fit": "spacing", "mm": 1.0, "size": 32},
            expects={"minimum": [-10, None], "maximum": [None, 300]},
            attention=maps,
            weights_sha256=hashlib.sha256(weights).hexdigest(),
        )
    )
    card["labels"] = [{"name": "prostate", "colour": [230, 158, 140], "codes": {"category": code, "type": code}}]
    for path, content in (
        ("configs/metadata.json", json.dumps({"medsegattention": card}).encode()),
        ("models/model.safetensors", weights),
    ):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_bytes(content)
    return read_card(folder)


class FakeRunner:
    """Stands for ``runner.in_process`` and for a ``BackgroundRunner``: gives a prepared result, without a network.

    Attributes:
        result: what a run gives.
        calls: arguments of each run.
        errors: raised, one for each of the next runs.
        slices_per_poll: of runs in the background; by default all is done at the first poll.
        closed: whether the worker process would have been ended.
    """

    RunSettings = RunSettings

    def __init__(self, result: VolumeResult) -> None:
        self.result, self.calls, self.errors = result, [], []
        self.slices_per_poll, self.closed = 10**6, False
        self.warmed: list[Path | None] = []

    def run(
        self,
        volume: VolumeImage,
        *,
        task: str | None = None,
        checkpoint: str | None = None,
        settings: RunSettings = RunSettings(),  # noqa: B008 - frozen
        on_slice: Callable[[SliceResult], None] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        on_cancel: str = "discard",
        on_start: Callable[[RunStart], None] | None = None,
        labels: np.ndarray | None = None,
        while_waiting: Callable[[], None] | None = None,
    ) -> VolumeResult:
        self.calls.append({"volume": volume, "task": task, "checkpoint": checkpoint, "settings": settings})
        if self.errors:
            raise self.errors.pop(0)
        for index, plane in enumerate(self.result.labels):
            if on_slice:
                on_slice(SliceResult(index, len(self.result.labels), plane, {}))
            if is_cancelled and is_cancelled() and on_cancel == "discard":
                raise Cancelled("stopped; nothing was kept.")
        return self.result

    def start(
        self,
        volume: VolumeImage,
        *,
        task: str | None = None,
        checkpoint: str | None = None,
        settings: RunSettings = RunSettings(),  # noqa: B008 - frozen
        live: bool = False,
    ) -> FakeRun:
        self.calls.append({"volume": volume, "task": task, "checkpoint": checkpoint, "settings": settings})
        return FakeRun(self.result, self.errors.pop(0) if self.errors else None, self.slices_per_poll, live)

    def warm_up(self, checkpoint: Path | None = None) -> None:
        self.warmed.append(checkpoint)

    def close(self) -> None:
        self.closed = True

    def attention_row(
        self,
        volume: VolumeImage,
        ras: tuple[float, float, float],
        *,
        task: str | None = None,
        checkpoint: str | None = None,
        map: str = "stage4",  # noqa: A002 - the real one's name
        settings: RunSettings = RunSettings(),  # noqa: B008 - frozen
        is_cancelled: Callable[[], bool] = lambda: False,
        while_waiting: Callable[[], None] | None = None,
    ) -> tuple[AttentionVolume, dict[str, Any]]:
        self.calls.append({"ras": ras, "task": task, "checkpoint": checkpoint, "map": map, "settings": settings})
        if while_waiting:
            while_waiting()
        if is_cancelled():
            raise Cancelled("stopped; nothing was kept.")
        return next(iter(self.result.attention.values())), self.result.provenance


class FakeRun:
    """Stands for a ``BackgroundRun``: each poll finishes some slices; the end comes with the poll after the last."""

    def __init__(self, result: VolumeResult, error: Exception | None, step: int, live: bool = False) -> None:
        self._whole, self._outcome, self._step = result, error, step
        self._keep = False
        self._live, self._wanted = live, []
        self.done: list[int] = []
        self.count = len(result.labels)
        self.started = RunStart(self.count, 2, result.classes)
        self.labels = np.zeros_like(result.labels)

    @property
    def is_running(self) -> bool:
        return self._outcome is None

    @property
    def progress(self) -> RunProgress:
        return RunProgress(self.finished, self.count, 2.0 * (self.count - self.finished) if self.finished else None)

    def poll(self) -> bool:
        if self.is_running:
            last = self.finished == self.count or self._keep
            if self._live and not last:
                self._do([number for number in self._wanted if number not in self.done])
                return True
            self._do([number for number in range(self.count) if number not in self.done][: self._step])
            if last:
                self._outcome = replace(self._whole, slice_range=(0, self.finished - 1) if self._keep else None)
            elif self._step >= self.count:
                self._outcome = self._whole
        return self.is_running

    def _do(self, numbers: list[int]) -> None:
        for number in numbers:
            self.labels[number] = self._whole.labels[number]
            self.done.append(number)

    @property
    def finished(self) -> int:
        return len(self.done)

    def want(self, slices: list[int] | None) -> None:
        """As of a real live run: these next, or with None all that are left."""
        self._live = slices is not None
        self._wanted += slices or []

    def cancel(self, keep: bool = False) -> None:
        self._keep = keep
        if not keep and self.is_running:
            self._outcome = Cancelled("stopped; nothing was kept.")

    def result(self) -> VolumeResult:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


def nodes_of(scene: slicer.vtkMRMLScene, class_name: str) -> list[slicer.vtkMRMLNode]:
    return [scene.GetNthNodeByClass(n, class_name) for n in range(scene.GetNumberOfNodesByClass(class_name))]


def add_noise(scene: slicer.vtkMRMLScene, name: str, class_name: str = "vtkMRMLScalarVolumeNode") -> Any:
    shape = (1, 8, 8, 3) if "Vector" in class_name else (3, 8, 8)
    values = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    return slicer.util.addVolumeFromArray(values, name=name, nodeClassName=class_name)
