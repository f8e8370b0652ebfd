"""The commands of training and measuring, added to ``python -m MedSegAttentionLib`` when this folder is there."""

from __future__ import annotations

import argparse

from .comparing import add_comparing
from .making import add_making
from .measuring import add_measuring


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add all of them."""
    add_making(commands)
    add_measuring(commands)
    add_comparing(commands)
