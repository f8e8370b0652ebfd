"""Inference in this process: blocking, with progress and cancel by callback."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..checkpoints.catalogue import WEIGHTS_FILE, choose_checkpoint
from ..checkpoints.loading import Checkpoint, load_checkpoint
from ..data.errors import Cancelled, UsageError
from ..data.result import AttentionVolume, RunStart, SliceResult, VolumeResult
from ..data.volume import VolumeImage
from ..inference.devices import free_all_memory
from ..inference.engine import SegmentationRun
from ..inference.rows import attention_row_volume
from ..inference.settings import RunSettings

__all__ = ["RunSettings", "attention_row", "load", "run", "unload"]


def run(
    volume: VolumeImage,
    *,
    task: str | None = None,
    checkpoint: str | Path | None = None,
    settings: RunSettings = RunSettings(),  # noqa: B008 - frozen
    on_slice: Callable[[SliceResult], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
    on_cancel: str = "discard",
    on_start: Callable[[RunStart], None] | None = None,
    labels: np.ndarray | None = None,
    wanted: Callable[[], int | None] | None = None,
) -> VolumeResult:
    """Segment ``volume``.

    Args:
        volume: what to segment.
        task: of :func:`~..data.task.task_names`; may be None when ``checkpoint`` is given.
        checkpoint: ID or folder; None lets task and volume decide.
        settings: choices of the run.
        on_slice: called with each finished slice.
        is_cancelled: asked after each slice.
        on_cancel: ``"discard"`` raises :class:`Cancelled`, ``"keep"`` returns the finished slices.
        on_start: called once, when the volume is accepted and the network loaded.
        labels: ``[K, J, I]`` uint8 of zeros that the labels are written into as slices finish; None for a new array.
        wanted: for a live run: waits for the next slice that somebody looks at and gives its number, or None once all
            that are left are to be done, or the run was cancelled.

    Raises:
        MedSegAttentionError: see :mod:`~..data.errors`.
    """
    if on_cancel not in ("discard", "keep"):
        raise UsageError(f"on_cancel '{on_cancel}' is not known; expected discard or keep.")
    begin = perf_counter()
    loaded = _loaded(choose_checkpoint(task, volume, checkpoint))
    seconds = {"load": round(perf_counter() - begin, 4)}
    segmentation = SegmentationRun(volume, loaded, settings, labels)
    if on_start:
        on_start(segmentation.start)
    stopped = False
    for finished in _slices(segmentation, wanted, is_cancelled):
        if on_slice:
            on_slice(finished)
        if stopped := bool(is_cancelled and is_cancelled()):
            break
    stopped = stopped or bool(segmentation.pending)  # a live run may be stopped between two slices
    if stopped and (on_cancel == "discard" or not segmentation.done):
        count = len(segmentation.wanted)
        raise Cancelled(f"stopped after {len(segmentation.done)} of {count} slices; nothing was kept.")
    result = segmentation.result()
    result.provenance["seconds"] = seconds | result.provenance["seconds"]
    return result


def _slices(
    segmentation: SegmentationRun,
    wanted: Callable[[], int | None] | None,
    is_cancelled: Callable[[], bool] | None,
) -> Iterator[SliceResult]:
    """Those that are asked for, none of them twice; then the rest in order, unless the run was cancelled."""
    while wanted and segmentation.pending and (number := wanted()) is not None:
        if number in segmentation.pending:
            yield from segmentation.segment(number)
    if not (wanted and is_cancelled and is_cancelled()):
        yield from segmentation


def load(checkpoint: str | Path) -> None:
    """Have the network of a checkpoint in memory for the run to come."""
    _loaded(Path(checkpoint))


def attention_row(
    volume: VolumeImage,
    ras: tuple[float, float, float],
    *,
    task: str | None = None,
    checkpoint: str | Path | None = None,
    map: str = "stage4",  # noqa: A002 - the name users' scripts rely on
    settings: RunSettings = RunSettings(),  # noqa: B008 - frozen
) -> tuple[AttentionVolume, dict[str, Any]]:
    """Attention of the position at ``ras`` (mm) to all others of its slice, as a volume of one slice; its provenance.

    Args:
        volume: what the attention is about.
        ras: a point inside it.
        task: as in :func:`run`.
        checkpoint: as in :func:`run`.
        map: an attention stage (``stage4``, ``bottleneck``) or the name of a map of it (``tau_stage4``).
        settings: device, axis and force count.

    Raises:
        InputError: the point lies outside the volume, or there is no such stage.
    """
    return attention_row_volume(volume, ras, _loaded(choose_checkpoint(task, volume, checkpoint)), map, settings)


def unload() -> None:
    """Let go of the network and give the device's memory back; the next run loads it again."""
    _load.cache_clear()
    gc.collect()
    free_all_memory()


def _loaded(folder: Path) -> Checkpoint:
    """The checkpoint in ``folder``; the last one stays in memory while its weights file is unchanged."""
    weights = folder / WEIGHTS_FILE
    return _load(folder, weights.stat().st_mtime_ns if weights.is_file() else 0)


@lru_cache(maxsize=1)
def _load(folder: Path, _modified: int) -> Checkpoint:
    return load_checkpoint(folder)
