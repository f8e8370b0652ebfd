"""What is done with a result once it is there: its surfaces, its files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ..data.errors import InputError
from ..output.table import table_text, write_table
from ..scene.surfaces import SurfaceMaker
from .exports import ExportLogic


class ResultLogic(ExportLogic):
    """Part of ``MedSegAttentionLogic``."""

    def makeSurfaces(self, segmentationNode: Any) -> SurfaceMaker:
        """Make the closed surfaces of a segmentation in another process; poll what is returned until it says False."""
        return SurfaceMaker(segmentationNode, shutil.which("PythonSlicer"))

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
