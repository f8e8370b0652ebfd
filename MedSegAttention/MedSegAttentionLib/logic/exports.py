"""Files and pages of what a run left in the scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

from ..data.errors import DependencyError
from ..output.dicom_export import export_dicom
from ..output.exports import export_segmentation
from ..output.report import write_report
from ..scene.label_maps import latest_segmentation


class ExportLogic:
    """Part of ``MedSegAttentionLogic``."""

    def latestSegmentation(self) -> Any:
        """The segmentation that a run added last; ``InputError`` when there is none."""
        return latest_segmentation(slicer.mrmlScene)

    def exportSegmentation(self, segmentationNode: Any, path: str | Path) -> list[Path]:
        """Write a segmentation as the ending of ``path`` says.

        Args:
            segmentationNode: None for the latest result.
            path: ``.seg.nrrd``; ``.nii.gz`` or ``.nii`` with a JSON file that names its values; ``.dcm`` for DICOM SEG,
                inside Slicer, of volumes from its DICOM database.

        Returns:
            Paths of all files written.
        """
        segmentationNode = segmentationNode or self.latestSegmentation()
        if not str(path).lower().endswith(".dcm"):
            return export_segmentation(segmentationNode, path)
        try:
            from DICOMSegmentationPlugin import DICOMSegmentationExporter
        except ImportError as error:
            raise DependencyError(
                "this Slicer has no DICOM SEG exporter; it is part of Slicer 5.12, in older versions of the "
                "QuantitativeReporting extension. Install that, or export '.seg.nrrd'."
            ) from error
        return [export_dicom(segmentationNode, path, DICOMSegmentationExporter)]

    def writeReport(self, segmentationNode: Any, path: str | Path) -> Path:
        """Write one page about a segmentation: slices, volumes, provenance.

        Args:
            segmentationNode: None for the latest result.
            path: ``.png``.
        """
        return write_report(segmentationNode or self.latestSegmentation(), path)
