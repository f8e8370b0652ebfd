"""What a segment is: its name, colour and standard codes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """One coded concept: coding scheme, value and meaning, e.g. ``("SCT", "10200004", "Liver")``."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Label:
    """A class of a segmentation.

    Attributes:
        name: lower-case class name, e.g. ``"left kidney"``.
        value: its value in a label array, from 1.
        colour: red, green, blue, each 0 to 255.
        category: e.g. anatomical structure, SCT 123037004.
        type: what it is, e.g. kidney, SCT 64033007.
        type_modifier: e.g. left, SCT 7771000, or None.
        region: where it is, for lesions, or None.
        region_modifier: or None.
    """

    name: str
    value: int
    colour: tuple[int, int, int]
    category: Code
    type: Code
    type_modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None
