"""Weights of a checkpoint that a training starts from: a network is adapted to other cases."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from MedSegAttentionLib.checkpoints.catalogue import find_checkpoint
from MedSegAttentionLib.checkpoints.loading import load_checkpoint
from MedSegAttentionLib.data.card import Card
from MedSegAttentionLib.data.errors import InputError

from .config import TrainingConfig

logger = logging.getLogger(__name__)
CHECKPOINT = "checkpoint"
"""``kind`` of an origin of weights that are a whole network; those of an encoder alone have none."""


@dataclass(frozen=True)
class Start:
    """What a training starts from.

    Attributes:
        card: of the checkpoint.
        weights: float32, by name.
    """

    card: Card
    weights: dict[str, Tensor]

    @property
    def origin(self) -> dict[str, str]:
        """What the record of the run says of it."""
        data = _joined(f"{item['name']} ({item['cases']} cases)" for item in self.card.training_data)
        source = f"checkpoint, version {self.card.version}, {self.card.title}; trained on {data or 'data not recorded'}"
        if before := self.card.training.get("pretrained"):
            source += f", starting from {before['name']} ({before['source']}; terms: {before['terms']})"
        return {
            "name": self.card.id,
            "kind": CHECKPOINT,
            "sha256": self.card.weights_sha256,
            "terms": self.card.license.rstrip("."),
            "source": source,
        }

    def load_into(self, network: nn.Module) -> list[str]:
        """Give ``network`` the weights; returns the names of those that stay as they are, having another shape.

        That is the last layer, where the configuration has another number of classes.
        """
        own = network.state_dict()
        other = [name for name, value in self.weights.items() if own[name].shape != value.shape]
        network.load_state_dict(own | {name: value for name, value in self.weights.items() if name not in other})
        return other


def start_from(checkpoint: str, config: TrainingConfig) -> Start:
    """The weights of a checkpoint for a training with ``config``.

    Args:
        checkpoint: ID or folder.
        config: must name the same network with the same options; classes may be others, and slices may be fitted in
            another way, which is said.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
        InputError: it is of another network, or takes other channels.
    """
    loaded = load_checkpoint(find_checkpoint(checkpoint))
    card = loaded.card
    _check_same("network", card.id, card.network, config.network["name"])
    _check_same("options of the network", card.id, card.network_config, config.network_options)
    _check_same("in_channels", card.id, card.in_channels, config.in_channels)
    _check_same("adjacent", card.id, card.adjacent, config.adjacent)
    for name, then, now in (
        ("intensity", card.intensity, config.intensity),
        ("fit of the last stage", card.fit, config.stages[-1].fit),
        ("classes", [label.name for label in card.labels], config.classes),
    ):
        if then != now:
            logger.warning("'%s' has %s %s, the configuration %s: it has to learn that anew", card.id, name, then, now)
    if config.pretrained:
        logger.info("starting from '%s' instead of the encoder weights '%s'", card.id, config.pretrained)
    return Start(card, loaded.network.state_dict())


def _check_same(what: str, checkpoint: str, then: Any, now: Any) -> None:
    if then != now:
        raise InputError(
            f"'{checkpoint}' cannot be the start of this training: its {what} is {then}, the configuration has {now}. "
            f"Expected the same; write {then} into the configuration, or start from another checkpoint."
        )


def _joined(names: Iterable[str]) -> str:
    names = list(names)
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
