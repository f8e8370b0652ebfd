"""The attention of one clicked position."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..checkpoints.loading import Checkpoint
from ..data.card import AttentionMap
from ..data.errors import InputError
from ..data.result import AttentionVolume
from ..data.volume import VolumeImage
from .attention_maps import native_volume
from .devices import choose_device
from .prediction import folded
from .preparation import prepare
from .settings import RunSettings

DISPLAY_RANGE = (0.0, 0.125)
"""The weights of a row sum to 1 over at least k_min = 8 neighbours: 1/8 is the weight of each if they were equal."""


def attention_row_volume(
    volume: VolumeImage,
    ras: tuple[float, float, float],
    checkpoint: Checkpoint,
    map_name: str,
    settings: RunSettings,
) -> tuple[AttentionVolume, dict[str, Any]]:
    """Attention of the position at ``ras`` to all others of its slice; see :func:`~..runner.in_process.attention_row`.

    Returns:
        A volume of one slice, ``[1, h, w]`` on the stage's own grid, whose weights sum to 1 over the canvas; and the
        provenance of it.

    Raises:
        InputError: ``ras`` lies outside the volume, or the network has no such stage.
    """
    card, network = checkpoint.card, checkpoint.network
    stage_of = {item.name: item.name.split("_", 1)[-1] for item in card.attention}
    stage = stage_of.get(map_name, map_name)
    if stage not in network.cells:
        known = ", ".join(network.cells) or "none"
        raise InputError(f"'{map_name}' is not known as a stage with attention rows; '{card.id}' has: {known}.")
    prepared = prepare(volume, checkpoint, settings)
    plan, fit = prepared.plan, prepared.fit
    column, row, number = (np.linalg.inv(plan.to_ras) @ [*ras, 1.0])[:3]
    number = round(number)
    inside = 0 <= number < plan.shape[0] and -0.5 <= row < plan.shape[1] - 0.5 and -0.5 <= column < plan.shape[2] - 0.5
    if not inside:
        raise InputError(f"the point {tuple(float(round(v, 2)) for v in ras)} (RAS, mm) lies outside '{volume.name}'.")
    device = choose_device(settings.device)
    with torch.inference_mode():
        canvas = prepared.canvases(number, 1).to(device)
        grid = network.attention_grid(canvas.shape[-2:], stage)
        x, y = (np.linalg.inv(fit.canvas_to_slice(grid)) @ [column, row, 1.0])[:2]
        position = (int(np.clip(round(y), 0, grid[0] - 1)), int(np.clip(round(x), 0, grid[1] - 1)))
        weights = folded(network).to(device).attention_row(canvas, stage, position)[:, 0].float().cpu().numpy()
    what = AttentionMap(
        name=f"row_{stage}",
        title=f"Attention of one position, {stage}",
        meaning="How strongly the chosen position attends to each other position of its slice; the weights sum to 1.",
        range=DISPLAY_RANGE,
    )
    point = {"ras": [float(value) for value in ras], "stage": stage}
    return native_volume(what, weights, plan, fit, number), prepared.provenance() | {"attention_row": point}
