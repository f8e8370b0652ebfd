"""A MRML scene outside the Slicer application, with the logics that scripts and files rely on."""

from __future__ import annotations

import tempfile
import weakref

import slicer
from vtkmodules.vtkCommonCore import vtkObject

from .terminology import load_terminology

VIEWS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}


def headless_scene() -> slicer.vtkMRMLScene:
    """Make a scene as the application would, without a window.

    Its logics live as long as the Python object returned: keep that.
    """
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    logics = {
        "Colors": slicer.vtkMRMLColorLogic(),
        "Volumes": slicer.vtkSlicerVolumesLogic(),
        "Segmentations": slicer.vtkSlicerSegmentationsModuleLogic(),
        "SubjectHierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic(),
    }
    for name, logic in logics.items():
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
        application.SetModuleLogic(name, logic)
    terminology = _terminology_logic()
    application.SetModuleLogic("Terminologies", terminology)
    # The wheel's own colour logic, which would register this class, looks for colour files that the wheel lacks.
    scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())
    _add_slice_views(scene)
    folder = tempfile.TemporaryDirectory(prefix="MedSegAttention-")
    _enable_files(scene, folder.name)
    # The logics hold the scene, so the scene must not hold them (it would never be freed): its finalizer does.
    weakref.finalize(scene, _close, [*logics.values(), application], folder, terminology)
    return scene


def _close(logics: list[slicer.vtkMRMLAbstractLogic], folder: tempfile.TemporaryDirectory, _kept: object) -> None:
    """Let go of the scene and remove its temporary files."""
    warnings = vtkObject.GetGlobalWarningDisplay()
    vtkObject.SetGlobalWarningDisplay(False)  # the hierarchy logic warns that it has no scene: that is the purpose
    for logic in logics:
        logic.SetMRMLScene(None)
    vtkObject.SetGlobalWarningDisplay(warnings)
    folder.cleanup()


def _terminology_logic() -> slicer.vtkSlicerTerminologiesModuleLogic:
    # It gets no scene: on being given one it looks for Slicer's own lists, which the wheel lacks, and reports errors.
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    load_terminology(logic)
    return logic


def _enable_files(scene: slicer.vtkMRMLScene, folder: str) -> None:
    """Let the scene save and load ``.mrb`` files, which it packs and unpacks in ``folder``."""
    cache = slicer.vtkCacheManager()
    cache.SetRemoteCacheDirectory(folder)
    cache.SetMRMLScene(scene)
    scene.SetCacheManager(cache)
    manager = slicer.vtkDataIOManager()
    manager.SetCacheManager(cache)
    scene.SetDataIOManager(manager)


def _add_slice_views(scene: slicer.vtkMRMLScene) -> None:
    """The three slice views of the application's layout, so that a saved scene opens with the overlay shown."""
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    for name, orientation in VIEWS.items():
        for class_name in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode"):
            node = scene.CreateNodeByClass(class_name)
            node.UnRegister(None)  # made with a reference of its own, which Python's wrapper does not take over
            node.SetName(name)
            node.SetLayoutName(name)
            node.SetSingletonTag(name)
            scene.AddNode(node)
        view = slicer.vtkMRMLSliceLogic.GetSliceNode(node)
        view.SetOrientation(orientation)
        view.SetLayoutLabel(name[0])  # on the view's bar, whose colour it has too: a scene brings its own
        view.SetLayoutColor(getattr(slicer.vtkMRMLSliceNode, f"Get{name}Color")())
