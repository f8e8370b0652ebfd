"""A case whose image comes from a file. Loads MRML, which takes seconds, only when there is a result to keep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from ..data.case import Case, FileChoice
from ..data.result import VolumeResult
from ..data.volume import VolumeImage, check_for_nifti


def image_case(name: str, stem: str, read: Callable[[], VolumeImage], choice: FileChoice) -> Case:
    """A case whose image ``read`` gives; its nodes live in a scene of their own while files are written.

    Reading raises :class:`InputError` for an image that the files of ``choice`` cannot hold.
    """

    def read_for_choice() -> VolumeImage:
        volume = read().without_alpha()
        if choice.nifti:
            check_for_nifti(volume.name, volume.ijk_to_ras)
        if choice.dicom:
            from ..dicom.objects import check_for_dicom

            check_for_dicom(volume)
        return volume

    def save(volume: VolumeImage, result: VolumeResult, folder: Path) -> dict[str, float]:
        from ..scene.application import headless_scene
        from ..scene.volumes import add_volume
        from .case_files import save_files

        scene = headless_scene()
        seconds = save_files(scene, add_volume(scene, volume), result, folder / stem, choice)
        if choice.dicom:
            from ..dicom.objects import write_objects

            begin = perf_counter()
            write_objects(volume, result, folder / stem, choice.dicom)
            seconds["dicom"] = round(perf_counter() - begin, 4)
        return seconds

    kinds = {"dicom_seg": choice.dicom} if choice.dicom else {}
    return Case(name, stem, read_for_choice, save, choice.endings(), kinds)
