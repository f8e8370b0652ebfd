"""What 3D Slicer loads: the module's description, its panel and its logic. The work is done in MedSegAttentionLib."""

import logging
import sys
from types import SimpleNamespace
from typing import Any, Union

import qt
import slicer
from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLMarkupsROINode,
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
from MedSegAttentionLib.data.task import BUILT_IN_TASKS
from MedSegAttentionLib.logic.batches import BatchLogic
from MedSegAttentionLib.logic.checkpoints import CheckpointLogic
from MedSegAttentionLib.logic.corrections import CorrectionLogic
from MedSegAttentionLib.logic.packages import PackageLogic
from MedSegAttentionLib.logic.results import ResultLogic
from MedSegAttentionLib.panel.choices import Axis, Device
from MedSegAttentionLib.panel.full_height import FullHeight
from MedSegAttentionLib.panel.panel import Panel
from MedSegAttentionLib.scene.terminology import load_terminology
from MedSegAttentionLib.setup.sample_data import register_samples

UI_FILES = ("MedSegAttention", "Results", "Compare", "Attention", "Options", "Batch", "Checkpoints", "SelfCheck")
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
            "stage partial encoder for prostate gland segmentation in MR images (arXiv:2512.13902); KM-UNet "
            "(arXiv:2501.02559); VMKLA-UNet (Scientific Reports 15, 13258, 2025); key-value attention "
            "(arXiv:2503.18862). Each checkpoint names its training data "
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
        task: what to find in it; see ``MedSegAttentionLib.data.task``.
        checkpoint: ID of a checkpoint of the task; empty lets task and volume decide.
        device: where the network runs.
        axis: which axis slices are cut along.
        showAttention: whether attention maps are computed and shown.
        testTimeFlips: whether to average over mirror images of each slice.
        slices: first and last slice to segment, counted from 1, as ``3-7``; empty for all.
        region: only what lies in it is segmented.
        leftOut: names of classes that are not made, commas between.
        probabilityOf: name of the class whose probability is an overlay too; empty for none.
        result: the segmentation whose results are shown.
        neighbourStage: attention stage whose neighbours are shown.
        pointList: points to show the neighbours of.
    """

    # Both classes by name: the node list offers exactly the classes named here, so no label maps.
    inputVolume: Union[vtkMRMLScalarVolumeNode, vtkMRMLVectorVolumeNode, None]  # noqa: UP007 - older Slicer needs Union
    task: str = BUILT_IN_TASKS[0]
    checkpoint: str = ""
    device: Device = Device.AUTO
    axis: Axis = Axis.AUTO
    showAttention: bool = True
    testTimeFlips: bool = False
    slices: str = ""
    region: Union[vtkMRMLMarkupsROINode, None]  # noqa: UP007
    leftOut: str = ""
    probabilityOf: str = ""
    result: Union[vtkMRMLSegmentationNode, None]  # noqa: UP007
    neighbourStage: str = "stage4"
    pointList: Union[vtkMRMLMarkupsFiducialNode, None]  # noqa: UP007


class MedSegAttentionWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel in Slicer's life cycle; what it does is in ``MedSegAttentionLib.panel``."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.panel: Panel | None = None
        self._height: FullHeight | None = None
        self.logic: MedSegAttentionLogic | None = None

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
        self._height = FullHeight(self.parent)
        self.logic = MedSegAttentionLogic()
        self.panel = Panel(self.ui, self.logic)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.enter()  # a reload does not enter the module again

    def cleanup(self) -> None:
        """Called when the module is reloaded and when the application closes."""
        self.removeObservers()
        if self._height:
            self._height.close()
        if self.panel:  # else setup failed, and that is the error to show
            self.panel.close()
            self.logic.close()

    def enter(self) -> None:
        """Called each time the module is shown."""
        self.panel.enter(self.logic.getParameterNode())

    def exit(self) -> None:
        """Called each time another module is shown instead; a run goes on."""
        self.panel.setParameterNode(None)

    def onSceneStartClose(self, _caller: Any = None, _event: Any = None) -> None:
        """The scene is about to be emptied: nothing to segment, nowhere to put it, no more to say of runs."""
        self.panel.forget()
        self.panel.cancel()
        self.panel.setParameterNode(None)

    def onSceneEndClose(self, _caller: Any = None, _event: Any = None) -> None:
        """The scene is empty, or another one: show its parameters."""
        if self.parent.isEntered:
            self.enter()

    def onSceneEndImport(self, _caller: Any = None, _event: Any = None) -> None:
        """A scene was loaded: its nodes are in the selectors only after this."""
        qt.QTimer.singleShot(0, self._showScene)

    def _showScene(self) -> None:
        isOpen = self.hasObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        if isOpen and self.parent.isEntered:
            self.enter()
            self.panel.showScene()


class MedSegAttentionLogic(
    BatchLogic, CorrectionLogic, ResultLogic, CheckpointLogic, PackageLogic, ScriptedLoadableModuleLogic
):
    """Segmentation from the Python console, as from the panel. Its parts are in ``MedSegAttentionLib.logic``.

    ``slicer.util.getModuleLogic("MedSegAttention").segment(task="prostate")``
    """

    def __init__(self, runner: Any = None, background: Any = None) -> None:
        """Args: see ``MedSegAttentionLib.logic.runs.RunLogic``."""
        ScriptedLoadableModuleLogic.__init__(self)
        BatchLogic.__init__(self, runner, background)

    def getParameterNode(self) -> MedSegAttentionParameterNode:
        """The scene's parameters of this module."""
        return MedSegAttentionParameterNode(super().getParameterNode())


class MedSegAttentionTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer, by ctest and by *Reload and Test*. Tests without Slicer: ``Testing/Python``."""

    def setUp(self) -> None:
        """Start from an empty scene; without packages or checkpoints there is nothing to test."""
        slicer.mrmlScene.Clear()
        self.logic = MedSegAttentionLogic()
        if missing := self.logic.missingPackages():
            self.skipTest(f"Python packages are not installed: {', '.join(missing)}")
        if not self.logic.checkpoints():
            self.skipTest("no checkpoint is installed")

    def runTest(self) -> None:
        """Run all tests of this class."""
        for test in (self.test_segment, self.test_panel):
            self.setUp()
            test()

    def test_segment(self) -> None:
        """A volume goes in; a segmentation and attention maps of the same place come out."""
        card = self.logic.checkpoints()[0]
        volumeNode, slices = self._volume(card), []
        result = self.logic.segment(
            volumeNode, task=card.task, checkpoint=card.id, device="cpu", force=True, progressCallback=slices.append
        )
        assert len(slices) == volumeNode.GetImageData().GetDimensions()[2]
        assert result.segmentationNode.GetSegmentation().GetNumberOfSegments() <= len(card.labels)
        assert sorted(result.attentionNodes) == sorted(["uncertainty", *(item.name for item in card.attention)])
        assert result.segmentationNode.GetScene() is slicer.mrmlScene

    def test_panel(self) -> None:
        """What a user sees of a run, on the sample CT where it can be had; see ``panel.self_test``."""
        from MedSegAttentionLib.panel.self_test import PanelTest

        if slicer.util.mainWindow() is None:
            self.skipTest("no main window, in which the panel would be")
        cards = self.logic.checkpoints()
        card = next((card for card in cards if (card.task, card.modality) == ("abdomen", "CT")), cards[0])
        slicer.util.selectModule("MedSegAttention")
        widget = slicer.util.getModuleWidget("MedSegAttention")
        # Noise does not say of which modality it is, so the checkpoint is told; and takes a while to be seen segmented.
        PanelTest(widget, self._sample(card) or self._volume(card, slices=40), card.task, card.id).run()

    def _sample(self, card: Any) -> Any:
        """The sample CT; None where it cannot be downloaded, or is not what the checkpoint takes."""
        if card.modality != "CT":
            return None
        try:
            import SampleData

            return SampleData.SampleDataLogic().downloadSample("Panoramix-cropped")
        except Exception as error:  # no network, a proxy, a Slicer without this module: the test goes on without
            logging.info("no sample: %s", error)
            return None

    def _volume(self, card: Any, slices: int = 3) -> Any:
        """Noise of the form that the checkpoint takes."""
        import numpy as np

        shape = (slices, 64, 64) if card.in_channels == 1 else (1, 64, 64, card.in_channels)
        nodeClass = "vtkMRMLScalarVolumeNode" if card.in_channels == 1 else "vtkMRMLVectorVolumeNode"
        values = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
        return slicer.util.addVolumeFromArray(values, name="noise", nodeClassName=nodeClass)
