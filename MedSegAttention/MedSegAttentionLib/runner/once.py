"""The one run of a process: where it starts soonest."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

from ..data.result import RunStart, VolumeResult
from ..data.volume import VolumeImage

logger = logging.getLogger(__name__)


def run_once(volume: VolumeImage, **options: Any) -> VolumeResult:
    """Segment ``volume`` here where PyTorch is loaded, else in a worker process, which ends with the run.

    PyTorch and MRML take about a second each to load, and two modules of one process load one after the other: with a
    worker, the caller can load MRML meanwhile. The seconds of the result have one entry more, ``start``.

    Args:
        volume: see :func:`~.in_process.run`.
        options: ``task``, ``checkpoint``, ``settings``, ``on_slice``, ``is_cancelled``, ``on_cancel`` of the same.

    Raises:
        MedSegAttentionError: see :mod:`~..data.errors`.
    """
    begin = perf_counter()
    result = _runner()(volume, **options)
    stages = result.provenance["seconds"]
    start = perf_counter() - begin - sum(stages.values())
    result.provenance["seconds"] = {"start": round(max(0.0, start), 4), **stages}
    return result


def _runner() -> Callable[..., VolumeResult]:
    if "torch" not in sys.modules:
        return _run_in_worker
    from .in_process import run

    return run


def _run_in_worker(volume: VolumeImage, **options: Any) -> VolumeResult:
    from .background import BackgroundRunner, Patience

    runner = BackgroundRunner(patience=Patience(silence=math.inf))
    try:
        return runner.run(volume, **options, on_start=_warn)
    finally:
        runner.close()


def _warn(start: RunStart) -> None:
    for warning in start.warnings:
        logger.warning("%s", warning)  # the worker said so where nobody reads it
