"""Volume nodes to :class:`~..data.volume.VolumeImage` and back."""

from __future__ import annotations

import numpy as np
import slicer
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from ..data.errors import InputError
from ..data.volume import PICTURE_SUFFIXES, VolumeImage
from .arrays import from_vtk, image_array, image_data, to_vtk
from .nodes import is_overlay, nodes_of_class, world_from_local


def volume_image(node: slicer.vtkMRMLVolumeNode, place: slicer.vtkMRMLVolumeNode | None = None) -> VolumeImage:
    """Voxels and world geometry of a volume node, without copying the voxels.

    Args:
        node: scalar or vector volume. A linear parent transform is applied to the geometry; a non-linear one is not.
        place: gives parent transform and modality instead of ``node``; for a frame of a sequence, which is in no scene
            of the user's, the volume that shows it.

    Returns:
        An image whose ``array`` is a view of the node's own voxels.

    Raises:
        InputError: not a volume, or one without voxels.
    """
    if not isinstance(node, slicer.vtkMRMLVolumeNode):
        raise InputError(f"expected a volume node, got {_describe(node)}. Choose a volume.")
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or 0 in image.GetDimensions():
        raise InputError(f"volume '{node.GetName()}' holds no voxels; expected a loaded image. Load it again.")
    matrix = vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    place = place or node
    storage = place.GetStorageNode()
    is_picture = ((storage.GetFileName() or "") if storage else "").lower().endswith(PICTURE_SUFFIXES)
    world = world_from_local(place) @ from_vtk(matrix)
    return VolumeImage(image_array(image), world, place.GetName() or "volume", _modality(place), not is_picture)


def input_image(node: slicer.vtkMRMLVolumeNode) -> VolumeImage:
    """:func:`volume_image` of what a run may take; raises :class:`InputError` for what is in no scene or a map, too."""
    if isinstance(node, slicer.vtkMRMLVolumeNode) and node.GetScene() is None:
        raise InputError(f"volume '{node.GetName()}' is in no scene, perhaps as one was closed. Load it again.")
    if isinstance(node, slicer.vtkMRMLNode) and is_overlay(node):
        raise InputError(f"'{node.GetName()}' is an attention map; expected an image. Choose the one it was made from.")
    return volume_image(node)


def add_volume(scene: slicer.vtkMRMLScene, image: VolumeImage) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a volume to the scene: a vector volume when it has several channels, else a scalar one.

    Args:
        scene: gets the node, its display node and its item in the subject hierarchy.
        image: copied; 64-bit integers become 32-bit where they fit, else double.

    Raises:
        InputError: voxels that are not real numbers.
    """
    data = image_data(image.array)
    class_name = "vtkMRMLScalarVolumeNode" if image.channels == 1 else "vtkMRMLVectorVolumeNode"
    node = scene.AddNewNodeByClass(class_name, image.name)
    node.SetIJKToRASMatrix(to_vtk(image.ijk_to_ras))
    node.SetAndObserveImageData(data)
    node.CreateDefaultDisplayNodes()
    if image.channels > 1 and image.array.dtype == np.uint8:
        node.GetDisplayNode().SetAutoWindowLevel(False)  # stretching the contrast would change the photograph's colours
        node.GetDisplayNode().SetWindowLevelMinMax(0, 255)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    if image.modality:
        hierarchy.SetItemAttribute(item, _modality_attribute(), image.modality)
    return node


def active_volume(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLVolumeNode:
    """The background volume of the Red slice view; if there is none, the only volume of the scene.

    Label maps and attention maps are not meant.

    Raises:
        InputError: no volume, or several and none of them shown in the Red view.
    """
    for view in nodes_of_class(scene, "vtkMRMLSliceCompositeNode"):
        background = scene.GetNodeByID(view.GetBackgroundVolumeID() or "")
        if view.GetLayoutName() == "Red" and background is not None and _is_input(background):
            return background
    volumes = [node for node in nodes_of_class(scene, "vtkMRMLScalarVolumeNode") if _is_input(node)]
    if len(volumes) == 1:
        return volumes[0]
    if not volumes:
        raise InputError("the scene holds no volume; expected one to segment. Load an image first.")
    names = ", ".join(f"'{node.GetName()}'" for node in volumes)
    raise InputError(
        f"the scene holds {len(volumes)} volumes ({names}) and the Red slice view shows none; expected one. Name the "
        "volume, or show it in the Red view."
    )


def input_volumes(scene: slicer.vtkMRMLScene) -> list[slicer.vtkMRMLVolumeNode]:
    """The volumes of a scene that can be segmented: no label maps, no attention maps, none without voxels."""
    return [
        node for node in nodes_of_class(scene, "vtkMRMLScalarVolumeNode") if _is_input(node) and node.GetImageData()
    ]


def lie_together(first: slicer.vtkMRMLVolumeNode, second: slicer.vtkMRMLVolumeNode) -> bool:
    """Whether the middle of each of two volumes lies in the other: series of one patient and region."""
    bounds = np.zeros((2, 6))
    for node, room in zip((first, second), bounds, strict=True):
        node.GetRASBounds(room)
    low, high = bounds[:, ::2], bounds[:, 1::2]
    middles = (low + high)[::-1] / 2
    return bool(((low <= middles) & (middles <= high)).all())


def _is_input(node: slicer.vtkMRMLVolumeNode) -> bool:
    return not isinstance(node, slicer.vtkMRMLLabelMapVolumeNode) and not is_overlay(node)


def _modality(node: slicer.vtkMRMLVolumeNode) -> str | None:
    scene = node.GetScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene) if scene else None
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    return (hierarchy.GetItemAttribute(item, _modality_attribute()) or None) if item else None


def _modality_attribute() -> str:
    return slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()


def _describe(node: object) -> str:
    if isinstance(node, slicer.vtkMRMLNode):
        return f"'{node.GetName()}' ({node.GetClassName()})"
    return "nothing" if node is None else type(node).__name__
