"""The live toggle: the slice in view is segmented at once, and each that is scrolled to; what is done is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk

from ..scene.nodes import nodes_of_class
from ..scene.positions import slice_of_view
from .run_section import RunSection
from .section import Section, silent

REST_MILLISECONDS = 30
"""After the last turn of the wheel."""


class LiveSection(Section):
    """Serves ``liveButton``: watches the slice views while a live run goes on, and asks it for what they show."""

    def __init__(self, ui: Any, run: RunSection, start: Callable[[], tuple[Any, int] | None]) -> None:
        """Connect.

        Args:
            ui: the widgets by name.
            run: holds the run.
            start: starts a live run and gives (volume, slice axis); None where it could not be started.
        """
        super().__init__(ui)
        self._run, self._start = run, start
        self._image: tuple[Any, int] | None = None
        self._handle: Any = None
        self._asked: set[int] = set()
        self._turns = 0
        self._connect(ui.liveButton, "toggled(bool)", self._onToggled)

    def onRunning(self) -> None:
        """A run has started, is stopping, or is over."""
        live = self._run.live
        with silent(self._ui.liveButton):
            self._ui.liveButton.checked = live
        if not live:
            self._image, self._handle = None, None
        self._update()

    def _onToggled(self, on: bool) -> None:
        if on and self._run.handle is None:
            self._image = self._start()
            self.onRunning()
        elif not on and self._run.live:  # what is done is kept
            self._run.cancel(keep=self._run.handle.progress.finished > 0)

    def _update(self, _caller: Any = None, _event: Any = None) -> None:
        if self._parameters is None or not self._run.live or self._image is None:
            self._watch()
            return
        modified = vtk.vtkCommand.ModifiedEvent
        self._watch(*((view, modified, self._onView) for view in nodes_of_class(slicer.mrmlScene, "vtkMRMLSliceNode")))
        if self._run.handle is not self._handle:  # a new one
            self._handle, self._asked = self._run.handle, set()
            self._ask()

    def _onView(self, view: Any, _event: Any = None) -> None:
        """A view moves: look at it once it rests."""
        self._turns += 1
        turn = self._turns
        qt.QTimer.singleShot(REST_MILLISECONDS, lambda: self._ask(view) if turn == self._turns else None)

    def _ask(self, moved: Any = None) -> None:
        """Ask for the slices in view that nobody has asked for, the view that was moved first."""
        if not self._run.live or self._image is None or self._image[0].GetScene() is None:
            return
        views = [view for view in nodes_of_class(slicer.mrmlScene, "vtkMRMLSliceNode") if view is not moved]
        shown = [view for view in views if view.IsMappedInLayout()] or views
        numbers = [slice_of_view(view, *self._image) for view in (*reversed(shown), *([moved] if moved else []))]
        wanted = [number for number in dict.fromkeys(numbers) if number is not None and number not in self._asked]
        self._run.showLive(any(number is not None for number in numbers))
        if wanted:
            self._asked.update(wanted)
            self._run.handle.want(wanted)
