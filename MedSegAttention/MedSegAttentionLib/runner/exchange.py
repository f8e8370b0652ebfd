"""What passes between the worker process and the one that started it.

Messages are JSON objects, one a line: requests (``run``, ``row``, ``want``, ``cancel``, ``load``) on the worker's
stdin, events (``ready``, ``started``, ``slice``, ``waiting``, ``done``, ``row``, ``error``, ``loaded``, ``unloaded``)
on its private copy of stdout. Arrays are ``.npy`` files in the folder of the run, mapped into the memory of both.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..data import errors
from ..data.card import AttentionMap
from ..data.errors import MedSegAttentionError, RunError
from ..data.labels import Code, Label
from ..data.result import AttentionVolume, RunStart, SliceResult, VolumeResult
from ..data.volume import VolumeImage
from ..inference.settings import RunSettings

VOLUME_FILE, LABELS_FILE = "volume.npy", "labels.npy"
CHUNK_BYTES = 16 << 20


def to_line(message: dict[str, Any]) -> bytes:
    """A message as it goes through the pipe."""
    return json.dumps(message).encode("ascii") + b"\n"


def from_line(line: bytes) -> dict[str, Any]:
    """The message of one line; ``ValueError`` when it is none."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError(f"not a message: {line[:80]!r}")
    return message


def write_array(path: Path, array: np.ndarray) -> None:
    """Write ``array`` as ``.npy`` piece by piece, so that other threads get their turn.

    Every byte is written, zeros too: mapping a file whose blocks are still to be found on a full disk ends the process.

    Raises:
        RunError: the disk is full or not writable.
    """
    rows = max(1, CHUNK_BYTES * len(array) // max(1, array.nbytes))
    try:
        with path.open("wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
            np.lib.format.write_array_header_1_0(file, header)
            for first in range(0, len(array), rows):
                file.write(np.ascontiguousarray(array[first : first + rows]).reshape(-1).view(np.uint8))
    except OSError as error:
        raise RunError(
            f"could not write {array.nbytes / 1e6:.1f} MB to the temporary folder '{path.parent}' ({error.strerror}). "
            "Free some space on that disk, or choose another temporary folder, and run again."
        ) from error


def write_volume(folder: Path, volume: VolumeImage) -> None:
    """Write the voxels; raises :class:`RunError` when there is no room on the disk."""
    write_array(folder / VOLUME_FILE, volume.array)


def write_room_for_labels(folder: Path, volume: VolumeImage) -> None:
    """Write the file that :func:`open_labels` maps, all zeros; raises as :func:`write_volume`."""
    write_array(folder / LABELS_FILE, np.broadcast_to(np.uint8(0), volume.array.shape[:3]))


def open_labels(folder: Path, writable: bool = False) -> np.ndarray:
    """``[K, J, I]`` uint8, mapped: what one process writes the other sees."""
    return np.load(folder / LABELS_FILE, mmap_mode="r+" if writable else "r")


def run_request(
    folder: Path, volume: VolumeImage, checkpoint: Path, settings: RunSettings, live: bool = False
) -> dict[str, Any]:
    """The request to segment the volume written to ``folder``; ``live``: the slices that are asked for, as they are."""
    return {
        "live": live,
        "request": "run",
        "folder": str(folder),
        "volume": {name: getattr(volume, name) for name in ("name", "modality", "has_scale", "notes", "doubts")}
        | {"ijk_to_ras": volume.ijk_to_ras.tolist()},
        "checkpoint": str(checkpoint),
        "settings": asdict(settings),
    }


def row_request(
    folder: Path,
    volume: VolumeImage,
    checkpoint: Path,
    settings: RunSettings,
    ras: tuple[float, float, float],
    map_name: str,
) -> dict[str, Any]:
    """The request for the attention of one position of the volume written to ``folder``."""
    point = {"ras": [float(value) for value in ras], "map": map_name}
    return run_request(folder, volume, checkpoint, settings) | {"request": "row"} | point


def want_request(slices: list[int] | None) -> dict[str, Any]:
    """The request to do these slices of a live run next, the last of them first; None for all that are left."""
    return {"request": "want", "slices": slices}


def load_request(checkpoint: Path) -> dict[str, Any]:
    """The request to have the network of a checkpoint in memory for the run to come."""
    return {"request": "load", "checkpoint": str(checkpoint)}


def requested_volume(request: dict[str, Any]) -> VolumeImage:
    """The volume of a request, its voxels mapped: copied only where they are changed."""
    values = request["volume"]
    array = np.load(Path(request["folder"]) / VOLUME_FILE, mmap_mode="c")
    texts = {name: tuple(values[name]) for name in ("notes", "doubts")}
    return VolumeImage(array, **{**values, **texts, "ijk_to_ras": np.array(values["ijk_to_ras"], float)})


def requested_settings(request: dict[str, Any]) -> RunSettings:
    """The settings of a request."""
    values = request["settings"]
    if not isinstance(values["attention"], bool):
        values = values | {"attention": tuple(values["attention"])}
    pairs = {
        "slices": tuple(values["slices"]) if values["slices"] else None,
        "box": tuple(tuple(pair) for pair in values["box"]) if values["box"] else None,
        "left_out": tuple(values["left_out"]),
    }
    return RunSettings(**values | pairs)


def slice_event(finished: SliceResult) -> dict[str, Any]:
    """The event that says which slice is done."""
    return {"event": "slice", "index": finished.index, "count": finished.count}


def started_event(start: RunStart) -> dict[str, Any]:
    """The event that says what the run will do."""
    return {"event": "started", **asdict(start)}


def run_start(event: dict[str, Any]) -> RunStart:
    """What :func:`started_event` was given."""
    return RunStart(event["count"], event["axis"], _labels(event["classes"]), tuple(event["warnings"]))


def done_event(folder: Path, result: VolumeResult) -> dict[str, Any]:
    """Write the attention of ``result`` to ``folder`` and describe the rest; its labels are there already."""
    return {
        "event": "done",
        "classes": [asdict(label) for label in result.classes],
        "attention": [_write_attention(folder, *item) for item in enumerate(result.attention.values())],
        "provenance": result.provenance,
        "slice_range": result.slice_range,
    }


def read_result(folder: Path, volume: VolumeImage, event: dict[str, Any]) -> VolumeResult:
    """The result that :func:`done_event` described, in memory: ``folder`` is needed no longer."""
    attention = [_read_attention(folder, item) for item in event["attention"]]
    return VolumeResult(
        name=volume.name,
        labels=np.load(folder / LABELS_FILE),
        ijk_to_ras=volume.ijk_to_ras,
        classes=_labels(event["classes"]),
        attention={item.map.name: item for item in attention},
        provenance=event["provenance"],
        slice_range=tuple(event["slice_range"]) if event["slice_range"] else None,
    )


def row_event(folder: Path, row: AttentionVolume, provenance: dict[str, Any]) -> dict[str, Any]:
    """Write the attention of one position to ``folder`` and describe it."""
    return {"event": "row", "attention": _write_attention(folder, 0, row), "provenance": provenance}


def read_row(folder: Path, event: dict[str, Any]) -> tuple[AttentionVolume, dict[str, Any]]:
    """What :func:`row_event` was given, in memory."""
    return _read_attention(folder, event["attention"]), event["provenance"]


def error_event(error: Exception, details: str) -> dict[str, Any]:
    """The event that says how a run failed."""
    kind = "DependencyError" if isinstance(error, ImportError) else type(error).__name__
    return {"event": "error", "type": kind, "message": str(error), "traceback": details}


def error_of(event: dict[str, Any]) -> MedSegAttentionError:
    """The error of an :func:`error_event`: of the same class where it is one of ours, else a :class:`RunError`."""
    kind = getattr(errors, event["type"], None)
    if kind is RunError:
        return RunError(event["message"], event["traceback"])
    if isinstance(kind, type) and issubclass(kind, MedSegAttentionError):
        return kind(event["message"])
    return RunError(
        f"Segmentation failed: {event['type']}: {event['message']}. Run again; if it fails again, report the details.",
        event["traceback"],
    )


def _write_attention(folder: Path, number: int, item: AttentionVolume) -> dict[str, Any]:
    file = f"attention-{number}.npy"  # its own name, which comes from a card, may be no name for a file
    write_array(folder / file, item.array)
    return {"map": asdict(item.map), "file": file, "ijk_to_ras": item.ijk_to_ras.tolist()}


def _read_attention(folder: Path, item: dict[str, Any]) -> AttentionVolume:
    attention_map = AttentionMap(**item["map"] | {"range": tuple(item["map"]["range"])})
    return AttentionVolume(attention_map, np.load(folder / item["file"]), np.array(item["ijk_to_ras"], float))


def _labels(values: list[dict[str, Any]]) -> tuple[Label, ...]:
    codes = ("category", "type", "type_modifier", "region", "region_modifier")
    return tuple(
        Label(
            **item
            | {"colour": tuple(item["colour"])}
            | {name: Code(**item[name]) if item[name] else None for name in codes}
        )
        for item in values
    )
