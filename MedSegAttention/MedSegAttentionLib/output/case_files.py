"""The files of one result: what the command line and a batch write for an image, from a file or from the scene."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

import slicer

from ..data.case import Case, FileChoice, file_names
from ..data.errors import InputError
from ..data.result import VolumeResult
from ..data.volume import VolumeImage
from ..scene.nodes import unchanged_after
from ..scene.readable import make_readable
from ..scene.volumes import input_image
from ..scene.writing import write_result
from .exports import export_nifti
from .files import save_node, save_scene
from .pictures import write_figure
from .report import write_report
from .result_figure import result_panels


def node_cases(scene: slicer.vtkMRMLScene, nodes: Sequence[slicer.vtkMRMLVolumeNode], choice: FileChoice) -> list[Case]:
    """Cases whose images are volumes of a scene, which is left as it was.

    The files lie in the volume's own coordinates, as Slicer saves nodes: a transform above it is not in them.
    """
    names = [_name_of(node) for node in nodes]
    stems = file_names(names)
    cases = []
    for node, name, stem in zip(nodes, names, stems, strict=True):
        save = partial(_save_beside, scene, node, stem, choice)
        own = name if names.count(name) == 1 else stem  # two rows of one name could not be told apart
        cases.append(Case(own, stem, partial(input_image, node), save, choice.endings()))
    return cases


def scene_cases(scene: slicer.vtkMRMLScene, nodes: Sequence[slicer.vtkMRMLVolumeNode]) -> list[Case]:
    """Cases whose images are volumes of a scene and whose results go there too; no file is written."""

    def save(node: slicer.vtkMRMLVolumeNode, _volume: VolumeImage, result: VolumeResult, _folder: Path) -> dict:
        begin = perf_counter()
        _check_presence(scene, node)
        write_result(scene, result, node, show=False)
        return {"nodes": round(perf_counter() - begin, 4)}

    return [Case(_name_of(node), "", partial(input_image, node), partial(save, node)) for node in nodes]


def _name_of(node: object) -> str:
    """Also of what is no node: reading it says so, as the outcome of that case."""
    return (node.GetName() if isinstance(node, slicer.vtkMRMLNode) else str(node)) or "volume"


def _save_beside(
    scene: slicer.vtkMRMLScene,
    node: slicer.vtkMRMLVolumeNode,
    stem: str,
    choice: FileChoice,
    _volume: VolumeImage,
    result: VolumeResult,
    folder: Path,
) -> dict[str, float]:
    _check_presence(scene, node)
    with unchanged_after(scene):
        return save_files(scene, node, result, folder / stem, choice)


def _check_presence(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLVolumeNode) -> None:
    if not scene.IsNodePresent(node):
        raise InputError(f"volume '{node.GetName()}' left the scene during the run; nothing was written.")


def save_files(
    scene: slicer.vtkMRMLScene,
    volume_node: slicer.vtkMRMLVolumeNode,
    result: VolumeResult,
    stem: Path,
    choice: FileChoice,
) -> dict[str, float]:
    """Write the result into ``scene`` and from there to files.

    Args:
        scene: of the volume.
        volume_node: the image that was segmented.
        result: of the run on it.
        stem: folder and start of the file names.
        choice: what to write.

    Returns:
        Seconds for ``nodes`` and ``files``.
    """
    begin = perf_counter()
    nodes = write_result(scene, result, volume_node)
    middle = perf_counter()
    save_node(nodes.segmentation, _beside(stem, ".seg.nrrd"))
    for name, node in nodes.attention.items():
        save_node(node, _beside(stem, f".{name}.nrrd"))
    overlay = next(iter(nodes.attention.values()), None)
    panels = result_panels(scene, volume_node, nodes.segmentation, overlay, result.labels, result.provenance)
    write_figure(_beside(stem, ".png"), *panels)
    if choice.nifti:
        export_nifti(nodes.segmentation, _beside(stem, ".nii.gz"))
    if choice.report:
        for ending in (".report.png", ".report.pdf"):
            write_report(nodes.segmentation, _beside(stem, ending))
    if choice.scene:
        make_readable(scene, volume_node, nodes.segmentation, result.labels, result.ijk_to_ras)
        save_scene(scene, _beside(stem, ".mrb"))
    return {"nodes": round(middle - begin, 4), "files": round(perf_counter() - middle, 4)}


def _beside(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}{ending}")
