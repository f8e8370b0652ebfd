"""The published networks, one file each, behind one contract (:mod:`.contract`), found by name (:mod:`.known`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .known import builder_of, built_in_networks, check_contract

if TYPE_CHECKING:
    from torch import nn


def build_network(name: str, *, in_channels: int, out_channels: int, **config: Any) -> nn.Module:
    """Build a network by name.

    Args:
        name: one of :func:`~.known.network_names`.
        in_channels: channels of the picture.
        out_channels: ``K``, number of logit maps.
        **config: options of the network's class; the defaults are the paper's configuration.

    Raises:
        ValueError: unknown name or option, or a network of another package that does not keep the contract.
    """
    builder = builder_of(name)
    try:
        network = builder(in_channels, out_channels, **config)
    except TypeError as error:
        raise ValueError(f"network '{name}' does not take these options: {error}") from error
    if name not in built_in_networks():
        check_contract(network, name)
    return network
