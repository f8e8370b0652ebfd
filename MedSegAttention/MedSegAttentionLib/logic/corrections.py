"""Results and the hand of a person: what was corrected, and making some slices anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import slicer

from ..data.errors import InputError
from ..data.result import RunProgress, VolumeResult
from ..data.volume import AXIS_NAMES
from ..scene.corrections import corrected_slices
from ..scene.label_maps import reference_volume
from ..scene.live import LiveRun
from ..scene.merging import merge_slices
from ..scene.nodes import nodes_of_class, provenance_of
from ..scene.segmentation import source_volume
from ..scene.volumes import input_image
from ..scene.writing import WrittenNodes
from .runs import RunLogic, run_settings
from .segment_handle import SegmentHandle


class CorrectionLogic(RunLogic):
    """Part of ``MedSegAttentionLogic``."""

    def correctedSlices(self, segmentationNode: Any) -> list[int]:
        """Numbers, from 0, of the slices of a result that a person has changed."""
        return corrected_slices(segmentationNode)

    def correctedResults(self, volumeNode: Any) -> list[Any]:
        """The results of an image that a person has corrected."""
        nodes = nodes_of_class(slicer.mrmlScene, "vtkMRMLSegmentationNode")
        ours = [node for node in nodes if provenance_of(node) and source_volume(node) is volumeNode]
        return [node for node in ours if corrected_slices(node)]

    def redo(
        self,
        segmentationNode: Any,
        slices: tuple[int, int],
        device: str = "auto",
        force: bool = False,
        *,
        progressCallback: Callable[[RunProgress], None] | None = None,
        finishedCallback: Callable[[SegmentHandle], None] | None = None,
    ) -> SegmentHandle:
        """Segment some slices of a result anew, as the run before did, and keep all others; returns at once.

        Args:
            segmentationNode: result of a run; what a person has changed in those slices is replaced.
            slices: (first, last), from 0.
            device: as in :meth:`segment`.
            force: as in :meth:`segment`; where the run before was forced this one is.
            progressCallback: as in :meth:`segment`.
            finishedCallback: as in :meth:`segment`.

        Raises:
            InputError: no result of a run, or its image is gone.
        """
        volumeNode, told = reference_volume(segmentationNode), provenance_of(segmentationNode)
        if "slice_axis" not in told:
            raise InputError(
                f"'{segmentationNode.GetName()}' was not made by a run; expected a result. Segment the image instead."
            )
        before, axis = told.get("settings", {}), AXIS_NAMES.index(told["slice_axis"])
        settings = run_settings(
            device,
            False,
            axis=told["slice_axis"],
            force=force or bool(before.get("force")),
            testTimeFlips=bool(before.get("test_time_flips")),
        )
        left_out = told.get("left_out", {})
        settings = replace(
            settings,
            slices=slices,
            box=tuple(tuple(pair) for pair in left_out["box"]) if "box" in left_out else None,
            left_out=tuple(left_out.get("classes", ())),
        )
        run = self._backgroundRunner().start(
            input_image(volumeNode), task=told.get("task"), checkpoint=told.get("checkpoint"), settings=settings
        )
        write = partial(_merge, segmentationNode, volumeNode, axis, range(slices[0], slices[1] + 1))
        live = LiveRun(
            slicer.mrmlScene, volumeNode, run, preview=False, while_writing=slicer.util.WaitCursor, write=write
        )
        return SegmentHandle(live, progressCallback, finishedCallback, None, "discard")


def _merge(node: Any, volumeNode: Any, axis: int, slices: range, result: VolumeResult) -> WrittenNodes:
    if node.GetScene() is not slicer.mrmlScene:
        raise InputError("the result left the scene during the run; nothing was written. Segment the image again.")
    if result.partial:
        slices = range(max(slices.start, result.slice_range[0]), min(slices.stop, result.slice_range[1] + 1))
    merge_slices(node, volumeNode, result, axis, slices)
    return WrittenNodes(node)
