"""Labels to a segmentation node with names, colours, standard codes and exact geometry."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import slicer
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from .. import __version__
from ..data.errors import InputError
from ..data.labels import Label
from ..data.result import VolumeResult
from .arrays import image_data
from .colours import Colour, segment_colours
from .nodes import ABSENT_ATTRIBUTE, PROVENANCE_ATTRIBUTE, follow, mark_partial, nodes_of_class, set_provenance
from .terminology import terminology_entry

logger = logging.getLogger(__name__)

BINARY_LABELMAP = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
SURFACE = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()


def write_segmentation(
    scene: slicer.vtkMRMLScene, result: VolumeResult, volume_node: slicer.vtkMRMLVolumeNode
) -> slicer.vtkMRMLSegmentationNode:
    """Add a segmentation of ``volume_node`` with one segment for each class found.

    Classes without a voxel get no segment (unless all are), since DICOM SEG exporters refuse empty ones; the node
    lists them in the attribute ``MedSegAttention.AbsentClasses``. All segments share one label map, copied once.

    Args:
        scene: of the volume.
        result: ``labels`` on the volume's own grid.
        volume_node: gives geometry, parent transform and place in the hierarchy.

    Raises:
        InputError: labels of another size than the volume, or with values that no class has.
    """
    present = _present_classes(result, volume_node)
    name = scene.GetUniqueNameByString(f"{volume_node.GetName()} {_run_name(result)}")
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    follow(node, volume_node)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    # With nothing found all classes get an empty segment: the file keeps the image's grid, and a reader can paint.
    written = present or list(result.classes)
    colours, shared = segment_colours(result.classes), labelmap(result.labels, volume_node)
    add_segments(node.GetSegmentation(), written, shared, algorithm_name(result), colours)
    node.CreateDefaultDisplayNodes()
    set_provenance(node, result.provenance)
    absent = [label.name for label in result.classes if label not in present]
    if absent:
        node.SetAttribute(ABSENT_ATTRIBUTE, ", ".join(absent))
        logger.info("Not found in '%s': %s", volume_node.GetName(), ", ".join(absent))
    mark_partial(node, result)
    return node


def source_volume(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLVolumeNode | None:
    """The image that was segmented, or None when it has left the scene.

    Frames of a sequence keep no reference of their own: theirs is the image that their browser shows with them.
    """
    if (volume_node := node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())) is not None:
        return volume_node
    browsers = nodes_of_class(node.GetScene(), "vtkMRMLSequenceBrowserNode") if node.GetScene() else []
    browser = next((browser for browser in browsers if browser.GetSequenceNode(node) is not None), None)
    return browser.GetProxyNode(browser.GetMasterSequenceNode()) if browser else None


def hide_earlier(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Hide what earlier runs found in the same image: two results over each other could not be told apart."""
    volume_node = source_volume(node)
    for other in nodes_of_class(node.GetScene(), "vtkMRMLSegmentationNode"):
        ours = other.GetAttribute(PROVENANCE_ATTRIBUTE) is not None and other is not node
        if ours and source_volume(other) is volume_node and other.GetDisplayNode():
            other.GetDisplayNode().SetVisibility(False)


def show_surface(node: slicer.vtkMRMLSegmentationNode, shown: bool) -> None:
    """Make the closed surface of every segment and show it in 3D, or take it away; the label map stays as it is."""
    if shown:
        node.CreateClosedSurfaceRepresentation()
        node.GetDisplayNode().SetVisibility3D(True)
    else:
        node.RemoveClosedSurfaceRepresentation()


def is_surface_shown(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether the segments have a closed surface and 3D views show it."""
    display = node.GetDisplayNode()
    return bool(display and display.GetVisibility3D() and node.GetSegmentation().ContainsRepresentation(SURFACE))


def _present_classes(result: VolumeResult, volume_node: slicer.vtkMRMLVolumeNode) -> list[Label]:
    image = volume_node.GetImageData()
    expected = image.GetDimensions()[::-1] if image else None
    if result.labels.shape != expected:
        raise InputError(
            f"labels of shape {list(result.labels.shape)} do not fit volume '{volume_node.GetName()}'; expected "
            f"{list(expected or [])} (k, j, i). Was the volume changed during the run? Run again."
        )
    found = np.zeros(256, dtype=bool)
    for plane in result.labels:  # marking is several times faster than sorting, and a plane fits in the cache
        found[plane] = True
    unknown = set(np.flatnonzero(found).tolist()) - {0} - {label.value for label in result.classes}
    if unknown:
        raise InputError(f"label values {sorted(unknown)} belong to no class; expected those of the checkpoint's card.")
    return [label for label in result.classes if found[label.value]]


def labelmap(
    labels: np.ndarray, volume_node: slicer.vtkMRMLVolumeNode, share: bool = False
) -> slicer.vtkOrientedImageData:
    """``[K, J, I]`` uint8 as Slicer keeps segments, on the grid of the volume; ``share``: without a copy."""
    image = image_data(labels, slicer.vtkOrientedImageData(), share)
    ijk_to_ras = vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(ijk_to_ras)
    image.SetImageToWorldMatrix(ijk_to_ras)
    return image


def add_segments(
    segmentation: slicer.vtkSegmentation,
    classes: Sequence[Label],
    shared_labelmap: slicer.vtkOrientedImageData,
    algorithm: str,
    colours: dict[str, Colour],
) -> None:
    """Add a segment for each class, with its name, colour and codes; all share one label map."""
    segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
    for label in classes:
        segment = slicer.vtkSegment()
        segment.SetName(label.name)
        segment.SetColor(*(component / 255 for component in colours[label.name]))
        segment.SetNameAutoGenerated(False)
        segment.SetColorAutoGenerated(False)
        segment.SetLabelValue(label.value)
        segment.AddRepresentation(BINARY_LABELMAP, shared_labelmap)
        segment.SetTag(segment.GetTerminologyEntryTagName(), terminology_entry(label))
        segment.SetTag("DICOM.SegmentAlgorithmType", "AUTOMATIC")
        segment.SetTag("DICOM.SegmentAlgorithmName", algorithm)
        segmentation.AddSegment(segment, label.name)


def _run_name(result: VolumeResult) -> str:
    """What tells results of one image apart: the checkpoint, and the task where its ID does not begin with that."""
    told = (str(result.provenance.get(key) or "") for key in ("task", "checkpoint"))
    task, checkpoint = told
    if not checkpoint:
        return "segmentation"
    return checkpoint if checkpoint.startswith(task) else f"{task} {checkpoint}"


def algorithm_name(result: VolumeResult) -> str:
    """Name and version of what made the segments, and the checkpoint."""
    return f"MedSegAttention {__version__} {result.provenance.get('checkpoint', '')}".strip()
