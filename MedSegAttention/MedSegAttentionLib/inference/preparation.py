"""A volume made ready for a checkpoint: accepted, cut, measured, fitted. Nothing is resampled before it must be."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import __version__
from ..checkpoints.loading import Checkpoint
from ..data.card import Card
from ..data.errors import InputError
from ..data.volume import AXIS_NAMES, VolumeImage
from .acceptance import accept
from .fitting import FEWEST_PIXELS, LARGEST_CANVAS, SliceFit, content_box, is_constant, plan_fit
from .intensity import Normaliser, air_of, measure
from .settings import RunSettings
from .slicing import SlicePlan, plan_slices, with_adjacent


@dataclass(frozen=True)
class PreparedVolume:
    """How a volume goes into a network, and its outputs back.

    Attributes:
        volume: as accepted (without an alpha channel).
        card: of the checkpoint.
        settings: choices of the user.
        plan: how it is cut into slices.
        content: what of the slices is no constant padding, see :func:`~.fitting.content_box`; the fit leaves out the
            air around a body in CT, too.
        fit: how a slice lies on the network's canvas.
        normalise: brings its intensities to what the network was trained on.
        warnings: what the user should know before trusting the result.
    """

    volume: VolumeImage
    card: Card
    settings: RunSettings
    plan: SlicePlan
    content: tuple[slice, slice, slice]
    fit: SliceFit
    normalise: Normaliser
    warnings: tuple[str, ...]

    def canvases(self, first: int, count: int) -> Tensor:
        """``count`` slices from number ``first`` on, or fewer at the end: ``[B, C, H, W]`` float32.

        With adjacent slices the channels are the slice below, the slice, the slice above.
        """
        slices = self.plan.view(self.volume.array)
        if not self.card.adjacent:
            return self._canvases(slices[first : first + count])
        numbers = np.arange(first, min(first + count, len(slices)))
        groups = with_adjacent(numbers, self.plan, self.card.adjacent, self.content[0])
        return torch.cat([self._canvases(slices[group]) for group in groups], 1)

    def _canvases(self, slices: np.ndarray) -> Tensor:
        return self.fit.to_canvas(channels_first(self.normalise(slices)))

    def is_blank(self, number: int) -> bool:
        """Whether slice ``number`` has one value throughout: padding, in which nothing can be found."""
        return is_constant(self.plan.view(self.volume.array)[number])

    def provenance(self) -> dict[str, Any]:
        """What is known before the network runs, JSON-ready."""
        grey = self.card.in_channels == 1
        return {
            "software": "MedSegAttention",
            "version": __version__,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "volume": self.volume.name,
            "has_scale": self.volume.has_scale,
            "task": self.card.task,
            "checkpoint": self.card.id,
            "checkpoint_version": self.card.version,
            "weights_sha256": self.card.weights_sha256,
            "license": self.card.license,
            "slice_axis": AXIS_NAMES[self.plan.axes[0]],
            "settings": asdict(self.settings),
            "display_window": [self.normalise.low, self.normalise.high] if grey else None,
            "warnings": list(self.warnings),
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        }


def prepare(volume: VolumeImage, checkpoint: Checkpoint, settings: RunSettings) -> PreparedVolume:
    """Check ``volume`` against the checkpoint's card and plan the run.

    Raises:
        InputError: the volume or a setting cannot be used, or its slices are of no size that the card is for.
        ContractWarning: the volume lies outside what the checkpoint was trained on, and ``settings.force`` is off.
    """
    card = checkpoint.card
    volume, warnings = accept(volume, card, settings.force)
    plan = plan_slices(volume, card.orientation, settings.axis)
    warnings += [plan.warning] if plan.warning else []
    spacing = plan.spacing[1:] if volume.has_scale else (1.0, 1.0)  # a print's resolution says nothing of the patient
    if not volume.has_scale and card.fit["fit"] == "spacing":
        warnings.append(
            f"'{volume.name}' is a picture file without the size of the patient; '{card.id}' looks for structures of a "
            "certain size and takes each pixel for 1 mm. The result may be poor; use the original images."
        )
    slices = plan.view(volume.array)
    box, air = content_box(slices), air_of(card.intensity)
    body = box if air is None else content_box(slices, air)
    fit = plan_fit(plan.shape[1:], spacing, card.fit, checkpoint.network.stride, box=body)
    _check_extent(volume, card, fit, spacing)
    normalise = measure(slices[box], card.intensity)
    return PreparedVolume(volume, card, settings, plan, box, fit, normalise, tuple(warnings))


def _check_extent(volume: VolumeImage, card: Card, fit: SliceFit, spacing: tuple[float, float]) -> None:
    """Raise :class:`InputError` for slices so large, or so small, in mm that they cannot be what the card is for."""
    rows, columns = fit.resized
    shrunk = min(fit.resized) < FEWEST_PIXELS <= min(fit.source)
    if max(fit.canvas) <= LARGEST_CANVAS and not shrunk:
        return
    extent = " x ".join(f"{n * mm:.3g}" for n, mm in zip(fit.source, spacing, strict=True))
    sizes = f"expected pixels of about {card.fit['mm']:g} mm" if "mm" in card.fit else "expected a smaller picture"
    raise InputError(
        f"a slice of '{volume.name}' measures {extent} mm, which '{card.id}' would see in {rows} x {columns} pixels "
        f"({FEWEST_PIXELS} to {LARGEST_CANVAS} can be); {sizes}. Correct the voxel size of the image."
    )


def channels_first(slices: np.ndarray) -> Tensor:
    """``[B, rows, columns]`` or ``[B, rows, columns, C]`` to a tensor ``[B, C, rows, columns]``, same numbers."""
    ordered = slices[:, None] if slices.ndim == 3 else slices.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(ordered))
