"""Image files to :class:`~..data.volume.VolumeImage`, with SimpleITK and without a MRML scene."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..data.errors import InputError
from ..data.volume import PICTURE_SUFFIXES, VolumeImage

VOLUME_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
KINDS = "NRRD, NIfTI, MHA, PNG, JPG, TIFF or BMP files, or a folder that holds one DICOM series"
MODALITY_TAG, POSITION_TAG = "0008|0060", "0020|0032"
REPEATED_MM = 0.001
"""Slices of a series that are closer than this are at one place."""
MISPLACED = 1 / 3
"""Share of the distance of slices by which one may lie elsewhere than the volume says."""


def stem_of(path: Path) -> str:
    """File name without its image suffix (``case.nii.gz`` gives ``case``)."""
    for suffix in sorted((*PICTURE_SUFFIXES, *VOLUME_SUFFIXES, ".seg.nrrd"), key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem if path.is_file() else path.resolve().name


def is_image(path: Path) -> bool:
    """Whether ``path`` is a file whose name ends like an image this package reads; hidden ones are none."""
    return (
        path.is_file()
        and not path.name.startswith(".")
        and path.name.lower().endswith((*PICTURE_SUFFIXES, *VOLUME_SUFFIXES))
    )


def read_volume(path: str | Path, series: str | None = None) -> VolumeImage:
    """Read one image file, or one DICOM series from its folder.

    Args:
        path: NRRD, NIfTI, MHA/MHD, PNG, JPG, TIFF or BMP file, or a folder that holds one DICOM series.
        series: which one, where the folder holds several; see :func:`series_in`.

    Raises:
        InputError: missing, unreadable, empty, or 4-D.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"'{path}' does not exist; expected an image file or a folder with a DICOM series.")
    try:
        image, modality = _read_series(path, series) if path.is_dir() else _read_file(path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(
            f"'{path}' could not be read as an image ({reason}); expected {KINDS}. Check that the file is whole."
        ) from error
    volume = _to_volume(image, stem_of(path), modality)
    return volume.without_scale() if path.name.lower().endswith(PICTURE_SUFFIXES) else volume


def _read_file(path: Path) -> tuple[sitk.Image, str | None]:
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        if not path.name.lower().endswith(PICTURE_SUFFIXES):
            raise
        image = _read_picture(path)
    modality = image.GetMetaData(MODALITY_TAG).strip() if image.HasMetaDataKey(MODALITY_TAG) else None
    return image, modality or None


def _read_picture(path: Path) -> sitk.Image:
    """A picture of a kind SimpleITK cannot read (grey with alpha, for one), as grey or colour."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            array = np.asarray(picture.convert("L" if picture.mode in ("1", "L", "LA", "I;16") else "RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise RuntimeError(str(error)) from error
    return sitk.GetImageFromArray(array, isVector=array.ndim == 3)


def _read_series(folder: Path, series: str | None) -> tuple[sitk.Image, str | None]:
    known = series_in(folder)
    if not known:
        raise InputError(f"folder '{folder}' holds no image; expected {KINDS}.")
    wanted = [found for found in known if series in (None, found)]
    if len(wanted) != 1:
        raise InputError(
            f"folder '{folder}' holds {len(known)} DICOM series; expected exactly one. Give the folder of one series."
        )
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), wanted[0])
    image, modality = _read_file(Path(files[0]))
    if len(files) == 1:  # perhaps a volume of its own, with many frames
        return image, modality
    image = sitk.ReadImage(files)
    _check_places(folder, _positions(files), image)
    return image, modality


def _positions(files: Sequence[str]) -> np.ndarray | None:
    """``[n, 3]``: where the first voxel of each slice lies, LPS mm; None where a file does not say it."""
    reader, positions = sitk.ImageFileReader(), []
    for name in files:
        reader.SetFileName(name)
        reader.ReadImageInformation()
        if not reader.HasMetaDataKey(POSITION_TAG):
            return None
        positions.append([float(value) for value in reader.GetMetaData(POSITION_TAG).split("\\")])
    return np.array(positions)


def _check_places(folder: Path, positions: np.ndarray | None, image: sitk.Image) -> None:
    """A volume has one distance between slices, along their normal: a series of another form would lie wrong."""
    if positions is None:
        return
    steps = np.diff(np.sort(positions @ np.reshape(image.GetDirection(), (3, 3))[:, 2]))
    if steps.min() < REPEATED_MM:
        raise InputError(
            f"folder '{folder}' holds {len(positions)} slices at {1 + int((steps >= REPEATED_MM).sum())} places "
            "(several times or weightings in one series); expected one slice at each place. Load the series in Slicer, "
            "which splits it, or give a folder with one of them."
        )
    places = [image.TransformIndexToPhysicalPoint((0, 0, number)) for number in range(len(positions))]
    off, distance = float(np.linalg.norm(positions - places, axis=1).max()), image.GetSpacing()[2]
    if off > MISPLACED * distance:
        raise InputError(
            f"the slices in folder '{folder}' ({steps.min():.2f} to {steps.max():.2f} mm apart) lie up to {off:.1f} mm "
            "from where a volume with one distance has them; expected a straight stack. Slices may be missing, or the "
            "gantry was tilted: get the series again, or load it in Slicer, which can correct it."
        )


def has_series(folder: Path) -> bool:
    """Whether ``folder`` itself holds files of a DICOM series."""
    return bool(series_in(folder))


def series_in(folder: Path) -> tuple[str, ...]:
    """IDs of the DICOM series in ``folder``, without the reader's own complaints about other files."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        return sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _to_volume(image: sitk.Image, name: str, modality: str | None) -> VolumeImage:
    if image.GetDimension() not in (2, 3):
        raise InputError(
            f"'{name}' is {image.GetDimension()}-D, size {list(image.GetSize())}; expected a 3-D volume or a 2-D "
            "picture. Split the series into its frames first."
        )
    array = sitk.GetArrayFromImage(image)
    direction, spacing, origin = np.eye(3), np.ones(3), np.zeros(3)
    n = image.GetDimension()
    direction[:n, :n] = np.reshape(image.GetDirection(), (n, n))
    spacing[:n], origin[:n] = image.GetSpacing(), image.GetOrigin()
    if n == 2:
        array = array[None]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = direction * spacing, origin
    return VolumeImage(array, LPS_TO_RAS @ matrix, name, modality)
