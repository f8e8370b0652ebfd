"""Where the slices of a DICOM series lie, and whether together they are one stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.errors import InputError
from .geometry import matrix_of

SAME_DIRECTION = 1e-3
"""By how much the directions of slices of one stack may differ, and two axes of a slice be off a right angle."""
PARALLEL = 0.1
"""Sine of the angle of two axes of a slice below which they are no two."""
REPEATED_MM = 0.001
"""Slices of a series that are closer than this are at one place."""
MISPLACED = 1 / 3
"""Share of the distance of slices by which one may lie elsewhere than the volume says."""
GAP = 1.75
"""Times the smallest distance of slices from which on one is missing."""
MOST_NAMED = 3
"""Places that a message names."""
FARTHER, SPARSE = 1.5, 4.0
"""Times the distance that the header gives, and times the thickness of a slice, from which on slices may be missing."""


@dataclass(frozen=True)
class Slice:
    """One slice as its header has it.

    Attributes:
        position: LPS mm of its first voxel.
        axes: ``[3, 2]``: directions along a row and along a column, unit vectors in LPS.
        step: mm between columns and between rows.
        thickness: mm, or None where the header does not say.
        between: mm from slice to slice by the header (SpacingBetweenSlices), or None.
    """

    position: np.ndarray
    axes: np.ndarray
    step: tuple[float, float]
    thickness: float | None = None
    between: float | None = None


@dataclass(frozen=True)
class Stack:
    """Slices that make up a volume.

    Attributes:
        order: their numbers from the first place to the last.
        ijk_to_lps: ``[4, 4]``, mm.
        doubts: see ``VolumeImage``.
    """

    order: np.ndarray
    ijk_to_lps: np.ndarray
    doubts: tuple[str, ...] = ()


def frame_count(header: Any) -> int:
    """Number of slices in an object."""
    return int(header.get("NumberOfFrames", 1) or 1)


def slices_of(header: Any) -> Iterator[Slice | None]:
    """Each slice of an object; None for one without a place."""
    frames = frame_count(header)
    if "PerFrameFunctionalGroupsSequence" not in header:
        yield from [_slice(header, header, header)] if frames == 1 else [None] * frames
        return
    for groups in header.PerFrameFunctionalGroupsSequence:
        names = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
        yield _slice(*(group_of(header, groups, name) for name in names))


def group_of(header: Any, frame: Any, name: str) -> Any:
    """A functional group of one frame of an enhanced object, its own or that of all; empty where neither has it."""
    shared = header.get("SharedFunctionalGroupsSequence") or [{}]
    sequence = frame.get(name) or shared[0].get(name)
    return sequence[0] if sequence else {}


def _slice(position: Any, orientation: Any, measures: Any) -> Slice | None:
    place = _numbers(position, "ImagePositionPatient", 3)
    directions = _numbers(orientation, "ImageOrientationPatient", 6)
    step = _numbers(measures, "PixelSpacing", 2)
    if place is None or directions is None or step is None or step.min() <= 0:
        return None
    axes = directions.reshape(2, 3).T
    lengths = np.linalg.norm(axes, axis=0)
    if not lengths.all() or np.linalg.norm(np.cross(*(axes / lengths).T)) < PARALLEL:
        return None
    told = (_numbers(measures, name, 1) for name in ("SliceThickness", "SpacingBetweenSlices"))
    known = (float(value[0]) if value is not None and value[0] > 0 else None for value in told)
    return Slice(place, axes / lengths, (float(step[1]), float(step[0])), *known)


def _numbers(header: Any, name: str, count: int) -> np.ndarray | None:
    """The finite numbers of an element; None where it has not as many."""
    try:
        numbers = np.atleast_1d(np.array(header.get(name), float))
    except (TypeError, ValueError):
        return None
    return numbers if numbers.shape == (count,) and np.isfinite(numbers).all() else None


def why_repeated(images: int, places: int, first: np.ndarray) -> str:
    """Why images that share places are no volume.

    Args:
        images: how many.
        places: at how many places.
        first: LPS mm of one of them.
    """
    if places > 1:
        return f"{images} images at {places} places: several times or weightings"
    return (
        f"all its {images} images say that they lie at {_place(first)} (ImagePositionPatient): their places are "
        "missing, or it is one slice at several times"
    )


def _place(position: np.ndarray) -> str:
    return f"({', '.join(f'{value:g}' for value in position)})"


def stacked(slices: Sequence[Slice], named: str) -> Stack:
    """Slices as a volume: straight, or with each shifted by the same as after a gantry tilt.

    Args:
        slices: all of them, in any order.
        named: what they are from, for messages.

    Raises:
        InputError: they are not one stack with one distance.
    """
    first = slices[0]
    if max(np.abs(other.axes - first.axes).max() for other in slices) > SAME_DIRECTION or any(
        not np.allclose(other.step, first.step, rtol=1e-3) for other in slices
    ):
        raise InputError(f"{named} holds slices of different directions or voxel sizes; expected one stack.")
    doubts = ()
    if abs(first.axes[:, 0] @ first.axes[:, 1]) > SAME_DIRECTION:
        doubts = (f"the rows and columns of {named} are not at right angles (ImageOrientationPatient).",)
    normal = np.cross(first.axes[:, 0], first.axes[:, 1])
    normal /= np.linalg.norm(normal) or 1.0
    positions = np.array([one.position for one in slices])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    if len(slices) > 1:
        along = _distance(positions, normal, named)
        doubts += _thinned(first, float(along @ normal), named)
    else:
        along = normal * (first.thickness or 1.0)
        if first.thickness is None:
            doubts += (f"{named} is one slice and does not say how thick it is; 1 mm was taken.",)
    return Stack(order, matrix_of(np.column_stack([first.axes * first.step, along]), positions[0]), doubts)


def _thinned(first: Slice, found: float, named: str) -> tuple[str, ...]:
    """Why slices may be missing between those that are there, all at one distance."""
    if first.between is not None and found > FARTHER * first.between:
        told = f"say {first.between:g} mm; some"
    elif first.thickness is not None and found > SPARSE * first.thickness:
        told = f"are {first.thickness:g} mm thick; many"
    else:
        return ()
    return (f"the slices of {named} lie {found:.2f} mm apart and {told} may be missing.",)


def _distance(positions: np.ndarray, normal: np.ndarray, named: str) -> np.ndarray:
    """From one slice to the next, mm: along ``normal``, or aslant where all slices are shifted alike."""
    steps = np.diff(positions @ normal)
    if steps.max() < REPEATED_MM:
        raise InputError(
            f"{named}: {why_repeated(len(positions), 1, positions[0])}; expected one slice at each place. Export the "
            "series again with its places, or give a folder with one of the images."
        )
    if steps.min() < REPEATED_MM:
        twice = _place(positions[steps.argmin()])
        raise InputError(
            f"{named} holds {len(positions)} slices at {1 + int((steps >= REPEATED_MM).sum())} places "
            f"(several times or weightings in one series, or a slice twice, as at {twice}); expected one slice at each "
            "place. Load the series in Slicer, which splits it, or give a folder with one of them."
        )
    aslant = (positions[-1] - positions[0]) / (len(positions) - 1)
    straight = normal * (aslant @ normal)
    numbers = np.arange(len(positions))[:, None]
    off = [float(np.linalg.norm(positions - positions[0] - numbers * way, axis=1).max()) for way in (straight, aslant)]
    most = MISPLACED * (aslant @ normal)
    if steps.max() <= GAP * steps.min() and min(off) <= most:
        return straight if off[0] <= most else aslant
    gaps = [_place(positions[number]) for number in np.flatnonzero(steps > GAP * steps.min())]
    where = f" after {', '.join(gaps[:MOST_NAMED])}{' and others' if len(gaps) > MOST_NAMED else ''}" if gaps else ""
    raise InputError(
        f"the slices of {named} ({steps.min():.2f} to {steps.max():.2f} mm apart) lie up to {off[0]:.1f} mm from "
        f"where a volume with one distance has them; expected one stack. Slices may be missing{where}, or the table or "
        "the gantry moved: get the series again, or load it in Slicer, which can correct it."
    )
