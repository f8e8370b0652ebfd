"""Building a network from a checkpoint folder, after its card and the hash of its weights have been checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from ..data.card import Card
from ..data.errors import CheckpointError
from ..networks import build_network
from ..networks.known import UnknownNetworkError, require_network
from .card_file import read_card
from .quantisation import restored
from .weights import verified_familiar, verified_weights


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint.

    Attributes:
        card: what is known of it.
        network: float32, CPU, evaluation mode.
        familiar: what training images look like, see :func:`~..inference.familiarity.distance`; empty where the card
            does not judge that.
    """

    card: Card
    network: nn.Module
    familiar: dict[str, Tensor] = field(default_factory=dict)


def load_checkpoint(folder: str | Path) -> Checkpoint:
    """Check and load the checkpoint in ``folder``; no code or expression from it is ever run.

    Its network is one of ours, or of a package that is installed: the card names it, and cannot bring it along.

    Raises:
        CheckpointError: the card or the weights are missing, altered, or do not fit each other; or the network is of a
            package that is not installed.
    """
    folder = Path(folder)
    card = read_card(folder)
    content = verified_weights(folder, card)
    try:
        require_network(card.network, card.network_package)
        network = build_network(
            card.network, in_channels=card.network_channels, out_channels=card.out_channels, **card.network_config
        )
        network.load_state_dict(restored(load(content)))
        familiar = familiar_of(folder, card)
    except UnknownNetworkError as error:
        raise CheckpointError(f"checkpoint '{folder}' cannot run here: {error}") from error
    except (ValueError, TypeError, RuntimeError, ArithmeticError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint '{folder}' does not fit this version of MedSegAttention: {error}") from error
    if card.fit["size"] % network.stride:
        raise CheckpointError(
            f"checkpoint '{folder}' has slices of {card.fit['size']} pixels; '{card.network}' needs a multiple of "
            f"{network.stride}, or its maps would not lie where they belong. Get the checkpoint again."
        )
    return Checkpoint(card, network.eval(), familiar)


def familiar_of(folder: Path, card: Card) -> dict[str, Tensor]:
    """What training images look like, of the checkpoint in ``folder``; empty where the card does not judge that.

    Raises:
        CheckpointError: the file is missing or altered.
    """
    described = verified_familiar(folder, card)
    return load(described) if described else {}
