"""A finished run into the scene, all or nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter

import slicer

from ..data.result import VolumeResult
from .corrections import remember_slices
from .nodes import mark_partial, set_provenance, unchanged_on_error
from .overlays import show_overlay, write_attention
from .readable import set_display_window
from .segmentation import hide_earlier, write_segmentation


@dataclass(frozen=True)
class WrittenNodes:
    """What a run left in the scene.

    Attributes:
        segmentation: one segment for each class found.
        attention: map name -> overlay volume.
    """

    segmentation: slicer.vtkMRMLSegmentationNode
    attention: dict[str, slicer.vtkMRMLScalarVolumeNode] = field(default_factory=dict)


def write_result(
    scene: slicer.vtkMRMLScene, result: VolumeResult, volume_node: slicer.vtkMRMLVolumeNode, show: bool = True
) -> WrittenNodes:
    """Write segmentation and overlays of ``volume_node``; when anything fails the scene is as it was.

    Args:
        scene: of the volume.
        result: of a run on ``volume_image(volume_node)``.
        volume_node: the image that was segmented.
        show: show the image in all slice views, in the grey values that the network was given where neither file nor
            user chose others, with the first overlay over it.

    How long writing took is added to the provenance, as ``seconds.write``.

    Raises:
        InputError: the result does not fit the volume.
    """
    begin = perf_counter()
    with unchanged_on_error(scene):
        segmentation = write_segmentation(scene, result, volume_node)
        attention = {}
        for name, volume in result.attention.items():
            attention[name] = write_attention(scene, volume, volume_node, result.provenance, result.ijk_to_ras)
            mark_partial(attention[name], result)
        if show:
            hide_earlier(segmentation)
            show_overlay(scene, next(iter(attention.values()), None), volume_node)
            if window := result.provenance.get("display_window"):
                set_display_window(volume_node, tuple(window))
        result.provenance.setdefault("seconds", {})["write"] = round(perf_counter() - begin, 4)
        for node in (segmentation, *attention.values()):
            set_provenance(node, result.provenance)
        remember_slices(segmentation)
    return WrittenNodes(segmentation, attention)
