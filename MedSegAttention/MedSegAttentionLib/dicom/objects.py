"""All DICOM objects of a result as files, and what is checked before there is one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..data.errors import InputError, MedSegAttentionError
from ..data.result import VolumeResult
from ..data.volume import VolumeImage
from .naming import quiet, require_highdicom
from .parametric_map import parametric_map_object
from .report import report_object
from .segmentation import segmentation_object
from .sources import source_images

logger = logging.getLogger(__name__)


def check_for_dicom(volume: VolumeImage) -> None:
    """Raise what :func:`write_objects` would raise about the image, before anything is computed.

    Raises:
        InputError: the image was not read from DICOM, or from files that DICOM objects cannot refer to.
        DependencyError: highdicom is not installed.
    """
    if volume.source is None:
        raise InputError(
            f"'{volume.name}' was not read from DICOM, so that there is no patient, study or image that DICOM results "
            "could refer to; give the DICOM series or file, or segment without --dicom."
        )
    require_highdicom()
    with quiet():
        source_images(volume.source)


def write_objects(volume: VolumeImage, result: VolumeResult, stem: Path, kind: str) -> None:
    """Write STEM.seg.dcm, STEM.sr.dcm and STEM.MAP.dcm for each attention map of the result.

    A photograph has no place in the patient, without which DICOM knows no Parametric Map: its maps are left out, which
    the log says.

    Args:
        volume: the image that was segmented, read from DICOM.
        result: of the run on it.
        stem: folder and start of the file names.
        kind: one of :data:`~.segmentation.KINDS`.

    Raises:
        InputError: see :func:`check_for_dicom`; or a header that highdicom does not take.
    """
    with quiet():
        try:
            objects = _objects(volume, result, kind)
        except MedSegAttentionError:
            raise
        except Exception as error:  # of highdicom, about values of headers
            logger.debug("no DICOM objects of '%s'", volume.name, exc_info=True)
            raise InputError(
                f"the DICOM results of '{volume.name}' could not be made ({type(error).__name__}): its headers hold "
                "what the standard does not allow. Correct them, or segment without --dicom; --debug shows more."
            ) from error
        for ending, dataset in objects.items():
            path = stem.with_name(f"{stem.name}.{ending}.dcm")
            try:
                dataset.save_as(path)
            except OSError as error:
                raise InputError(
                    f"'{path.name}' could not be written ({error.strerror or error}); is there room on the disk?"
                ) from error


def _objects(volume: VolumeImage, result: VolumeResult, kind: str) -> dict[str, Any]:
    images = source_images(volume.source)
    segmentation = segmentation_object(images, result, kind)
    objects = {"seg": segmentation, "sr": report_object(images, result, segmentation)}
    if images.has_place:
        for number, (name, attention) in enumerate(result.attention.items()):
            objects[name] = parametric_map_object(images, result, attention, number)
    elif result.attention:
        logger.warning(
            "'%s' is a photograph without a place in the patient, for which DICOM has no Parametric Map; its maps are "
            "written as .nrrd alone.",
            volume.name,
        )
    return objects
