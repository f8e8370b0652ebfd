"""A segmentation of the scene as label numbers on its image's grid, and as files other programs read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
import vtk

from ..data.errors import InputError
from .arrays import from_vtk, image_array, image_data, to_vtk
from .files import save_node
from .image_case import check_for_nifti
from .nodes import PROVENANCE_ATTRIBUTE, nodes_of_class, provenance_of, unchanged_after
from .segmentation import source_volume

NIFTI_ENDINGS = (".nii", ".nii.gz")


@dataclass(frozen=True)
class LabelMap:
    """Segments as numbers.

    Attributes:
        array: ``[K, J, I]`` uint8; 0 is background.
        ijk_to_ras: ``[4, 4]`` in the segmentation's own coordinates: a transform above it is not applied.
        values: segment name -> its number in ``array``, in the order of the segmentation.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray
    values: dict[str, int]


def reference_volume(segmentation_node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLVolumeNode:
    """The image a segmentation was made of.

    Raises:
        InputError: no segmentation, or its image is no longer in the scene.
    """
    if not isinstance(segmentation_node, slicer.vtkMRMLSegmentationNode):
        raise InputError(f"expected a segmentation node, got {segmentation_node!r}. Choose a segmentation.")
    volume = source_volume(segmentation_node)
    if volume is None:
        raise InputError(
            f"the image of '{segmentation_node.GetName()}' is not in the scene; its grid is needed. Load the image, or "
            "choose it as source geometry in the Segmentations module."
        )
    return volume


def label_map(segmentation_node: slicer.vtkMRMLSegmentationNode) -> LabelMap:
    """The segments on the grid of their image; where two overlap the later one wins.

    Each keeps the label value of its class. Segments a user added may share one: then all are counted 1, 2, ...

    Raises:
        InputError: see :func:`reference_volume`; no segment, more than a byte can number, or two of one name.
    """
    volume_node, segmentation = reference_volume(segmentation_node), segmentation_node.GetSegmentation()
    ids = list(segmentation.GetSegmentIDs())
    if not 0 < len(ids) < 256:
        raise InputError(f"'{segmentation_node.GetName()}' has {len(ids)} segments; expected 1 to 255.")
    segments = [segmentation.GetSegment(segment_id) for segment_id in ids]
    names = [segment.GetName() for segment in segments]
    if len(set(names)) != len(names):
        raise InputError(f"two segments of '{segmentation_node.GetName()}' have one name; expected different names.")
    values = [segment.GetLabelValue() for segment in segments]
    if len(set(values)) != len(values) or any(not 0 < value < 256 for value in values):
        values = list(range(1, len(segments) + 1))
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    array, ijk_to_ras = _merged(segmentation_node, volume_node, matrix, ids, values), from_vtk(matrix)
    return LabelMap(array, ijk_to_ras, dict(zip(names, values, strict=True)))


def export_nifti(segmentation_node: slicer.vtkMRMLSegmentationNode, path: str | Path) -> Path:
    """Write the label map, on the grid of the image, as ``.nii.gz`` or ``.nii``.

    A NIfTI file cannot name its values: the caller writes them beside it, see :attr:`LabelMap.values`.

    Raises:
        InputError: see :func:`label_map`; a sheared grid, which the format's readers would straighten without a word;
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
    described = {**provenance_of(segmentation_node), "segments": values}
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


def latest_segmentation(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLSegmentationNode:
    """The segmentation that a run added last.

    Raises:
        InputError: there is none.
    """
    made = [
        node for node in nodes_of_class(scene, "vtkMRMLSegmentationNode") if node.GetAttribute(PROVENANCE_ATTRIBUTE)
    ]
    if not made:
        raise InputError("the scene holds no segmentation by MedSegAttention; segment a volume first.")
    return made[-1]


def _merged(
    segmentation_node: slicer.vtkMRMLSegmentationNode,
    volume_node: slicer.vtkMRMLVolumeNode,
    ijk_to_ras: vtk.vtkMatrix4x4,
    ids: list[str],
    values: list[int],
) -> np.ndarray:
    grid, merged = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    grid.SetDimensions(volume_node.GetImageData().GetDimensions())
    grid.SetImageToWorldMatrix(ijk_to_ras)
    names, numbers = vtk.vtkStringArray(), vtk.vtkIntArray()
    for segment_id, value in zip(ids, values, strict=True):
        names.InsertNextValue(segment_id)
        numbers.InsertNextValue(value)
    segmentation_node.CreateBinaryLabelmapRepresentation()  # does nothing where it is there
    segmentation_node.GenerateMergedLabelmapForAllSegments(
        merged, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY, grid, names, numbers
    )
    return image_array(merged).astype(np.uint8)
