"""How much a segmentation holds: millilitres and slices of each segment, counted on its label map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from ..data.errors import InputError
from ..data.findings import LOWER_BOUND
from ..data.volume import AXIS_NAMES, PICTURE_SUFFIXES, VolumeImage
from .arrays import from_vtk, image_array
from .nodes import ABSENT_ATTRIBUTE, provenance_of, world_from_local
from .segmentation import BINARY_LABELMAP, source_volume


@dataclass(frozen=True)
class SegmentMeasure:
    """One segment.

    Attributes:
        name: as the user may have renamed it.
        colour: red, green, blue, each 0 to 255.
        voxels: how many carry its label; 0 where it was not found.
        size: in :attr:`SegmentationMeasure.unit`.
        slices: how many slices hold at least one of its voxels.
        findings: what the run found to say of it, a sentence each.
        expected_dice: the Dice to expect, in [0, 1]; None where the checkpoint has nothing to tell it from.
        expected_interval: in which it probably lies.
    """

    name: str
    colour: tuple[int, int, int]
    voxels: int
    size: float
    slices: int
    findings: tuple[str, ...] = ()
    expected_dice: float | None = None
    expected_interval: tuple[float, float] | None = None

    @property
    def is_lower_bound(self) -> bool:
        """Whether the border of the image cuts it."""
        return any(text.endswith(LOWER_BOUND) for text in self.findings)


@dataclass(frozen=True)
class SegmentationMeasure:
    """All segments of a segmentation.

    Attributes:
        segments: in the order of the segmentation.
        not_found: classes without a voxel, whether they have a segment or not.
        unit: ``"mL"`` for a volume, ``"mm2"`` for a single slice, ``"voxels"`` and ``"pixels"`` where the image has no
            real spacing.
        slice_count: slices of the whole image.
        transform: ``"none"``; ``"linear"``: the parent transform is in the sizes; ``"non-linear"``: it is not.
    """

    segments: tuple[SegmentMeasure, ...]
    not_found: tuple[str, ...]
    unit: str
    slice_count: int
    transform: str


def measure(segmentation_node: slicer.vtkMRMLSegmentationNode) -> SegmentationMeasure:
    """Count the voxels of each segment.

    Sizes are exact: voxels times the volume of a voxel in the world, a linear parent transform applied. A non-linear
    one changes every voxel differently; then sizes are those before it. A single slice has an area and no volume, since
    its thickness says nothing. Millimetres are given only where the spacing is real, see :func:`has_real_spacing`.

    Slices are counted along the axis that the run was cut along, or else along the one closest to head-feet.

    Raises:
        InputError: the segmentation holds no label map.
    """
    segmentation = segmentation_node.GetSegmentation()
    ids = list(segmentation.GetSegmentIDs())
    if ids and not segmentation.ContainsRepresentation(BINARY_LABELMAP):
        raise InputError(
            f"'{segmentation_node.GetName()}' has no binary label map to count; expected one. Create it in the "
            "Segmentations module, under Representations."
        )
    counted = _Counter(segmentation_node)
    segments = tuple(counted.segment(segmentation.GetSegment(segment_id)) for segment_id in ids)
    found = {segment.name for segment in segments if segment.voxels}
    listed = [segment.name for segment in segments]
    absent = [name for name in (segmentation_node.GetAttribute(ABSENT_ATTRIBUTE) or "").split(", ") if name]
    not_found = tuple(name for name in dict.fromkeys([*listed, *absent]) if name not in found)
    return SegmentationMeasure(
        segments, not_found, counted.unit, counted.slice_count, _transform_kind(segmentation_node)
    )


def has_real_spacing(
    segmentation_node: slicer.vtkMRMLSegmentationNode, single_slice: bool, spacing: tuple[float, ...]
) -> bool:
    """Whether the image that was segmented says how large it is in the patient.

    It does when it is grey and was not read from a picture file (PNG, JPG, TIFF, BMP): photographs and video frames
    have no scale, and what such files hold is the resolution of a print. A single slice must moreover have another
    in-plane spacing than 1 x 1, which is what readers put where a file has none.

    Args:
        segmentation_node: knows its image, or, where that has left the scene, what the run wrote about it.
        single_slice: whether the image is one slice.
        spacing: in the plane of the slices, mm.
    """
    volume_node, told = source_volume(segmentation_node), provenance_of(segmentation_node)
    if not told.get("has_scale", True):
        return False
    if volume_node is None or volume_node.GetImageData() is None:
        grey, file_name = told.get("display_window") is not None, ""
    else:
        storage = volume_node.GetStorageNode()
        grey = volume_node.GetImageData().GetNumberOfScalarComponents() == 1
        file_name = (storage.GetFileName() or "") if storage else ""
    if not grey or file_name.lower().endswith(PICTURE_SUFFIXES):
        return False
    return not (single_slice and np.allclose(spacing, 1))


class _Counter:
    """Counts labels of each slice, once for each label map: segments that do not overlap share one."""

    def __init__(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        self._node = node
        self._counts: dict[slicer.vtkOrientedImageData, np.ndarray] = {}
        labelmap = self._first_labelmap()
        volume_node = source_volume(node)
        image = volume_node.GetImageData() if volume_node else labelmap
        self.axis, self.slice_count, self.unit, self._voxel_size = 2, 0, "voxels", 1.0
        if labelmap is None or image is None:  # no segment at all
            return
        matrix = image_to_world(labelmap)
        # Editing crops a label map to what it holds; the image still knows how many slices there are.
        size = image.GetDimensions()
        self.axis = slice_axis(self._node, labelmap)
        self.slice_count = size[self.axis]
        in_plane = [axis for axis in range(3) if axis != self.axis]
        single = self.slice_count == 1
        spacing = tuple(float(np.linalg.norm(matrix[:3, axis])) for axis in in_plane)
        if not has_real_spacing(node, single, spacing):
            self.unit = "pixels" if single else "voxels"
            return
        directions = (world_from_local(node) @ matrix)[:3, :3]
        if single:
            self.unit, self._voxel_size = "mm2", float(np.linalg.norm(np.cross(*directions[:, in_plane].T)))
        else:
            self.unit, self._voxel_size = "mL", abs(float(np.linalg.det(directions))) / 1000

    def segment(self, segment: slicer.vtkSegment) -> SegmentMeasure:
        """Measure one segment."""
        labelmap = segment.GetRepresentation(BINARY_LABELMAP)
        if labelmap not in self._counts:
            self._counts[labelmap] = _label_counts(labelmap, self.axis)
        counts = self._counts[labelmap]
        value = segment.GetLabelValue()
        of_slices = counts[:, value] if value < counts.shape[1] else np.zeros(0, dtype=int)
        voxels = int(of_slices.sum())
        colour = tuple(round(255 * component) for component in segment.GetColor())
        name, slices = segment.GetName(), int(np.count_nonzero(of_slices))
        provenance = provenance_of(self._node)
        findings = tuple(provenance.get("findings", {}).get(name, ()))
        expected = provenance.get("expected", {}).get(name, {})
        interval = tuple(expected["interval"]) if expected else None
        size = voxels * self._voxel_size
        return SegmentMeasure(name, colour, voxels, size, slices, findings, expected.get("dice"), interval)

    def _first_labelmap(self) -> slicer.vtkOrientedImageData | None:
        segmentation = self._node.GetSegmentation()
        if segmentation.GetNumberOfSegments() == 0:
            return None
        return segmentation.GetNthSegment(0).GetRepresentation(BINARY_LABELMAP)


def slice_axis(node: slicer.vtkMRMLSegmentationNode, labelmap: slicer.vtkOrientedImageData) -> int:
    """0, 1 or 2 for i, j or k: the axis that the run was cut along, or else the one closest to head-feet."""
    name = provenance_of(node).get("slice_axis")
    if name in tuple(AXIS_NAMES):
        return AXIS_NAMES.index(name)
    return VolumeImage(np.empty((1, 1, 1)), image_to_world(labelmap)).anatomical_axes.index(2)


def _label_counts(labelmap: slicer.vtkOrientedImageData, axis: int) -> np.ndarray:
    """``[slices, labels]`` int64: voxels of each label value in each slice."""
    if 0 in labelmap.GetDimensions() or labelmap.GetPointData().GetScalars() is None:
        return np.zeros((0, 0), dtype=int)
    slices = np.moveaxis(image_array(labelmap), 2 - axis, 0)
    found = [np.bincount(plane[plane > 0].astype(int, copy=False)) for plane in slices]
    counts = np.zeros((len(found), max(map(len, found))), dtype=int)
    for row, values in zip(counts, found, strict=True):
        row[: len(values)] = values
    return counts


def image_to_world(labelmap: slicer.vtkOrientedImageData) -> np.ndarray:
    """``[4, 4]`` from voxel indices to the segmentation node's own coordinates, mm."""
    matrix = vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    return from_vtk(matrix)


def _transform_kind(node: slicer.vtkMRMLTransformableNode) -> str:
    transform = node.GetParentTransformNode()
    if transform is None:
        return "none"
    return "linear" if transform.IsTransformToWorldLinear() else "non-linear"
