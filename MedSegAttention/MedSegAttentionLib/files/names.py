"""Which files are images, and what their results are called."""

from __future__ import annotations

from os.path import realpath
from pathlib import Path

from ..data.case import UNWRITABLE
from ..data.volume import PICTURE_SUFFIXES

NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr")
"""A ``.hdr`` has its voxels in the ``.img`` beside it."""
NRRD_SUFFIXES, META_SUFFIXES = (".nrrd", ".nhdr"), (".mha", ".mhd")
VOLUME_SUFFIXES = (*NRRD_SUFFIXES, *NIFTI_SUFFIXES, *META_SUFFIXES)
KINDS = "NRRD, NIfTI, MHA, PNG, JPG, TIFF or BMP files, or a folder that holds one DICOM series"


def stem_of(path: Path) -> str:
    """File name without its image suffix (``case.nii.gz`` gives ``case``).

    Line breaks and bytes that are no UTF-8, which other programs cannot write in a name, become ``_``.
    """
    name = path.stem if path.is_file() else Path(realpath(path)).name
    for suffix in sorted((*PICTURE_SUFFIXES, *VOLUME_SUFFIXES, ".seg.nrrd"), key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            name = path.name[: -len(suffix)]
            break
    return UNWRITABLE.sub("_", name)


def is_image(path: Path) -> bool:
    """Whether ``path`` is a file whose name ends like an image this package reads; hidden ones are none."""
    return (
        path.is_file()
        and not path.name.startswith(".")
        and path.name.lower().endswith((*PICTURE_SUFFIXES, *VOLUME_SUFFIXES))
    )
