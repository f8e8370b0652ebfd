"""DICOM Segmentation objects to :class:`~..data.comparison.NamedLabels`, by highdicom."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..data.comparison import NamedLabels
from ..data.errors import InputError
from .naming import quiet, require_highdicom

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes: Segmentation Storage, Label Map Segmentation Storage."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_dicom_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM Segmentation."""
    import pydicom

    try:
        return path.is_file() and pydicom.dcmread(path, specific_tags=["SOPClassUID"]).SOPClassUID in SEGMENTATIONS
    except Exception:  # no DICOM at all, or none that says what it is
        return False


def read_dicom_segmentation(path: Path) -> NamedLabels:
    """Read one; where segments overlap the later one wins.

    Raises:
        DependencyError: highdicom is not installed.
        InputError: damaged, or its frames make no volume.
    """
    require_highdicom()
    from highdicom.seg import segread

    try:
        with quiet():
            segmentation = segread(path)
            volume = segmentation.get_volume(combine_segments=False, rescale_fractional=True)
            numbers = list(segmentation.segment_numbers)
            names = [segmentation.get_segment_description(number).segment_label for number in numbers]
    except Exception as error:
        raise InputError(
            f"'{path}' cannot be read as a DICOM Segmentation ({type(error).__name__}); expected one whose frames lie "
            "on one grid."
        ) from error
    masks = np.asarray(volume.array).reshape(*volume.spatial_shape, -1)
    array = np.zeros(volume.spatial_shape, np.uint8)
    for place in range(masks.shape[-1]):
        array[masks[..., place] > 0.5] = place + 1
    # highdicom's index axes are (slice, row, column); ours are (i: column, j: row, k: slice).
    matrix = np.asarray(volume.affine)[:, [2, 1, 0, 3]]
    return NamedLabels(path.stem, array, LPS_TO_RAS @ matrix, {name: n for n, name in enumerate(names, start=1)})
