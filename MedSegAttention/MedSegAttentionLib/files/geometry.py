"""Where voxels lie, from what a header says; what it leaves open or says twice is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np

from ..data.volume import VolumeImage, largest_cosine

if TYPE_CHECKING:
    import SimpleITK as sitk

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
EXACT, ROUNDED = 1e-5, 0.02
"""Largest cosine between two axes that counts as a right angle, and as a right angle that was rounded."""

LIKELY_MM = (0.001, 50)
"""Sizes of voxels, mm, that an image of a patient can have."""
STEEPEST = 0.8
"""Cosine of two axes that no gantry and no rounding makes."""
FARTHEST_MM = 100_000
"""Distance from the origin that no scanner has."""


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Without ITK's own warnings on stderr, which name addresses and no file; its errors are raised all the same."""
    import SimpleITK as sitk  # what refuses an image before it is read does not wait for it

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """As :func:`quiet_itk`, and without what the C libraries behind it (JPEG, TIFF, MetaIO) write to stderr themselves.

    For the process as a whole, so only around the reading of one file.
    """
    try:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # an application without a console has no stderr
        with quiet_itk():
            yield
        return
    try:
        os.dup2(nowhere, 2)
        with quiet_itk():
            yield
    finally:
        os.dup2(kept, 2)
        for number in (kept, nowhere):
            with suppress(OSError):
                os.close(number)


def of_itk(image: sitk.Image | sitk.ImageFileReader) -> np.ndarray:
    """``[4, 4]`` IJK to RAS of an image of two or three dimensions, or of what a reader has seen of it."""
    n = image.GetDimension()
    direction, spacing, origin = np.eye(3), np.ones(3), np.zeros(3)
    direction[:n, :n] = np.reshape(image.GetDirection(), (n, n))
    spacing[:n], origin[:n] = image.GetSpacing(), image.GetOrigin()
    return LPS_TO_RAS @ matrix_of(direction * spacing, origin)


def matrix_of(columns: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """``[4, 4]`` from three columns and an origin."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = columns, origin
    return matrix


def straightened(ijk_to_ras: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Right angles where the axes are nearly so, as ITK and Slicer have it; a sheared grid stays as it is.

    Returns:
        The matrix and what to tell about it, nothing for axes at right angles.
    """
    off = largest_cosine(ijk_to_ras)
    if off <= EXACT or off > ROUNDED:
        return ijk_to_ras, shear_notes(ijk_to_ras)
    spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    left, _, right = np.linalg.svd(ijk_to_ras[:3, :3] / spacing)
    matrix = ijk_to_ras.copy()
    matrix[:3, :3] = (left @ right) * spacing
    return matrix, (f"the axes of the volume are at right angles but for rounding (cosine {off:.1g}); taken as right.",)


def shear_notes(ijk_to_ras: np.ndarray) -> tuple[str, ...]:
    """What to tell about axes that are not at right angles; nothing where they are, but for rounding."""
    off = largest_cosine(ijk_to_ras)
    if off <= ROUNDED:
        return ()
    angle = np.degrees(np.arccos(np.clip(off, -1, 1)))
    return (
        f"the axes of the volume are not at right angles (down to {angle:.1f} degrees, as after a gantry tilt); the "
        "result lies on the same grid.",
    )


def is_sheared(ijk_to_ras: np.ndarray) -> bool:
    """Whether the axes are off right angles by more than rounding."""
    return largest_cosine(ijk_to_ras) > ROUNDED


def unlikely(volume: VolumeImage, name: str) -> tuple[str, ...]:
    """Doubts about a geometry that can be and that no patient has: sizes, angles, distances.

    Args:
        volume: what was read.
        name: of its file.
    """
    if not volume.has_scale:
        return ()
    doubts = []
    if min(volume.spacing) < LIKELY_MM[0] or max(volume.spacing) > LIKELY_MM[1]:
        found = " x ".join(f"{step:.3g}" for step in volume.spacing)
        doubts.append(f"'{name}' says its voxels measure {found} mm, which those of a patient do not.")
    if largest_cosine(volume.ijk_to_ras) > STEEPEST:
        doubts.append(f"'{name}' has two axes of nearly one direction, which no scanner has.")
    if np.abs(volume.ijk_to_ras[:3, 3]).max() > FARTHEST_MM:
        doubts.append(f"'{name}' lies {np.abs(volume.ijk_to_ras[:3, 3]).max():.3g} mm from the origin of its space.")
    return tuple(doubts)


def corner_distance(first: np.ndarray, second: np.ndarray, size: tuple[int, int, int]) -> float:
    """Largest distance, mm, between where two matrices place a corner of a volume of ``size`` (i, j, k)."""
    ends = [(0, n - 1) for n in size]
    corners = np.array([[i, j, k, 1] for i in ends[0] for j in ends[1] for k in ends[2]], float)
    return float(np.linalg.norm(corners @ (first - second).T, axis=1).max())
