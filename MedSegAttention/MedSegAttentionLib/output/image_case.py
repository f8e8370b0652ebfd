"""A case whose image comes from a file. Loads MRML, which takes seconds, only when there is a result to keep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..data.case import Case, FileChoice
from ..data.result import VolumeResult
from ..data.volume import VolumeImage


def image_case(name: str, stem: str, read: Callable[[], VolumeImage], choice: FileChoice) -> Case:
    """A case whose image ``read`` gives; its nodes live in a scene of their own while files are written."""

    def save(volume: VolumeImage, result: VolumeResult, folder: Path) -> dict[str, float]:
        from ..scene.application import headless_scene
        from ..scene.volumes import add_volume
        from .case_files import save_files

        scene = headless_scene()
        return save_files(scene, add_volume(scene, volume), result, folder / stem, choice)

    return Case(name, stem, lambda: read().without_alpha(), save, choice.endings())
