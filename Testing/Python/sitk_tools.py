"""SimpleITK as an independent judge of where voxels lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def to_sitk(array: np.ndarray, ijk_to_ras: np.ndarray) -> sitk.Image:
    """``[K, J, I]`` with its IJK-to-RAS matrix as an image in ITK's own LPS."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def ras_of(image: sitk.Image, index: tuple[int, int, int]) -> np.ndarray:
    """RAS position of a voxel (i, j, k), by ITK."""
    x, y, z = image.TransformIndexToPhysicalPoint([int(n) for n in index])
    return np.array([-x, -y, z])


def values_at(image: sitk.Image, points: np.ndarray) -> np.ndarray:
    """Values of ``image`` at RAS points ``[n, 3]``, linear between voxels; NaN outside the voxel centres."""
    found = np.full(len(points), np.nan)
    for n, (x, y, z) in enumerate(points):
        index = image.TransformPhysicalPointToContinuousIndex((-x, -y, z))
        if all(-1e-6 <= value <= size - 1 + 1e-6 for value, size in zip(index, image.GetSize(), strict=True)):
            found[n] = image.EvaluateAtPhysicalPoint((-x, -y, z))
    return found


def matrix_of(image: sitk.Image) -> np.ndarray:
    """``[4, 4]`` IJK to RAS of ``image``, from ITK's physical points."""
    matrix = np.eye(4)
    matrix[:3, 3] = ras_of(image, (0, 0, 0))
    for axis in range(3):
        unit = np.eye(3)[axis]
        x, y, z = image.TransformContinuousIndexToPhysicalPoint(unit.tolist())
        matrix[:3, axis] = np.array([-x, -y, z]) - matrix[:3, 3]
    return matrix


def write_series(
    folder: Path,
    array: np.ndarray,
    modality: str,
    spacing: tuple[float, float, float] = (1.0, 1.0, 3.0),
    name: str = "a",
    places: int | None = None,
    moved: Callable[[int], tuple[float, float, float]] = lambda _number: (0.0, 0.0, 0.0),
) -> Path:
    """Write ``[K, J, I]`` int16 as a DICOM series, one file a slice.

    ``name`` tells series in one folder apart. With ``places`` the slices after so many begin at the first place again;
    ``moved`` gives how far, mm, the slice of a number lies from where it should.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    series = f"1.2.826.0.1.3680043.2.1125.{1 + ord(name[0])}"
    for number, values in enumerate(array):
        picture = sitk.GetImageFromArray(values[None])
        picture.SetSpacing(spacing)
        place = np.add((0.0, 0.0, (number % (places or len(array))) * spacing[2]), moved(number)).tolist()
        picture.SetOrigin(place)
        for tag, value in {
            "0008|0018": f"{series}.1.{number}",
            "0008|0060": modality,
            "0020|000d": f"{series}.2",
            "0020|000e": f"{series}.3",
            "0020|0013": str(number),
            "0020|0032": "\\".join(f"{mm:g}" for mm in place),
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }.items():
            picture.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{name}{number:03}.dcm"))
        writer.Execute(picture)
    return folder
