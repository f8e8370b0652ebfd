"""A slice view as the application has it, for what it draws and when: MRML's own displayable managers, no window.

The managers are those of the application, from slicer-core; only their window is missing. What they do not observe is
not drawn here either.
"""

from __future__ import annotations

import os

# Without a screen: a window class that opens none. Nothing is rendered; actors and requests to draw are looked at.
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkOSOpenGLRenderWindow")

import slicer
import vtk

MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D", "vtkMRMLColorLegendDisplayableManager")


class SliceView:
    """The Red slice view of a scene.

    Attributes:
        drawn: how often a manager asked the view to be drawn anew.
    """

    def __init__(self, scene: slicer.vtkMRMLScene) -> None:
        self._slice_node = scene.GetNodeByID("vtkMRMLSliceNodeRed")
        self._application = slicer.vtkMRMLApplicationLogic()
        self._application.SetMRMLScene(scene)
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(self._application)
        self._logic.SetMRMLScene(scene)
        self._logic.SetSliceNode(self._slice_node)
        logics = vtk.vtkCollection()
        logics.AddItem(self._logic)
        self._application.SetSliceLogics(logics)
        self._window, self._renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
        self._window.AddRenderer(self._renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self.drawn = 0
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory()
        factory.SetMRMLApplicationLogic(self._application)
        for name in MANAGERS:
            if not factory.IsDisplayableManagerRegistered(name):  # all factories share one list
                factory.RegisterDisplayableManager(name)
        self._managers = factory.InstantiateDisplayableManagers(self._renderer)
        self._managers.SetMRMLDisplayableNode(self._slice_node)
        self._managers.AddObserver(vtk.vtkCommand.UpdateEvent, self._on_draw)

    def _on_draw(self, _caller: object, _event: str) -> None:
        self.drawn += 1

    def legends(self, scene: slicer.vtkMRMLScene) -> list[str]:
        """Titles of the colour legends that are seen now."""
        manager = self._managers.GetDisplayableManagerByClassName(MANAGERS[1])
        count = scene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode")
        nodes = [scene.GetNthNodeByClass(n, "vtkMRMLColorLegendDisplayNode") for n in range(count)]
        actors = [actor for node in nodes if (actor := manager.GetColorLegendActor(node)) is not None]
        return [actor.GetTitle() for actor in actors if actor.GetVisibility()]

    def close(self) -> None:
        """Let go of the scene, before it is emptied."""
        self._managers.SetMRMLDisplayableNode(None)
