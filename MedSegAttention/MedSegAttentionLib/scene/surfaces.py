"""Closed surfaces of a result for the 3-D view, made by another process: a liver takes a second, and Slicer lives."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import slicer
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkCommonMath import vtkMatrix4x4
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

from .arrays import from_vtk, image_array
from .nodes import nodes_of_class
from .segmentation import BINARY_LABELMAP, SURFACE, is_surface_shown

logger = logging.getLogger(__name__)

PROGRAM = Path(__file__).with_name("surface_process.py")
FOLDER_PREFIX = "MedSegAttention-surface-"
SMOOTHING = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule.GetSmoothingFactorParameterName()


class SurfaceMaker:
    """Makes the closed surface of every segment and shows them in 3-D; call :meth:`poll` now and then.

    A segmentation that is edited or leaves the scene meanwhile gets none: what it would show is no longer true.

    Args:
        node: with a binary label map.
        python: executable to run; None for the one this runs in.
    """

    def __init__(self, node: slicer.vtkMRMLSegmentationNode, python: str | Path | None = None) -> None:
        self._node, self._scene = node, node.GetScene()
        self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        self._labelmaps = {}
        segmentation = node.GetSegmentation()
        for segment_id in segmentation.GetSegmentIDs():
            segment = segmentation.GetSegment(segment_id)
            self._labelmaps.setdefault(segment.GetRepresentation(BINARY_LABELMAP), []).append(segment_id)
        self._times = {labelmap: _changed(labelmap) for labelmap in self._labelmaps}
        self._processes: list[subprocess.Popen] = []
        self._waiting = [  # of which one a poll is read: a liver takes as long as a person just does not notice
            (segment_id, self._folder / str(number))
            for number, ids in enumerate(self._labelmaps.values())
            for segment_id in ids
        ]
        self._surfaces: dict[str, vtkPolyData] = {}
        try:
            for number, (labelmap, ids) in enumerate(self._labelmaps.items()):
                self._start(self._folder / str(number), labelmap, ids, str(python or sys.executable))
        except OSError:
            self.cancel()
            raise

    def poll(self) -> bool:
        """Take over one surface, once all are there, and show them after the last; whether there is more to do."""
        if any(process.poll() is None for process in self._processes):
            return True
        if failed := [process for process in self._processes if process.returncode]:
            told = (self._folder / "errors.txt").read_text(encoding="utf-8", errors="replace")
            logger.error("no surfaces (exit status %s): %s", failed[0].returncode, told)
            self.cancel()
        elif not self._is_true():
            self.cancel()
        elif self._waiting:
            self._take(*self._waiting.pop())
        elif self._processes:
            self._show()
            self.cancel()
        return bool(self._processes)

    def cancel(self) -> None:
        """Stop and leave nothing behind; twice is once."""
        for process in self._processes:
            process.kill()
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
        self._processes = []
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, folder: Path, labelmap: slicer.vtkOrientedImageData, ids: list[str], python: str) -> None:
        folder.mkdir()
        segmentation, matrix = self._node.GetSegmentation(), vtkMatrix4x4()
        labelmap.GetImageToWorldMatrix(matrix)
        shift = np.eye(4)
        shift[:3, 3] = labelmap.GetExtent()[::2]
        request = {
            "values": [segmentation.GetSegment(segment_id).GetLabelValue() for segment_id in ids],
            "matrix": (from_vtk(matrix) @ shift).ravel().tolist(),
            "smoothing": float(segmentation.GetConversionParameter(SMOOTHING) or 0.5),
        }
        np.save(folder / "labels.npy", image_array(labelmap))
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        with (self._folder / "errors.txt").open("ab") as errors:
            self._processes.append(
                subprocess.Popen(
                    [python, str(PROGRAM), str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    cwd=folder,
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
            )

    def _is_true(self) -> bool:
        """Whether the segmentation is still what the surfaces were made of."""
        if not self._scene.IsNodePresent(self._node):
            return False
        segmentation = self._node.GetSegmentation()
        ids = {segment_id for group in self._labelmaps.values() for segment_id in group}
        return set(segmentation.GetSegmentIDs()) == ids and all(
            _changed(labelmap) == time for labelmap, time in self._times.items()
        )

    def _take(self, segment_id: str, folder: Path) -> None:
        value = self._node.GetSegmentation().GetSegment(segment_id).GetLabelValue()
        reader = vtkXMLPolyDataReader()
        reader.SetFileName(str(folder / f"{value}.vtp"))
        reader.Update()
        self._surfaces[segment_id] = reader.GetOutput()

    def _show(self) -> None:
        segmentation = self._node.GetSegmentation()
        for segment_id, surface in self._surfaces.items():
            segmentation.GetSegment(segment_id).AddRepresentation(SURFACE, surface)
        segmentation.InvokeEvent(slicer.vtkSegmentation.ContainedRepresentationNamesModified)
        self._node.CreateDefaultDisplayNodes()
        self._node.GetDisplayNode().SetVisibility3D(True)


def is_3d_seen(scene: slicer.vtkMRMLScene) -> bool:
    """Whether the layout shows a 3-D view."""
    return any(view.IsMappedInLayout() and view.GetVisibility() for view in nodes_of_class(scene, "vtkMRMLViewNode"))


def is_alone_in_3d(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether 3-D views show the surfaces of this segmentation, and of nothing else that a user would miss."""
    shown = [other for other in nodes_of_class(node.GetScene(), "vtkMRMLSegmentationNode") if is_surface_shown(other)]
    models = nodes_of_class(node.GetScene(), "vtkMRMLModelNode")
    return shown == [node] and not any(m.GetDisplayVisibility() for m in models if not m.GetHideFromEditors())


def _changed(labelmap: slicer.vtkOrientedImageData) -> tuple[int, int]:
    scalars = labelmap.GetPointData().GetScalars()
    return labelmap.GetMTime(), scalars.GetMTime() if scalars else 0
