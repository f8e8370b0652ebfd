"""Writing one case: a volume with its labels on one grid, or a picture with its mask."""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.files.reading import read_volume

from ..masks import mask_values


def read(path: Path) -> sitk.Image:
    """An image file as it lies on disk; raises :class:`InputError` when it cannot be read, or is not whole."""
    read_volume(path)
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"'{path}' cannot be read ({reason}); expected a whole image. Download it again.") from error


def save_volume(folder: Path, name: str, image: sitk.Image, labels: sitk.Image, values: set[int]) -> None:
    """Write ``images/NAME.nii.gz`` and ``labels/NAME.nii.gz`` (uint8) with the geometry of ``image``.

    Args:
        folder: where both folders are made.
        name: stem of both files.
        image: 3-D.
        labels: whole numbers, on the same voxels; the axes may run the other way.
        values: those a label may have, from 0 to 255.

    Raises:
        InputError: the labels lie elsewhere, or have other values.
    """
    array = sitk.GetArrayFromImage(_on_grid(labels, image, name))
    whole = np.rint(array)  # some files hold 0.9999999998 for 1
    wrong = sorted({float(value) for value in np.unique(array[np.abs(array - whole) > 1e-3])[:5]})
    wrong += sorted({int(value) for value in np.unique(whole)} - values)
    if wrong:
        raise InputError(f"the mask of '{name}' has the values {wrong}; expected some of {sorted(values)}.")
    on_grid = sitk.GetImageFromArray(whole.astype(np.uint8))
    on_grid.CopyInformation(image)
    for kind, picture in (("images", image), ("labels", on_grid)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(picture, str(folder / kind / f"{name}.nii.gz"))


def _on_grid(labels: sitk.Image, image: sitk.Image, name: str) -> sitk.Image:
    """``labels`` with the index axes of ``image``; both must have the same voxels in space."""
    if image.GetDimension() != 3 or sorted(labels.GetSize()) != sorted(image.GetSize()):
        raise InputError(
            f"'{name}' is {list(image.GetSize())} voxels and its mask {list(labels.GetSize())}; expected one 3-D size."
        )
    apart = np.linalg.norm(_corners(image)[:, None] - _corners(labels)[None], axis=-1).min(axis=1).max()
    if apart > 0.5 * min(image.GetSpacing()):
        raise InputError(f"the mask of '{name}' lies {apart:.2f} mm from its image; expected the same place.")
    return sitk.Resample(labels, image, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkNearestNeighbor)


def _corners(image: sitk.Image) -> np.ndarray:
    """``[8, 3]`` LPS mm of the corner voxels."""
    ends = [(0, size - 1) for size in image.GetSize()]
    return np.array([image.TransformIndexToPhysicalPoint(corner) for corner in product(*ends)])


def save_picture(folder: Path, name: str, image: Path, mask: Path) -> None:
    """Write ``images/NAME`` (JPEG and PNG as they are, others as PNG) and ``masks/NAME.png`` (0 and 255).

    Both are taken as they are shown upright; a mask of 0 and 1 counts as one of 0 and 255.

    Raises:
        InputError: a file is not whole or no picture, the sizes differ, or the mask is coloured or nowhere white.
    """
    picture, reference = read_volume(image), read_volume(mask)
    if picture.size != reference.size:
        raise InputError(
            f"'{mask}' is {list(reference.size[:2])} pixels; expected {list(picture.size[:2])}, as its image '{image}'."
        )
    inside = mask_values(mask, reference, {"inside": (255,)})[0].astype(np.uint8)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    if image.suffix.lower() in (".jpg", ".jpeg", ".png"):
        shutil.copyfile(image, folder / "images" / f"{name}{image.suffix.lower()}")
    else:
        with Image.open(image) as stored:
            stored.convert("RGB").save(folder / "images" / f"{name}.png")
    Image.fromarray(inside).save(folder / "masks" / f"{name}.png")
