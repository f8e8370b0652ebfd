"""What a reader should know about a segment before its size is believed; a sentence each, found in the labels alone."""

from __future__ import annotations

import numpy as np

from .labels import Label

LEAST_SHARE = 0.05
"""Share of the pixels of a segment's largest cross-section along an axis that must lie at an end for it to be cut."""
LOWER_BOUND = "is a lower bound."
"""How the sentence about a cut organ ends."""
OUTLINE_CUT = "its outline is cut there."
"""How it ends in a film."""
ENDS = (("the first slice", "the last slice"), ("the top edge", "the bottom edge"), ("the left edge", "the right edge"))


def border_findings(
    labels: np.ndarray, content: tuple[slice, slice, slice], classes: tuple[Label, ...], has_scale: bool = True
) -> dict[str, list[str]]:
    """Segments that the border of the image cuts: their volume is a lower bound, or that of a picture their area.

    Args:
        labels: ``[S, rows, columns]``, slices first; 0 is background.
        content: of the image, what lies outside is padding.
        classes: of the labels.
        has_scale: whether it is a volume; else its slices are pictures, such as the frames of a film, of which the
            first and the last cut nothing.

    Returns:
        Class name -> sentences; only of classes that have one.
    """
    inside = labels[content]
    found: dict[str, list[str]] = {}
    for label in classes:
        mask = inside == label.value
        if not mask.any():
            continue
        ends = [name for axis in range(0 if has_scale else 1, 3) for name in _cut_ends(mask, axis)]
        if ends and len(labels) > 1 and not has_scale:
            found[label.name] = [f"reaches {_joined(ends)} of the pictures: {OUTLINE_CUT}"]
        elif ends:
            what = "area" if len(labels) == 1 else "volume"
            found[label.name] = [f"reaches {_joined(ends)} of the image: its {what} {LOWER_BOUND}"]
    return found


def _cut_ends(mask: np.ndarray, axis: int) -> list[str]:
    if mask.shape[axis] < 2:
        return []
    counts = mask.sum(tuple({0, 1, 2} - {axis}))
    least = max(1, LEAST_SHARE * counts.max())
    return [name for name, count in zip(ENDS[axis], (counts[0], counts[-1]), strict=True) if count >= least]


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
