"""Images for the tests of the command line, and looks at what it wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from conftest import geometry
from sitk_tools import matrix_of, to_sitk, write_series

PHOTOGRAPH = {
    "task": "skin",
    "modality": "XC",
    "in_channels": 3,
    "intensity": {"method": "window", "low": 0, "high": 255},
    "fit": {"fit": "stretch", "size": 64},
}


def bright(kind: str = "oblique") -> sitk.Image:
    array = np.zeros((3, 40, 48), np.float32)
    array[1:, 10:20, 15:30] = 0.5
    return to_sitk(array, geometry(kind))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def labels(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def same_place(path: Path, original: sitk.Image) -> None:
    found = sitk.ReadImage(str(path))
    assert found.GetSize() == original.GetSize()
    np.testing.assert_allclose(matrix_of(found), matrix_of(original), atol=1e-6)


def one_line(text: str, *words: str) -> None:
    assert len(text.splitlines()) == 1, text
    for word in words:
        assert word in text


def a_series(folder: Path, name: str = "a") -> np.ndarray:
    array = np.full((3, 40, 48), 100, np.int16)
    array[1:, 10:20, 15:30] = 900
    write_series(folder, array, "CT", name=name)
    return array


def nan_case(path: Path) -> Path:
    array = np.full((2, 40, 40), 0.1, np.float32)
    array[0, 0, 0] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path
