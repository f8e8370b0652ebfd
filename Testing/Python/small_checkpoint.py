"""Writes tiny checkpoints: a real KLO-Net whose decoder is set by hand to a threshold, so that its answer is known.

The picture passes through the first encoder level and the last decoder level unchanged; everything deeper keeps its
random weights, so the attention maps are those of a real network. A pixel belongs to class ``n`` where its intensity,
after the window 0 to 1 of the card, lies above ``THRESHOLDS[n - 1]`` and below the next.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from MedSegAttentionLib.networks import build_network

THRESHOLDS = (0.25, 0.5, 0.75)
WIDTH, SIZE = 8, 64
MAPS = ("tau_stage4", "tau_bottleneck", "k_stage4", "k_bottleneck")
CODES = {"category": ["SCT", "123037004", "Anatomical Structure"], "type": ["SCT", "10200004", "Liver"]}


def threshold_network(
    in_channels: int = 1, classes: int = 1, softmax: bool = False, thresholds: tuple[float, ...] = THRESHOLDS
) -> torch.nn.Module:
    """A small KLO-Net that labels by intensity (the mean over its channels)."""
    torch.manual_seed(7)
    out_channels = classes + 1 if softmax else 1
    network = build_network("klo-net", in_channels=in_channels, out_channels=out_channels, width=WIDTH).eval()
    first, last, head = network.encoder[0], network.decoder[-1], network.head
    with torch.no_grad():
        for weight in (first.project[0].weight, first.fuse[0].weight, last[0][0].weight, last[1][0].weight):
            weight.zero_()
        short = WIDTH // 2  # the half of the channels that passes by the bottlenecks
        first.project[0].weight[short] = 1 / in_channels
        first.fuse[0].weight[0, short] = 1
        last[0][0].weight[0, 0, 1, 1] = last[1][0].weight[0, 0, 1, 1] = 1
        head.weight.zero_()
        head.bias.zero_()
        if softmax:  # class n wins over n - 1 from its threshold on
            for n in range(1, classes + 1):
                head.weight[n, 0] = 32 * n
                head.bias[n] = -32 * sum(thresholds[:n])
        else:
            head.weight[0, 0] = 32
            head.bias[0] = -32 * thresholds[0]
    return network


def card_values(**changes: Any) -> dict[str, Any]:
    """The card of a checkpoint with one class, as it stands in the JSON file; ``changes`` replace or add keys."""
    values = {
        "id": "prostate-klo-net",
        "version": "1.0",
        "task": "prostate",
        "title": "A threshold",
        "description": "For tests.",
        "modality": "MR",
        "network": "klo-net",
        "network_config": {"width": WIDTH},
        "in_channels": 1,
        "activation": "sigmoid",
        "labels": [{"name": "prostate", "colour": [230, 158, 140], "codes": CODES}],
        "orientation": "axial",
        "intensity": {"method": "window", "low": 0, "high": 1},
        "fit": {"fit": "spacing", "mm": 1.0, "size": SIZE},
        "expects": {"minimum": [None, None], "maximum": [None, None]},
        "postprocessing": {},
        "attention": [{"name": name, "title": name, "meaning": "For tests.", "range": [0, 1]} for name in MAPS],
        "training_data": [],
        "license": "none",
        "limits": [],
        "weights_sha256": "",
    }
    return values | changes


def two_classes() -> dict[str, Any]:
    """Changes of :func:`card_values` for a softmax over background and two organs."""
    names = ("liver", "spleen")
    labels = [{"name": name, "colour": [20 * n, 100, 100], "codes": CODES} for n, name in enumerate(names, start=1)]
    return {"labels": labels, "activation": "softmax"}


def write_checkpoint(folder: Path, network: torch.nn.Module | None = None, **changes: Any) -> Path:
    """Write a checkpoint to ``folder`` and return it.

    Args:
        folder: made when missing.
        network: None makes the :func:`threshold_network` that fits the card.
        changes: of the card, see :func:`card_values`.
    """
    card = card_values(**changes)
    network = network or threshold_network(card["in_channels"], len(card["labels"]), card["activation"] == "softmax")
    halves = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    weights = save(halves)
    card = {**card, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "models" / "model.safetensors").write_bytes(weights)
    write_card(folder, card)
    return folder


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write only the card, whatever the weights beside it are."""
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps({"medsegattention": card}), encoding="utf-8")


def read_card_values(folder: Path) -> dict[str, Any]:
    """The card of ``folder`` as it stands in the JSON file."""
    return json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))["medsegattention"]
