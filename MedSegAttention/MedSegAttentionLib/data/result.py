"""What inference hands over: what it will do, one slice at a time, and the whole volume at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .card import AttentionMap
from .labels import Label


@dataclass(frozen=True)
class RunStart:
    """A run that is about to do its first slice.

    Attributes:
        count: number of slices.
        axis: 0, 1 or 2 for i, j or k: the index axis slices are cut along; slice n is plane n of it.
        classes: the classes the checkpoint knows.
        warnings: what is to be known before it is trusted.
    """

    count: int
    axis: int
    classes: tuple[Label, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunProgress:
    """How far a run is.

    Attributes:
        finished: number of finished slices.
        count: number of slices, or 0 while the network is being loaded.
        seconds_left: None until the first slices say how long one takes.
    """

    finished: int
    count: int
    seconds_left: float | None = None


@dataclass(frozen=True)
class SliceResult:
    """One finished slice.

    Attributes:
        index: number of the slice along the slice axis of the run, from 0.
        count: number of slices of the run.
        labels: ``[rows, columns]`` uint8 in the reading direction of the run (see ``SlicePlan``); 0 is background.
        attention: map name -> ``[h, w]`` float32 on the map's own grid.
        finished: how many slices are done with this one; 0 where they come in order, from the first on.
    """

    index: int
    count: int
    labels: np.ndarray
    attention: dict[str, np.ndarray]
    finished: int = 0

    @property
    def progress(self) -> RunProgress:
        """How far the run is with this slice."""
        return RunProgress(self.finished or self.index + 1, self.count)


@dataclass(frozen=True)
class AttentionVolume:
    """One attention map of a whole volume.

    Attributes:
        map: what it is.
        array: ``[K, J, I]``, raw values in ``map.range``; float32, and float16 of probabilities.
        ijk_to_ras: ``[4, 4]``; its own exact geometry in the input's coordinate system.
    """

    map: AttentionMap
    array: np.ndarray
    ijk_to_ras: np.ndarray


@dataclass(frozen=True)
class VolumeResult:
    """The outcome of a run.

    Attributes:
        name: of the input volume.
        labels: ``[K, J, I]`` uint8 on the input's own grid; 0 is background, otherwise ``Label.value``.
        ijk_to_ras: ``[4, 4]`` of the input, unchanged.
        classes: the classes the checkpoint knows, present here or not.
        attention: map name -> volume.
        provenance: JSON-ready: checkpoint, SHA-256, versions, device, seconds by stage, settings, warnings.
        slice_range: (first, last) finished slice when the run was cancelled and kept, else None.
    """

    name: str
    labels: np.ndarray
    ijk_to_ras: np.ndarray
    classes: tuple[Label, ...]
    attention: dict[str, AttentionVolume] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    slice_range: tuple[int, int] | None = None

    @property
    def partial(self) -> bool:
        """Whether the run was cancelled before the last slice."""
        return self.slice_range is not None

    @property
    def finished(self) -> list[tuple[int, int]]:
        """(first, last) of each stretch of finished slices of a partial result: a live run may leave several."""
        if not self.partial:
            return []
        first, last = self.slice_range
        stretches: list[tuple[int, int]] = []
        for number in self.provenance.get("slices_done") or range(first, last + 1):
            begun = stretches.pop() if stretches and number == stretches[-1][1] + 1 else (number, number)
            stretches.append((begun[0], number))
        return stretches

    def found(self) -> list[dict[str, Any]]:
        """Each class, in their order, JSON-ready.

        ``{"name", "value", "voxels", "ml", "expected_dice", "expected_dice_interval", "findings"}``.
        ``ml`` is None where there is no volume to speak of: a single slice has an area, and pictures have no scale.
        ``expected_dice`` and its interval are None where the checkpoint has nothing to tell them from.
        """
        counts = sum(np.bincount(plane.ravel(), minlength=256) for plane in self.labels)  # at once: 8 bytes a voxel
        voxel_ml = abs(float(np.linalg.det(self.ijk_to_ras[:3, :3]))) / 1000
        has_scale = self.provenance.get("has_scale", True) and self.provenance.get("display_window", ()) is not None
        has_volume = has_scale and 1 not in self.labels.shape
        return [
            {
                "name": label.name,
                "value": label.value,
                "voxels": int(counts[label.value]),
                "ml": round(int(counts[label.value]) * voxel_ml, 4) if has_volume else None,
                "expected_dice": self._expected(label).get("dice"),
                "expected_dice_interval": self._expected(label).get("interval"),
                "findings": self.provenance.get("findings", {}).get(label.name, []),
            }
            for label in self.classes
        ]

    def _expected(self, label: Label) -> dict[str, Any]:
        return self.provenance.get("expected", {}).get(label.name, {})
