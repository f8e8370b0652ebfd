"""Which networks there are, by name: those of the files of this folder, and those that installed packages offer.

A file of this folder offers what its table ``NETWORKS`` says; a package offers what its entry points of the group
:data:`GROUP` say, e.g. in its pyproject.toml::

    [project.entry-points."medsegattention.networks"]
    my-net = "my_package.my_net:MyNet"

Either gives, for a name, what is called as ``MyNet(in_channels, out_channels, **options)`` and makes a network that
keeps the contract (:mod:`.contract`). Only code of installed packages is ever loaded, and only when a network is asked
for by its name: a checkpoint holds names, never code.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    Builder = Callable[..., nn.Module]

GROUP = "medsegattention.networks"
"""Group of the entry points by which other packages offer networks."""
CARD_FILE = "configs/metadata.json"
"""What makes a folder a checkpoint."""


class UnknownNetworkError(ValueError):
    """No network of this name can be built here; the text says what to install."""


def built_in_networks() -> dict[str, Builder]:
    """Name -> what builds it, of the files of this folder."""
    files = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")
    tables = (getattr(import_module(f"{__package__}.{file}"), "NETWORKS", {}) for file in files)
    return {name: builder for table in tables for name, builder in table.items()}


def network_names() -> list[str]:
    """Names of all networks that can be built here: the built-in ones, then those of other packages."""
    return list(dict.fromkeys([*built_in_networks(), *sorted(entry.name for entry in _offered())]))


def package_of(name: str) -> str:
    """``"PACKAGE VERSION"`` that offers the network ``name``; empty for a built-in one.

    Raises:
        UnknownNetworkError: there is no such network.
    """
    if name in built_in_networks():
        return ""
    found = _entry_point(name)
    return f"{_distribution(found)} {found.dist.version}" if found.dist else ""


def builder_of(name: str) -> Builder:
    """What builds the network ``name``; a built-in network cannot be replaced by a package.

    Raises:
        UnknownNetworkError: there is no such network, or its package cannot be loaded.
    """
    if built_in := built_in_networks().get(name):
        return built_in
    entry_point = _entry_point(name)
    try:
        return entry_point.load()
    except Exception as error:
        raise UnknownNetworkError(
            f"network '{name}' of the package '{_distribution(entry_point)}' cannot be loaded from "
            f"'{entry_point.value}' ({type(error).__name__}: {error}); install that package again."
        ) from error


def require_network(name: str, package: str = "") -> None:
    """Make sure that the network ``name`` is here, and comes from ``package`` where that is told.

    Args:
        name: of the network.
        package: as :func:`package_of` gave it where the network was trained; its version may differ.

    Raises:
        UnknownNetworkError: it is not here, or another package offers it.
    """
    if package and name not in network_names():
        raise UnknownNetworkError(
            f"network '{name}' comes from the package '{package}', which is not installed here: its entry point "
            f"'{name}' of the group '{GROUP}' is missing. Install it into this Python if you trust its makers."
        )
    here = package_of(name)
    if package and _normal(here) != _normal(package):
        raise UnknownNetworkError(
            f"network '{name}' comes from the package '{package}', but here it is one of "
            f"'{here or 'MedSegAttention'}'; install the package it was trained with."
        )


def check_contract(network: nn.Module, name: str) -> None:
    """See that ``network`` has what the others rely on.

    Raises:
        ValueError: it has not; the text names what is missing.
    """
    from torch import nn

    if not isinstance(network, nn.Module):
        raise ValueError(f"network '{name}' is a {type(network).__name__}; expected a torch.nn.Module.")
    wanted = ["forward_with_attention", "stride", "cells"]
    wanted += ["attention_grid", "attention_row"] if getattr(network, "cells", None) else []
    if lacking := [part for part in wanted if not hasattr(network, part)]:
        raise ValueError(
            f"network '{name}' ({type(network).__name__}) lacks {', '.join(lacking)}, which every network must have; "
            "derive it from MedSegAttentionLib.networks.picture_network.PictureNetwork, or add them."
        )
    if not isinstance(network.stride, int) or network.stride < 1:
        raise ValueError(f"network '{name}' has stride {network.stride!r}; expected a whole number from 1 on.")


def _offered() -> list[EntryPoint]:
    """Entry points of installed packages; a checkpoint's folder is none, even if Python was started there."""
    found = entry_points(group=GROUP)
    return [entry for entry in found if not (entry.dist and Path(str(entry.dist.locate_file(CARD_FILE))).is_file())]


def _entry_point(name: str) -> EntryPoint:
    found = list({entry.value: entry for entry in _offered() if entry.name == name}.values())
    if not found:
        raise UnknownNetworkError(
            f"network '{name}' is not known: it is none of {', '.join(network_names())}, and no installed package has "
            f"an entry point '{name}' of the group '{GROUP}'. Install the package it comes from, or choose another."
        )
    if len(found) > 1:
        raise UnknownNetworkError(
            f"network '{name}' is offered by several packages ({', '.join(map(_distribution, found))}); expected one. "
            "Uninstall the others."
        )
    return found[0]


def _distribution(entry_point: EntryPoint) -> str:
    return (entry_point.dist and entry_point.dist.name) or entry_point.module.split(".")[0]


def _normal(package: str) -> str:
    """Name of a package without its version, as PyPI compares names."""
    return re.sub(r"[-_.]+", "-", package.split(" ", maxsplit=1)[0]).lower()
