"""A segmentation of the scene as files that other programs read."""

from __future__ import annotations

import json
from pathlib import Path

import slicer

from ..data.errors import InputError
from ..data.volume import check_for_nifti
from ..scene.arrays import image_data, to_vtk
from ..scene.corrections import mark_corrections, told_of_corrections
from ..scene.label_maps import label_map
from ..scene.nodes import provenance_of, unchanged_after
from ..scene.overlays import probability_thresholds
from .files import save_node

NIFTI_ENDINGS = (".nii", ".nii.gz")


def export_nifti(segmentation_node: slicer.vtkMRMLSegmentationNode, path: str | Path) -> Path:
    """Write the label map, on the grid of the image, as ``.nii.gz`` or ``.nii``.

    A NIfTI file cannot name its values: the caller writes them beside it, see ``LabelMap.values``.

    Raises:
        InputError: see ``label_map``; a sheared grid, which the format's readers would straighten without a word;
            a file that cannot be written.
    """
    labels, scene = label_map(segmentation_node), segmentation_node.GetScene()
    check_for_nifti(segmentation_node.GetName(), labels.ijk_to_ras)
    with unchanged_after(scene):
        node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "MedSegAttentionLabels")
        node.SetIJKToRASMatrix(to_vtk(labels.ijk_to_ras))
        node.SetAndObserveImageData(image_data(labels.array))
        return save_node(node, path)


def export_segmentation(segmentation_node: slicer.vtkMRMLSegmentationNode, path: str | Path) -> list[Path]:
    """Write a segmentation as the ending of ``path`` says.

    Args:
        segmentation_node: of a scene.
        path: ``.seg.nrrd``; or ``.nii.gz`` or ``.nii``, with a JSON file of the same name that names its values and
            holds the provenance.

    Returns:
        Paths of all files written.

    Raises:
        InputError: another ending; the JSON file would replace one that no export wrote, such as the record of a
            batch; or see :func:`export_nifti` and :func:`~.files.save_node`.
    """
    path = Path(path).absolute()
    if isinstance(segmentation_node, slicer.vtkMRMLSegmentationNode):
        mark_corrections(segmentation_node)
    if path.name.lower().endswith(".seg.nrrd"):
        return [save_node(segmentation_node, path)]
    ending = next((ending for ending in NIFTI_ENDINGS if path.name.lower().endswith(ending)), None)
    if ending is None:
        raise InputError(f"'{path.name}' has another ending; expected .seg.nrrd, .nii.gz, .nii or .dcm.")
    beside = path.with_name(f"{path.name[: -len(ending)]}.json")
    if beside.exists() and not _is_description(beside):
        raise InputError(f"'{beside}' is there and was written by no export; choose another folder or name.")
    written = export_nifti(segmentation_node, path)
    values = [{"name": name, "value": value} for name, value in label_map(segmentation_node).values.items()]
    described = provenance_of(segmentation_node) | told_of_corrections(segmentation_node) | {"segments": values}
    if isinstance(segmentation_node, slicer.vtkMRMLSegmentationNode):
        described["probability_thresholds"] = probability_thresholds(segmentation_node)
    try:
        beside.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"'{beside}' cannot be written ({error.strerror}); choose another folder or name.") from error
    return [written, beside]


def _is_description(path: Path) -> bool:
    """Whether a JSON file is what :func:`export_segmentation` writes beside a label map, and no record of a batch."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "segments" in content and "files" not in content
