"""What a user sees of a run, clicked through in the running application: for ctest and *Reload and Test*.

Needs no answer from anybody: licences are accepted and questions answered for the time of the test alone.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import qt
import slicer

from ..scene import overlay_display
from ..scene.nodes import nodes_of_class
from ..scene.overlays import shown_overlay
from ..scene.preview import PREVIEW_ATTRIBUTE
from .licence import KEY

MOST_SECONDS = 300.0
STEADY_SECONDS = 2.0
BAD_LEVELS = ("Error", "Critical", "Fatal")
LEVEL_COLUMN = 2  # ctkErrorLogAbstractModel::LogLevelColumn, of which Python is told nothing


class PanelTest:
    """Steps through the open panel; each raises ``AssertionError`` with what is not as a user would expect it.

    Args:
        widget: the module's, shown.
        volumeNode: what to segment, in the scene.
        task: which task.
        checkpoint: ID of a checkpoint of the task; empty lets task and volume decide.
        view: name of a slice view.
        steadySeconds: so long the panel must keep its width.
    """

    def __init__(
        self,
        widget: Any,
        volumeNode: Any,
        task: str,
        checkpoint: str = "",
        view: str = "Red",
        steadySeconds: float = STEADY_SECONDS,
    ) -> None:
        self._widget, self._ui, self._volumeNode = widget, widget.ui, volumeNode
        self._task, self._checkpoint = task, checkpoint
        self._view, self._steadySeconds = view, steadySeconds

    def run(self) -> None:
        """All steps."""
        self._restFor(self._steadySeconds)  # the test runner writes where errors go, and the log takes it in later
        before = len(errorsLogged())
        with everythingAccepted():
            self.staysAsWideAsItIs()
            self.segmentsWithPreview()
            self.legendsFollowTheMap()
            self.rowsAreVisible()
            self.cancelLeavesTheResult()
            self.segmentsAgain()
            self.closesWithTheScene()
        logged = errorsLogged()[before:]
        assert not logged, f"errors in the application's log: {logged[:3]}"

    def staysAsWideAsItIs(self) -> None:
        """The panel, of which the application's window would grow: once, to hold it, and no more."""
        self._restFor(self._steadySeconds)
        width, end = self._width(), time.monotonic() + self._steadySeconds
        while time.monotonic() < end:
            self._rest()
            assert self._width() == width, f"the panel widens: {width} to {self._width()} pixels"

    def segmentsWithPreview(self) -> None:
        """Apply, slices that are seen as they come, a result."""
        parameters = self._widget.logic.getParameterNode()
        parameters.inputVolume, parameters.task = self._volumeNode, self._task
        parameters.checkpoint = self._checkpoint
        before, seen = self._screenshot(), False
        self._ui.applyButton.click()
        while self._isRunning():
            self._rest()
            if not seen and self._previews():
                seen = before is None or self._screenshot() != before
        assert self._result() is not None, f"no result: {self._ui.statusLabel.text}"
        assert seen, "no slice was seen before the run was over"
        assert not self._previews(), "the preview stayed in the scene"

    def legendsFollowTheMap(self) -> None:
        """The one legend that is shown names the map that is shown, right after each switch."""
        box = self._ui.attentionMapComboBox
        assert box.count > 1, "no overlay to choose"
        for index in [*range(box.count), 0]:
            box.setCurrentIndex(index)
            self._rest()
            node = shown_overlay(slicer.mrmlScene)
            shown = [
                legend.GetTitleText()
                for legend in nodes_of_class(slicer.mrmlScene, "vtkMRMLColorLegendDisplayNode")
                if legend.GetVisibility() and (node is None or legend.GetID() == overlay_display.legend(node).GetID())
            ]
            if node is not None:
                title = overlay_display.legend(node).GetTitleText()
                assert shown == [title], f"map '{box.currentText}', legend {shown}"

    def rowsAreVisible(self) -> None:
        """Every segment has its row, and the table shows all of them without scrolling."""
        table, count = self._ui.segmentsTable, self._result().GetSegmentation().GetNumberOfSegments()
        assert table.rowCount >= count, f"{table.rowCount} rows for {count} segments"
        needed = sum(table.rowHeight(row) for row in range(table.rowCount))
        assert table.maximumHeight >= needed, f"the table is at most {table.maximumHeight} pixels high, rows {needed}"

    def cancelLeavesTheResult(self) -> None:
        """A run that is cancelled leaves no trace."""
        before = self._nodes()
        self._ui.applyButton.click()
        self._rest()
        if self._isRunning():
            self._ui.applyButton.click()
        self._wait(lambda: not self._isRunning())
        assert self._nodes() in (before, before + 1), "a cancelled run left something"  # a short one may be through

    def segmentsAgain(self) -> None:
        """A second result has a name of its own, and hides the first."""
        first = self._result()
        self._ui.applyButton.click()
        self._wait(lambda: not self._isRunning())
        second = self._result()
        assert second is not first, f"no second result: {self._ui.statusLabel.text}"
        assert second.GetName() != first.GetName()
        assert second.GetDisplayNode().GetVisibility(), "the second result is hidden"
        assert not first.GetDisplayNode().GetVisibility(), "the first result is not hidden"

    def closesWithTheScene(self) -> None:
        """A closed scene leaves a panel that says nothing of it."""
        slicer.mrmlScene.Clear(0)
        self._rest()
        assert not self._ui.segmentsTable.rowCount, "rows of a result that is gone"
        assert not self._ui.statusLabel.text.startswith("Finished"), self._ui.statusLabel.text

    def _result(self) -> Any:
        return self._widget.logic.getParameterNode().result

    def _isRunning(self) -> bool:
        return self._widget.panel.run.handle is not None

    def _nodes(self) -> int:
        return len(nodes_of_class(slicer.mrmlScene, "vtkMRMLSegmentationNode"))

    def _previews(self) -> list[Any]:
        nodes = nodes_of_class(slicer.mrmlScene, "vtkMRMLSegmentationNode")
        return [node for node in nodes if node.GetAttribute(PREVIEW_ATTRIBUTE)]

    def _width(self) -> int:
        window = slicer.util.mainWindow()
        return window.width if window else self._widget.parent.minimumSizeHint.width()

    def _screenshot(self) -> bytes | None:
        """The slice view as a picture; None where the application has no views."""
        layout = slicer.app.layoutManager()
        widget = layout.sliceWidget(self._view) if layout else None
        if widget is None:
            return None
        slicer.util.forceRenderAllViews()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "view.png"
            widget.sliceView().grab().save(str(path))
            return path.read_bytes()

    def _wait(self, happened: Callable[[], bool]) -> None:
        end = time.monotonic() + MOST_SECONDS
        while not happened():
            assert time.monotonic() < end, f"not within {MOST_SECONDS:.0f} s; {self._ui.statusLabel.text}"
            self._rest()

    def _restFor(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._rest()

    def _rest(self) -> None:
        slicer.app.processEvents()
        time.sleep(0.01)


def errorsLogged() -> list[str]:
    """Errors of the application's log, as its window shows them."""
    model = slicer.app.errorLogModel()
    rows = [row for row in range(model.rowCount()) if str(model.data(model.index(row, LEVEL_COLUMN))) in BAD_LEVELS]
    return [text for row in rows if (text := str(model.logEntryDescription(row)).strip())]


@contextmanager
def everythingAccepted() -> Iterator[None]:
    """Each question is answered with yes, without a dialog; licences that were accepted so are forgotten again."""
    told: list[str] = []
    answers = dict.fromkeys(("confirmOkCancelDisplay", "confirmYesNoDisplay"), lambda *_texts, **_how: True)
    answers["errorDisplay"] = lambda text, *_texts, **_how: told.append(text)
    real, before = {name: getattr(slicer.util, name) for name in answers}, _acceptedLicences()
    vars(slicer.util).update(answers)
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{error}; errors that were shown: {told[:3]}") from error
    finally:
        vars(slicer.util).update(real)
        for key in _acceptedLicences() - before:
            qt.QSettings().remove(key)
    assert not told, f"errors were shown: {told[:3]}"


def _acceptedLicences() -> set[str]:
    """Keys of the user's settings."""
    return {key for key in qt.QSettings().allKeys() if key.startswith(KEY.partition("{")[0])}
