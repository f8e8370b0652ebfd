"""Photographs and frames (PNG, JPG, BMP, TIFF), by Pillow: whole, upright, in 8 bits a channel where they have colour.

A camera that was held on its side writes the picture as its sensor saw it and says in EXIF how to turn it. Slicer shows
what is stored; of TIFF files it mirrors some, and turns none by a quarter. So the voxels are turned upright for the
network, and the geometry turns with them: a result lies right on the picture that Slicer shows.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from ..data.errors import InputError
from ..data.volume import VolumeImage
from . import jpeg, png
from .faults import damaged, no_image
from .geometry import LPS_TO_RAS, of_itk, quiet_libraries
from .names import stem_of

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION = 0x0112
TIFF_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")
"""What Pillow is asked to read, whatever the name: of other kinds some hold several sizes, some are run by programs."""
BEGINNINGS = (*TIFF_BEGINNINGS, b"\x89PNG", b"\xff\xd8\xff", b"BM")
COLOUR, GREY = ("RGB", "RGBA"), ("L", "LA", "I;16", "I;16B", "I", "F", "1")
CONVERTED = ("P", "PA", "CMYK", "YCbCr")
"""Kinds that Pillow makes colours of."""
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
        InputError: cut short, damaged, with frames of an animation, or with pages of several sizes.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings(record=True) as told, quiet_libraries():
            warnings.simplefilter("always")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as picture:
                return _read(path, picture, told)
    except UnidentifiedImageError as error:
        return _unknown_to_pillow(path, error)
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, TypeError) as error:
        raise damaged(path, error) from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(f"'{path}' is too large for a picture ({error}); expected fewer pixels.") from error


def _read(path: Path, picture: Image.Image, told: list[warnings.WarningMessage]) -> VolumeImage:
    is_tiff = picture.format == "TIFF"
    pages = _page_count(path, picture)
    if is_tiff and picture.mode not in (*COLOUR, *GREY, *CONVERTED):
        return _by_itk(path)
    surplus = _rows_too_many(path, picture)
    orientation = int(picture.getexif().get(ORIENTATION, 1) or 1)
    orientation = orientation if orientation in TURNS else 1
    turned, planes = TURNS[orientation], []
    for page in range(pages):
        picture.seek(page)
        pixels = _pixels(path, picture)
        planes.append(pixels if is_tiff else _upright(pixels, turned))  # Pillow turns TIFF files as it reads them
    if any("Truncated File Read" in str(one.message) for one in told if is_tiff):
        raise damaged(path, "its directory is not whole")
    if lacking := surplus or _lacking(path, picture):
        raise damaged(path, lacking)
    if len({plane.shape for plane in planes}) > 1:
        raise InputError(f"'{path}' has pages of different kinds, some with colour; expected one kind.")
    rows, columns = planes[0].shape[:2]
    stored = (columns, rows) if orientation > 4 else (rows, columns)
    matrix = _matrix(turned, stored)
    if is_tiff:
        matrix = _matrix(TURNS[(orientation - 1) % 4 + 1], stored) @ matrix  # as ITK, and so Slicer, mirrors it
    return VolumeImage(np.stack(planes), LPS_TO_RAS @ matrix, stem_of(path), has_scale=False)


def _lacking(path: Path, picture: Image.Image) -> str:
    """What a picture lacks that Pillow has read without a word."""
    if picture.format == "PNG":
        return png.what_lacks(path.read_bytes())
    if picture.format in ("JPEG", "MPO"):
        return jpeg.what_lacks(path.read_bytes(), np.asarray(picture))
    return ""


def _rows_too_many(path: Path, picture: Image.Image) -> str:
    """Whether a BMP that is not compressed has more rows than its header says; a few bytes behind them are usual."""
    if picture.format != "BMP" or len(picture.tile) != 1 or picture.tile[0].codec_name != "raw":
        return ""
    tile = picture.tile[0]
    there = path.stat().st_size - tile.offset
    return "it has more rows than its header says" if there >= (picture.height + 1) * tile.args[1] else ""


def _page_count(path: Path, picture: Image.Image) -> int:
    """Pages of a TIFF, all of one size; of other kinds there is one, and a second picture of a JPG is a small copy."""
    pages = getattr(picture, "n_frames", 1)
    if picture.format != "TIFF":
        if pages > 1 and picture.format != "MPO":
            raise InputError(f"'{path}' is an animation of {pages} frames; expected one picture. Save them one by one.")
        return 1
    sizes = set()
    for page in range(pages):
        picture.seek(page)
        sizes.add(picture.size)
    picture.seek(0)
    if len(sizes) > 1:
        raise InputError(
            f"'{path}' has {pages} pages of different sizes, {sorted(sizes)}; expected one picture, or pages of one "
            "size. Save the page you want as a file of its own."
        )
    return pages


def _pixels(path: Path, picture: Image.Image) -> np.ndarray:
    """``[rows, columns]`` or ``[rows, columns, channels]``; palettes and CMYK become colours, bits become 0 and 255."""
    if picture.format == "PNG" and png.is_deep_colour(path.read_bytes()):
        picture.load()  # which checks what ITK does not
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="PNGImageIO"))
    if picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode not in (*COLOUR, *GREY):
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    pixels = np.asarray(picture)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


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


def _unknown_to_pillow(path: Path, error: Exception) -> VolumeImage:
    """A TIFF of a kind that Pillow does not know, such as colours in real numbers; else an error."""
    with path.open("rb") as file:
        beginning = file.read(8)
    if beginning.startswith(TIFF_BEGINNINGS):
        try:
            return _by_itk(path)
        except InputError:
            raise damaged(path, "its directory is not whole") from error
    if beginning.startswith(BEGINNINGS):
        raise damaged(path, "its header is not whole") from error
    raise no_image(path, "it does not begin like a picture") from error


def _by_itk(path: Path) -> VolumeImage:
    try:
        with quiet_libraries():
            image = sitk.ReadImage(str(path), imageIO="TIFFImageIO")
    except RuntimeError as error:
        raise damaged(path, str(error).strip().splitlines()[-1]) from error
    array = sitk.GetArrayFromImage(image)
    array = array[None] if image.GetDimension() == 2 else array
    return VolumeImage(array, of_itk(image), stem_of(path)).without_scale()
