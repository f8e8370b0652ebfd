"""Photographs and frames (PNG, JPG, BMP, TIFF), by Pillow: whole, upright, in 8 bits a channel where they have colour.

A camera that was held on its side writes the picture as its sensor saw it and says in EXIF how to turn it. Slicer shows
what is stored. So the voxels are turned upright for the network, and the geometry turns with them: a result lies right
on the picture that Slicer shows.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..data.errors import InputError
from ..data.volume import VolumeImage
from .faults import damaged, no_image
from .geometry import LPS_TO_RAS, of_itk
from .names import stem_of

ORIENTATION = 0x0112
BEGINNINGS = (b"II*\0", b"MM\0*", b"\x89PNG", b"\xff\xd8\xff", b"BM")
COLOUR, GREY = ("RGB", "RGBA"), ("L", "LA", "I;16", "I", "F", "1")
TURNS = {
    1: ((1, 0, 0), (0, 1, 0)),
    2: ((-1, 0, 1), (0, 1, 0)),
    3: ((-1, 0, 1), (0, -1, 1)),
    4: ((1, 0, 0), (0, -1, 1)),
    5: ((0, 1, 0), (1, 0, 0)),
    6: ((0, 1, 0), (-1, 0, 1)),
    7: ((0, -1, 1), (-1, 0, 1)),
    8: ((0, -1, 1), (1, 0, 0)),
}
"""EXIF orientation -> stored column and row from (column, row, 1) of the upright picture; 1 stands for the last one."""


def read_picture(path: Path) -> VolumeImage:
    """Read a picture; one of several pages of one size is a volume.

    Raises:
        InputError: cut short, damaged, or with pages of several sizes.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            pages = getattr(picture, "n_frames", 1)
            if picture.format == "TIFF" and (pages > 1 or picture.mode not in (*COLOUR, *GREY)):
                return _by_itk(path, picture, pages)
            turned = TURNS.get(picture.getexif().get(ORIENTATION, 1), TURNS[1])
            stored = _pixels(picture)
    except UnidentifiedImageError as error:
        if path.read_bytes()[:8].startswith(BEGINNINGS):
            raise damaged(path, "its directory is not whole") from error
        raise no_image(path, "it does not begin like a picture") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise damaged(path, error) from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(f"'{path}' is too large for a picture ({error}); expected fewer pixels.") from error
    array, stored_to_ras = _upright(stored, turned), LPS_TO_RAS
    return VolumeImage(array[None], stored_to_ras @ _matrix(turned, stored.shape), stem_of(path), has_scale=False)


def _pixels(picture: object) -> np.ndarray:
    """``[rows, columns]`` or ``[rows, columns, channels]``; palettes and CMYK become colours, bits become 0 and 255."""
    if picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode not in (*COLOUR, *GREY):
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    return np.asarray(picture)


def _upright(stored: np.ndarray, turned: tuple[tuple[int, ...], ...]) -> np.ndarray:
    (column_by_column, column_by_row, _), (row_by_column, row_by_row, _) = turned
    array = stored if column_by_column else stored.swapaxes(0, 1)
    rows = row_by_row if column_by_column else column_by_row
    columns = column_by_column if column_by_column else row_by_column
    return np.ascontiguousarray(array[::rows, ::columns])


def _matrix(turned: tuple[tuple[int, ...], ...], shape: tuple[int, ...]) -> np.ndarray:
    """(column, row, slice, 1) of the upright picture to (column, row, slice, 1) of the stored one."""
    matrix = np.eye(4)
    for axis, (by_column, by_row, last) in enumerate(turned):
        matrix[axis, :2] = by_column, by_row
        matrix[axis, 3] = last * (shape[1 - axis] - 1)
    return matrix


def _by_itk(path: Path, picture: object, pages: int) -> VolumeImage:
    """A TIFF of several pages, or of a kind that Pillow does not know."""
    sizes = set()
    for page in range(pages):
        picture.seek(page)
        sizes.add(picture.size)
    if len(sizes) > 1:
        raise InputError(
            f"'{path}' has {pages} pages of different sizes, {sorted(sizes)}; expected one picture, or pages of one "
            "size. Save the page you want as a file of its own."
        )
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise damaged(path, str(error).strip().splitlines()[-1]) from error
    array = sitk.GetArrayFromImage(image)
    array = array[None] if image.GetDimension() == 2 else array
    return VolumeImage(array, of_itk(image), stem_of(path)).without_scale()
