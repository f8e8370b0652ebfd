"""Image files to :class:`~..data.volume.VolumeImage`, without a MRML scene; each format has a room of its own.

A file is read rightly or refused with its true reason: :mod:`.nifti`, :mod:`.nrrd`, :mod:`.metaimage`, :mod:`.dicom`
and :mod:`.pictures` check that what a header promises is there, whole and uncorrupted. What a header leaves open, or
says twice, becomes a doubt of the volume, which stops a run unless it is forced.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.errors import InputError, MedSegAttentionError
from ..data.volume import PICTURE_SUFFIXES, VolumeImage
from .faults import damaged, not_opened
from .geometry import unlikely
from .names import META_SUFFIXES, NIFTI_SUFFIXES, NRRD_SUFFIXES, is_image, stem_of

if TYPE_CHECKING:
    from .study import FoundSeries

__all__ = ["is_image", "read_found", "read_volume", "stem_of"]

logger = logging.getLogger(__name__)


def read_volume(path: str | Path) -> VolumeImage:
    """Read one image file, or one DICOM series from its folder.

    Args:
        path: NRRD, NIfTI, MHA/MHD, PNG, JPG, TIFF or BMP file, a DICOM file, or a folder that holds one DICOM series.

    Raises:
        InputError: missing, unreadable, cut short, damaged, empty, or 4-D.
    """
    path = Path(path)
    if not path.exists():
        what = "is a link that leads nowhere" if path.is_symlink() else "does not exist"
        raise InputError(f"'{path}' {what}; expected an image file or a folder with a DICOM series.")
    if not (path.is_file() or path.is_dir()):
        raise InputError(
            f"'{path}' is no file but a pipe, a socket or a device; expected an image file or a folder with a DICOM "
            "series."
        )
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"'{ascii(str(path))[1:-1]}' has a name that is no UTF-8, which image readers cannot open. Rename it."
        ) from error
    return _guarded(path, lambda: _reader_of(path)(path))


def read_found(series: FoundSeries, name: str) -> VolumeImage:
    """Read a DICOM series that was found in a study, wherever its files lie.

    Args:
        series: which.
        name: of the volume.

    Raises:
        InputError: files are missing or damaged, or they are no straight stack of slices.
    """
    from .dicom import read_files

    if series.fault is not None:
        raise series.fault
    if series.no_stack:
        raise InputError(
            f"{series.title} in '{series.folder}' is no volume: {series.no_stack}. Load it in Slicer, which splits "
            "such series, and give what comes out; or choose another series."
        )
    return _guarded(series.folder, lambda: read_files(series.files, f"folder '{series.folder}'", name))


def _guarded(path: Path, read: Callable[[], VolumeImage]) -> VolumeImage:
    """What ``read`` gives; whatever it meets becomes an error that says what to do about ``path``."""
    try:
        with warnings.catch_warnings():  # of libraries, about what is checked here
            warnings.simplefilter("ignore")
            volume = read()
            return replace(volume, doubts=(*volume.doubts, *unlikely(volume, path.name)))
    except MedSegAttentionError:
        raise
    except OSError as error:
        raise not_opened(path, error) from error
    except MemoryError as error:
        raise InputError(
            f"'{path}' does not fit into the memory of this computer; expected a smaller image."
        ) from error
    except Exception as error:  # whatever a damaged file makes of a parser
        logger.debug("'%s' could not be read", path, exc_info=True)
        raise damaged(path, f"{type(error).__name__}: {error}") from error


def _reader_of(path: Path) -> Callable[[Path], VolumeImage]:
    """The room of a file's format, by its name; imported only where it is needed."""
    name = path.name.lower()
    if path.is_dir():
        from .dicom import read_series

        return read_series
    if name.endswith(PICTURE_SUFFIXES):
        from .pictures import read_picture

        return read_picture
    if name.endswith(NIFTI_SUFFIXES) or (name.endswith(".img") and _has_header(path)):
        from .nifti import read_nifti

        return read_nifti
    if name.endswith(NRRD_SUFFIXES):
        from .nrrd import read_nrrd

        return read_nrrd
    if name.endswith(META_SUFFIXES):
        from .metaimage import read_metaimage

        return read_metaimage
    from .dicom import read_dicom_file

    return read_dicom_file


def _has_header(path: Path) -> bool:
    """Whether an ``.img`` has its ``.hdr`` beside it."""
    return any(path.with_suffix(suffix).is_file() for suffix in (".hdr", ".HDR"))
