"""What 3D Slicer loads: the module's description, its panel and its logic. The work is done in MedSegAttentionLib."""

import importlib.util
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Union

import slicer
from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLVectorVolumeNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if hasattr(getattr(slicer, "modules", None), "medsegattention"):
    # Slicer is reloading this file: it executes this file alone, so the library behind it must be forgotten first.
    for _name in [name for name in sys.modules if name.split(".")[0] == "MedSegAttentionLib"]:
        del sys.modules[_name]

# Nothing below imports torch or monai: Slicer starts without them.
from MedSegAttentionLib.checkpoints.adding import add_checkpoint, remove_checkpoint
from MedSegAttentionLib.checkpoints.card_file import read_card
from MedSegAttentionLib.checkpoints.catalogue import (
    choose_checkpoint,
    find_checkpoint,
    licence_text,
    list_checkpoints,
    user_checkpoints,
    user_folder,
)
from MedSegAttentionLib.data.card import Card
from MedSegAttentionLib.data.errors import Cancelled, DependencyError, InputError
from MedSegAttentionLib.data.result import RunProgress, SliceResult
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.inference.slicing import plan_slices
from MedSegAttentionLib.panel.choices import Device, Task
from MedSegAttentionLib.panel.panel import Panel
from MedSegAttentionLib.panel.segment_handle import SegmentHandle, SegmentResult
from MedSegAttentionLib.runner.batch import BatchProgress, Outcome, Request, run_batch
from MedSegAttentionLib.scene.case_files import FileChoice, image_case, node_cases, scene_cases
from MedSegAttentionLib.scene.dicom_export import export_dicom
from MedSegAttentionLib.scene.exports import export_segmentation, latest_segmentation
from MedSegAttentionLib.scene.live import LiveRun
from MedSegAttentionLib.scene.nodes import unchanged_on_error
from MedSegAttentionLib.scene.overlays import show_overlay, write_attention
from MedSegAttentionLib.scene.positions import position_in_image
from MedSegAttentionLib.scene.report import write_report
from MedSegAttentionLib.scene.sequences import frame_images, write_sequences
from MedSegAttentionLib.scene.terminology import load_terminology
from MedSegAttentionLib.scene.volumes import active_volume, input_volumes, volume_image
from MedSegAttentionLib.scene.writing import write_result
from MedSegAttentionLib.setup import dependencies, installation, self_check, timing
from MedSegAttentionLib.setup.sample_data import register_samples

UI_FILES = ("MedSegAttention", "Results", "Attention", "Batch", "Checkpoints", "SelfCheck")
"""Files of ``Resources/UI`` from top to bottom of the panel; a widget's name is unique among all of them."""


class MedSegAttention(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedSegAttention")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Volumes", "Segmentations", "Terminologies", "SubjectHierarchy"]
        self.parent.contributors = ["MedSegAttention contributors"]
        self.parent.helpText = _(
            "Segments a volume slice by slice with a published attention network and shows where, and how widely, the "
            "network looked: its dynamic tau maps lie over the volume as overlays. Choose a volume and a task, then "
            "click Apply. For research use only; not for clinical decisions."
        )
        self.parent.acknowledgementText = _(
            "The networks follow these papers: KLO-Net, a dynamic k-nearest-neighbour attention U-Net with a cross "
            "stage partial encoder for prostate gland segmentation in MR images (arXiv:2512.13902); U-Net (Ronneberger "
            "et al., 2015); Cross Stage Partial Network (Wang et al., 2020). Each checkpoint names its training data "
            "and their terms. Built on 3D Slicer, PyTorch and MONAI."
        )
        slicer.app.connect("startupCompleted()", onStartupCompleted)


def onStartupCompleted() -> None:
    """Let Slicer's terminology selector know the codes of our segments, and its Sample Data module our samples."""
    load_terminology(slicer.modules.terminologies.logic())
    register_samples()


@parameterNodeWrapper
class MedSegAttentionParameterNode:
    """What the user chose; saved with the scene.

    Attributes:
        inputVolume: what to segment.
        task: what to find in it.
        checkpoint: ID of a checkpoint of the task; empty lets task and volume decide.
        device: where the network runs.
        showAttention: whether attention maps are computed and shown.
        result: the segmentation whose results are shown.
        neighbourStage: attention stage whose neighbours are shown.
        pointList: points to show the neighbours of.
    """

    # Both classes by name: the node list offers exactly the classes named here, so no label maps.
    inputVolume: Union[vtkMRMLScalarVolumeNode, vtkMRMLVectorVolumeNode, None]  # noqa: UP007 - older Slicer needs Union
    task: Task = Task.PROSTATE
    checkpoint: str = ""
    device: Device = Device.AUTO
    showAttention: bool = True
    result: Union[vtkMRMLSegmentationNode, None]  # noqa: UP007
    neighbourStage: str = "stage4"
    pointList: Union[vtkMRMLMarkupsFiducialNode, None]  # noqa: UP007


class MedSegAttentionWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel in Slicer's life cycle; what it does is in ``MedSegAttentionLib.panel``."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self) -> None:
        """Called once, when the module is first shown."""
        ScriptedLoadableModuleWidget.setup(self)
        self.ui = SimpleNamespace()
        for name in UI_FILES:
            uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{name}.ui"))
            self.layout.addWidget(uiWidget)
            uiWidget.setMRMLScene(slicer.mrmlScene)
            vars(self.ui).update(vars(slicer.util.childWidgetVariables(uiWidget)))
        self.layout.addStretch(1)
        self.logic = MedSegAttentionLogic()
        self.panel = Panel(self.ui, self.logic)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.enter()  # a reload does not enter the module again

    def cleanup(self) -> None:
        """Called when the module is reloaded and when the application closes."""
        self.removeObservers()
        self.panel.close()
        self.logic.close()

    def enter(self) -> None:
        """Called each time the module is shown."""
        self.panel.enter(self.logic.getParameterNode())

    def exit(self) -> None:
        """Called each time another module is shown instead; a run goes on."""
        self.panel.setParameterNode(None)

    def onSceneStartClose(self, _caller: Any = None, _event: Any = None) -> None:
        """The scene is about to be emptied: nothing to segment, nowhere to put it."""
        self.panel.cancel()
        self.panel.setParameterNode(None)

    def onSceneEndClose(self, _caller: Any = None, _event: Any = None) -> None:
        """The scene is empty."""
        if self.parent.isEntered:
            self.enter()


@dataclass(frozen=True)
class SequenceResult:
    """What a run over a sequence left in the scene.

    Attributes:
        browserNode: ``vtkMRMLSequenceBrowserNode`` that plays everything together.
        segmentationSequenceNode: ``vtkMRMLSequenceNode``, one segmentation a frame.
        attentionSequenceNodes: map name -> ``vtkMRMLSequenceNode``, one volume a frame.
        provenance: of each frame.
    """

    browserNode: Any
    segmentationSequenceNode: Any
    attentionSequenceNodes: dict[str, Any]
    provenance: list[dict[str, Any]]


class MedSegAttentionLogic(ScriptedLoadableModuleLogic):
    """Segmentation from the Python console, as from the panel.

    ``slicer.util.getModuleLogic("MedSegAttention").segment(task="prostate")``
    """

    def __init__(self, runner: Any = None, background: Any = None) -> None:
        """Both are loaded when needed.

        Args:
            runner: what runs inference while the caller waits; None for ``MedSegAttentionLib.runner.in_process``.
            background: what runs it otherwise; None for a ``MedSegAttentionLib.runner.background.BackgroundRunner``.
        """
        ScriptedLoadableModuleLogic.__init__(self)
        self._runner, self._background = runner, background

    def close(self) -> None:
        """End the worker process, if there is one; the next run in the background starts another."""
        if self._background:
            self._background.close()
            self._background = None

    def getParameterNode(self) -> MedSegAttentionParameterNode:
        """The scene's parameters of this module."""
        return MedSegAttentionParameterNode(super().getParameterNode())

    def checkpoints(self) -> list[Card]:
        """Cards of all installed checkpoints."""
        return list_checkpoints()

    def userCheckpoints(self) -> list[str]:
        """IDs of the checkpoints that the user added."""
        return user_checkpoints()

    def checkpointsFolder(self) -> Path:
        """Where the user's checkpoints are; made when missing."""
        user_folder().mkdir(parents=True, exist_ok=True)
        return user_folder()

    def addCheckpoint(self, source: str | Path, onBytes: Callable[[int, int | None], None] | None = None) -> Card:
        """Check a checkpoint (folder, zip file, https or file URL) and add it to the user's."""
        return add_checkpoint(source, on_bytes=onBytes)

    def removeCheckpoint(self, checkpointId: str) -> None:
        """Delete one of the user's checkpoints."""
        remove_checkpoint(checkpointId)

    def checkpointFor(self, volumeNode: Any, task: str, checkpoint: str | None = None) -> Card:
        """The checkpoint that :meth:`segment` would run."""
        return read_card(choose_checkpoint(task, volume_image(volumeNode), checkpoint))

    def licence(self, checkpointId: str) -> str:
        """Full text of the licence of a checkpoint."""
        return licence_text(find_checkpoint(checkpointId))

    def sliceCount(self, volumeNode: Any, card: Card) -> int:
        """How many slices of a volume a checkpoint would segment."""
        return plan_slices(volume_image(volumeNode), card.orientation, "auto").shape[0]

    def secondsPerSlice(self, checkpointId: str, device: str = "auto") -> float:
        """Measured on three slices of noise, in another process; takes seconds."""
        return timing.seconds_per_slice(checkpointId, device)

    def activeVolume(self) -> Any:
        """Background volume of the Red slice view, else the only volume; ``InputError`` when that leaves a choice."""
        return active_volume(slicer.mrmlScene)

    def missingPackages(self) -> list[str]:
        """Python packages that inference still needs."""
        return [] if self._runner or self._background else dependencies.missing_packages()

    def installationPlan(self) -> Any:
        """What would be installed (``InstallationPlan``), or None when nothing is missing."""
        return None if self._runner else installation.plan()

    def installPackages(self) -> None:
        """Install them. Ask the user first."""
        installation.install()

    def selfCheck(self, host: str = "") -> str:
        """What this installation has and what is wrong with it, as text for a bug report."""
        return self_check.as_text(self_check.report(host))

    def segment(
        self,
        volumeNode: Any = None,
        task: str = "prostate",
        checkpoint: str | Path | None = None,
        device: str = "auto",
        attention: bool | tuple[str, ...] = True,
        wait: bool = True,
        *,
        attentionGrid: str = "native",
        axis: str = "auto",
        batchSize: int | None = None,
        force: bool = False,
        progressCallback: Callable[[SliceResult], None] | Callable[[RunProgress], None] | None = None,
        finishedCallback: Callable[[SegmentHandle], None] | None = None,
        isCancelled: Callable[[], bool] | None = None,
        onCancel: str = "discard",
        show: bool = True,
    ) -> SegmentResult | SegmentHandle:
        """Segment a volume and put segmentation and attention maps into the scene.

        Args:
            volumeNode: scalar or colour volume; None for the active volume.
            task: ``prostate``, ``skin``, ``polyp`` or ``abdomen``.
            checkpoint: ID or folder; None lets task and volume decide.
            device: ``auto``, ``cuda``, ``mps`` or ``cpu``.
            attention: all maps of the checkpoint, none, or the names of some.
            wait: return when all is done; False returns a handle at once: the run goes on in a worker process, shown
                in the scene as it goes, and the scene is written from Slicer's event loop (or the handle's ``poll``).
            attentionGrid: ``native`` keeps each map's own grid, ``input`` resamples it to that of the volume.
            axis: ``auto``, ``i``, ``j`` or ``k``: index axis that slices are cut along.
            batchSize: slices at once; None lets the device decide.
            force: run although the volume lies outside of what the checkpoint was trained on.
            progressCallback: called with each finished slice; without waiting with the ``RunProgress`` at each change.
            finishedCallback: called with the handle, once, when it has an outcome; only without waiting.
            isCancelled: asked after each slice.
            onCancel: ``discard`` raises ``Cancelled``, ``keep`` keeps the finished slices.
            show: show the result in the slice views.

        Raises:
            MedSegAttentionError: see ``MedSegAttentionLib.data.errors``; the scene is then as it was. Without waiting
                most of them are raised by the handle's ``result``.
        """
        scene = slicer.mrmlScene
        volumeNode = self.activeVolume() if volumeNode is None else volumeNode
        settings = RunSettings(
            device=device,
            batch_size=batchSize,
            attention=_mapNames(attention),
            attention_grid=attentionGrid,
            axis=axis,
            force=force,
        )
        what = {"task": task, "checkpoint": checkpoint, "settings": settings}
        if not wait:
            run = self._backgroundRunner().start(volume_image(volumeNode), **what)
            live = LiveRun(scene, volumeNode, run, show, preview=show, while_writing=slicer.util.WaitCursor)
            return SegmentHandle(live, progressCallback, finishedCallback, isCancelled, onCancel)
        result = self._inference().run(
            volume_image(volumeNode),
            **what,
            on_slice=progressCallback,
            is_cancelled=isCancelled,
            on_cancel=onCancel,
        )
        if volumeNode.GetScene() is not scene:
            raise Cancelled(f"volume '{result.name}' left the scene during the run; nothing was written.")
        written = write_result(scene, result, volumeNode, show=show)
        return SegmentResult(written.segmentation, written.attention, result.provenance)

    def attentionRow(
        self,
        volumeNode: Any,
        ras: tuple[float, float, float],
        task: str | None = None,
        map: str = "stage4",  # noqa: A002 - the name users' scripts rely on
        checkpoint: str | Path | None = None,
        device: str = "auto",
        force: bool = False,
        show: bool = True,
    ) -> Any:
        """Where the network looks from one position of a volume: one attention map as a volume of one slice.

        Args:
            volumeNode: as in :meth:`segment`.
            ras: the position in the world, mm.
            task: as in :meth:`segment`; may be None when ``checkpoint`` is given.
            map: attention stage (``stage4``, ``bottleneck``) or the name of one of its maps.
            checkpoint: as in :meth:`segment`.
            device: as in :meth:`segment`.
            force: as in :meth:`segment`.
            show: show it over the volume.

        Returns:
            ``vtkMRMLScalarVolumeNode`` with raw values.
        """
        volumeNode = self.activeVolume() if volumeNode is None else volumeNode
        settings = RunSettings(device=device, force=force)
        image = volume_image(volumeNode)
        position = position_in_image(volumeNode, ras)
        row, provenance = self._inference().attention_row(
            image, position, task=task, checkpoint=checkpoint, map=map, settings=settings
        )
        scene = slicer.mrmlScene
        with unchanged_on_error(scene):
            node = write_attention(scene, row, volumeNode, provenance)
            if show:
                show_overlay(scene, node, volumeNode)
        return node

    def segmentBatch(
        self,
        volumes: str | Path | Sequence[Any] | None = None,
        output: str | Path | None = None,
        task: str = "prostate",
        checkpoint: str | Path | None = None,
        device: str = "auto",
        attention: bool | tuple[str, ...] = True,
        *,
        nifti: bool = False,
        report: bool = False,
        overwrite: bool = False,
        progressCallback: Callable[[BatchProgress], None] | None = None,
        isCancelled: Callable[[], bool] | None = None,
        **options: Any,
    ) -> list[Outcome]:
        """Segment many volumes one after another; one that fails does not stop the rest.

        Args:
            volumes: None for all of the scene, a list of volume nodes, or a folder of images or DICOM series.
            output: folder of the result files and of ``summary.csv``; a result that is there already is skipped. None
                puts the results into the scene, which works for volumes of the scene.
            task: as in :meth:`segment`.
            checkpoint: likewise.
            device: likewise.
            attention: likewise.
            nifti: also write STEM.nii.gz.
            report: also write STEM.report.png.
            overwrite: segment also what is there already.
            progressCallback: called before and after each volume and with each finished slice.
            isCancelled: asked before each volume and after each slice; what is finished stays.
            **options: ``attentionGrid``, ``axis``, ``batchSize``, ``force`` of :meth:`segment`.

        Returns:
            How each volume ended; ``Outcome.error`` says why one failed.

        Raises:
            MedSegAttentionError: nothing to segment, or an option that can never work.
        """
        request = self._request(task, checkpoint, device, attention, **options)
        choice, scene = FileChoice(nifti, report), slicer.mrmlScene
        if isinstance(volumes, (str, Path)):
            from MedSegAttentionLib.files.cases import images_in

            images = images_in(Path(volumes)) or []
            cases = [image_case(image.name, image.stem, image.read, choice) for image in images]
            if not output or Path(output).resolve() == Path(volumes).resolve():
                raise InputError(f"output {output!r} cannot take results of folder '{volumes}'; give another folder.")
        else:
            nodes = input_volumes(scene) if volumes is None else list(volumes)
            cases = node_cases(scene, nodes, choice) if output else scene_cases(scene, nodes)
        if not cases:
            raise InputError(f"nothing to segment in {volumes or 'the scene'}; expected at least one image.")
        return run_batch(
            cases,
            request,
            Path(output) if output else None,
            overwrite=overwrite,
            on_progress=progressCallback,
            is_cancelled=isCancelled,
        )

    def segmentSequence(
        self,
        sequenceNode: Any,
        task: str = "polyp",
        checkpoint: str | Path | None = None,
        device: str = "auto",
        attention: bool | tuple[str, ...] = True,
        *,
        progressCallback: Callable[[BatchProgress], None] | None = None,
        isCancelled: Callable[[], bool] | None = None,
        show: bool = True,
        **options: Any,
    ) -> SequenceResult:
        """Segment a sequence of volumes or pictures frame by frame; the results play with it.

        Args:
            sequenceNode: ``vtkMRMLSequenceNode``; without a sequence browser it gets one.
            task: as in :meth:`segment`.
            checkpoint: likewise.
            device: likewise.
            attention: likewise.
            progressCallback: called with each finished slice.
            isCancelled: asked after each slice; raises ``Cancelled``.
            show: show frames and first attention map in the slice views.
            **options: as in :meth:`segmentBatch`.

        Raises:
            MedSegAttentionError: see :meth:`segment`; the scene is then as it was.
        """
        request = self._request(task, checkpoint, device, attention, **options)
        frames, results = frame_images(sequenceNode), []
        for number, frame in enumerate(frames):

            def tell(finished: SliceResult, name: str = frame.name, index: int = number) -> None:
                if progressCallback:
                    progressCallback(BatchProgress(name, index, len(frames), finished))

            results.append(request.result(frame, on_slice=tell, is_cancelled=isCancelled))
        written = write_sequences(slicer.mrmlScene, sequenceNode, results, show=show)
        provenance = [result.provenance for result in results]
        return SequenceResult(written.browser, written.segmentation, written.attention, provenance)

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

    def _request(
        self,
        task: str | None,
        checkpoint: str | Path | None,
        device: str,
        attention: bool | tuple[str, ...],
        *,
        attentionGrid: str = "native",
        axis: str = "auto",
        batchSize: int | None = None,
        force: bool = False,
    ) -> Request:
        """The choices of :meth:`segment` as the runner takes them."""
        runner = self._inference()
        settings = runner.RunSettings(
            device=device,
            batch_size=batchSize,
            attention=_mapNames(attention),
            attention_grid=attentionGrid,
            axis=axis,
            force=force,
        )
        return Request(runner.run, task, checkpoint, settings)

    def _inference(self) -> Any:
        """The module that runs inference; ``DependencyError`` says how to install what it needs."""
        if self._runner is None:
            dependencies.require()
            from MedSegAttentionLib.runner import in_process

            self._runner = in_process
        return self._runner

    def _backgroundRunner(self) -> Any:
        """What runs inference in the background. Nothing is imported into Slicer: the worker says what it lacks."""
        if self._background is None:
            if importlib.util.find_spec("psutil") is None:
                dependencies.require()
            from MedSegAttentionLib.runner.background import BackgroundRunner

            self._background = BackgroundRunner(shutil.which("PythonSlicer"))
        return self._background


def _mapNames(attention: bool | str | tuple[str, ...]) -> bool | tuple[str, ...]:
    """What the user gave for ``attention`` as the settings take it; one name alone is a list of one."""
    if isinstance(attention, bool):
        return attention
    return (attention,) if isinstance(attention, str) else tuple(attention)


class MedSegAttentionTest(ScriptedLoadableModuleTest):
    """A run inside Slicer, with the first installed checkpoint. Tests without Slicer: ``Testing/Python``."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run all tests of this class."""
        self.setUp()
        self.test_segment()

    def test_segment(self) -> None:
        """A volume goes in; a segmentation and attention maps of the same place come out."""
        logic = MedSegAttentionLogic()
        missing = logic.missingPackages()
        if missing:
            self.skipTest(f"Python packages are not installed: {', '.join(missing)}")
        checkpoints = logic.checkpoints()
        if not checkpoints:
            self.skipTest("no checkpoint is installed")
        import numpy as np

        card = checkpoints[0]
        shape = (3, 64, 64) if card.in_channels == 1 else (1, 64, 64, card.in_channels)
        nodeClass = "vtkMRMLScalarVolumeNode" if card.in_channels == 1 else "vtkMRMLVectorVolumeNode"
        values = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
        volumeNode = slicer.util.addVolumeFromArray(values, name="noise", nodeClassName=nodeClass)
        slices = []
        result = logic.segment(
            volumeNode, task=card.task, checkpoint=card.id, device="cpu", force=True, progressCallback=slices.append
        )
        assert len(slices) == shape[0]
        assert result.segmentationNode.GetSegmentation().GetNumberOfSegments() <= len(card.labels)
        assert sorted(result.attentionNodes) == sorted(item.name for item in card.attention)
        assert result.segmentationNode.GetScene() is slicer.mrmlScene
