"""What is done with a result once it is there: its surfaces, its files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

from ..data.comparison import Comparison
from ..data.errors import InputError
from ..inference.agreement import compare
from ..output.table import table_text, write_csv, write_table
from ..scene.disagreement import write_disagreement
from ..scene.label_maps import labels_to_compare
from ..scene.measure import BINARY_LABELMAP, slice_axis
from ..scene.surfaces import SurfaceMaker
from ..setup import dependencies
from .exports import ExportLogic


class ResultLogic(ExportLogic):
    """Part of ``MedSegAttentionLogic``."""

    def makeSurfaces(self, segmentationNode: Any) -> SurfaceMaker:
        """Make the closed surfaces of a segmentation in another process; poll what is returned until it says False."""
        return SurfaceMaker(segmentationNode, shutil.which("PythonSlicer"))

    def compare(
        self, first: Any, second: Any, wait: Callable[[Callable[[], Comparison]], Comparison] | None = None
    ) -> Comparison:
        """How well two segmentations of the scene agree, see ``MedSegAttentionLib.data.comparison.Comparison``.

        Args:
            first: result of a run, or any segmentation with its image.
            second: any other segmentation; brought to the image of the first.
            wait: runs the computation, for instance in a thread, and gives what it gives; None computes here.
        """
        dependencies.require()
        labels = labels_to_compare(first, second)
        labelmap = first.GetSegmentation().GetNthSegment(0).GetRepresentation(BINARY_LABELMAP)
        axis = slice_axis(first, labelmap)
        return (wait or (lambda work: work()))(lambda: compare(*labels, axis))

    def showDisagreement(self, comparison: Comparison, first: Any) -> Any:
        """Lay a segmentation of what differs over the image of ``first``, in place of an earlier one, and give it."""
        return write_disagreement(slicer.mrmlScene, comparison, first)

    def writeComparison(self, comparison: Comparison, path: str | Path) -> Path:
        """Write both tables of a comparison as a CSV file."""
        return write_csv(comparison.rows(), path)

    def tableText(self, segmentationNode: Any) -> str:
        """Sizes of all segments, for the clipboard: a line each, tabs between."""
        return table_text(segmentationNode)

    def exportResult(self, segmentationNode: Any, path: str | Path) -> list[Path]:
        """Write a result as the ending of ``path`` says, and give the paths of all files written.

        Args:
            segmentationNode: None for the latest result.
            path: ``.seg.nrrd``, ``.nii.gz``, ``.nii``, ``.dcm``: see :meth:`exportSegmentation`; ``.png`` for a page
                about it; ``.csv`` for the table of sizes.

        Raises:
            InputError: another ending.
        """
        node, ending = segmentationNode or self.latestSegmentation(), Path(path).name.lower()
        if ending.endswith(".csv"):
            return [write_table(node, path)]
        if ending.endswith(".png"):
            return [self.writeReport(node, path)]
        if not ending.endswith((".seg.nrrd", ".nii.gz", ".nii", ".dcm")):
            raise InputError(
                f"'{Path(path).name}' has another ending; expected .seg.nrrd, .nii.gz, .nii, .dcm, .png or .csv."
            )
        return self.exportSegmentation(node, path)
