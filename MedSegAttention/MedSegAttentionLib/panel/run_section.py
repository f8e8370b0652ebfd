"""Apply and Cancel: starts and stops a run, shows how far it is and how it ended."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..data.errors import Cancelled, ContractWarning, MedSegAttentionError
from ..data.result import RunProgress
from ..logic.segment_handle import SegmentHandle, SegmentResult

logger = logging.getLogger(__name__)


class RunSection:
    """Serves ``progressBar`` and ``statusLabel``, and holds the one run that is under way.

    A run happens in a worker process; the logic's handle tells of its progress from Slicer's event loop.

    Attributes:
        handle: of the run under way, or None.
        stopping: whether it was cancelled and is still writing what is finished.
        live: whether it does what is looked at alone.
    """

    def __init__(
        self, ui: Any, logic: Any, onRunning: Callable[[bool], None], onResult: Callable[[SegmentResult], None]
    ) -> None:
        """Take the widgets.

        Args:
            ui: the widgets by name.
            logic: a ``MedSegAttentionLogic``.
            onRunning: called with True after a run has started and with False when it is over.
            onResult: called with what a run has written.
        """
        self._ui, self._logic = ui, logic
        self._onRunning, self._onResult = onRunning, onResult
        self.handle: SegmentHandle | None = None
        self.stopping = self.live = False
        self._isInView = True  # a slice, where it is live
        self._begun: float | None = None  # until the first slice
        self._choices: dict[str, Any] = {}
        self._closed = False
        self._ofRun = ""  # what the status says of how the last one ended
        self._hint = ""
        ui.progressBar.visible = False

    def close(self) -> None:
        """Stop the run; the widgets may be gone afterwards."""
        self._closed = True
        self.cancel()

    def start(
        self,
        choices: dict[str, Any],
        force: bool = False,
        begin: Callable[..., SegmentHandle] | None = None,
        finished: str = "",
    ) -> None:
        """Run.

        Args:
            choices: keywords of ``begin``.
            force: also on a volume that the checkpoint was not trained on.
            begin: starts a run and gives its handle; None for ``MedSegAttentionLogic.segment``.
            finished: what is said at its end, and nothing else; empty for what came out.
        """
        self._choices = {"choices": choices, "begin": begin, "finished": finished}
        self._begun = time.monotonic()
        self.handle = (begin or partial(self._logic.segment, wait=False))(
            **choices, force=force, progressCallback=self._onProgress, finishedCallback=self._onFinished
        )
        self.live = bool(choices.get("live"))
        self._showRunning(True)
        self.setStatus(_("Loading the network..."))
        self.handle.poll()

    def showLive(self, isInView: bool) -> None:
        """Whether a live run has a slice in view; where none is, scrolling gets the user nowhere."""
        changed, self._isInView = isInView is not self._isInView, isInView
        if changed and self.live and self.handle and self.handle.progress.count:
            self.setStatus(liveText(self.handle.progress, isInView))

    def doTheRest(self) -> None:
        """Let a live run do all that is left."""
        self.live = False
        self.handle.want(None)
        self._onRunning(True)

    def cancel(self, keep: bool = False) -> None:
        """Stop the run, if there is one; ``keep`` keeps its finished slices."""
        if self.handle:
            self.stopping, self.live = keep, False
            self.handle.cancel(keep)
            if self.handle:  # a kept result takes a moment
                self.setStatus(_("Stopping after this slice..."))
                self._onRunning(True)

    def askAndCancel(self) -> None:
        """Cancel; where slices are finished the user says what becomes of them, while the run goes on.

        A dialog that is closed without an answer means No, so No is what loses nothing.
        """
        run, finished = self.handle, self.handle.progress.finished
        question = _("Remove the slices that are finished ({count})? No keeps them.").format(count=finished)
        remove = finished == 0 or slicer.util.confirmYesNoDisplay(question, _("Cancel the segmentation"))
        if self.handle is run:  # it may have finished meanwhile
            self.cancel(keep=not remove)

    def forget(self) -> None:
        """Say nothing any more of a run whose scene was closed."""
        if not self._closed and self._ui.statusLabel.text == self._ofRun:
            self.setStatus("")

    def _sayOfRun(self, text: str) -> None:
        """Say how a run ended."""
        self._ofRun = text
        self.setStatus(text)

    def setStatus(self, text: str) -> None:
        """Say what is going on."""
        if not self._closed:
            self._ui.statusLabel.text = text

    def setHint(self, text: str) -> None:
        """Say what is to be done first, while there is nothing else to say."""
        before, self._hint = self._hint, text
        if not self._closed and self._ui.statusLabel.text in ("", before):
            self._ui.statusLabel.text = text

    @contextmanager
    def errorsShown(self) -> Iterator[None]:
        """Tell the user what the block raises."""
        try:
            yield
        except Cancelled:
            self._sayOfRun(_("Cancelled; the scene is as it was."))
        except MedSegAttentionError as error:
            self._showError(str(error), getattr(error, "details", ""))
        except Exception as error:
            logger.exception("segmentation failed")
            self._showError(_("Segmentation failed: {error}").format(error=error), traceback.format_exc())

    def _onFinished(self, run: SegmentHandle) -> None:
        self.handle, self.stopping, self.live = None, False, False
        self._showRunning(False)
        with self.errorsShown():
            try:
                self._show(run.result())
            except ContractWarning as warning:
                self._runAnyway(warning)
        if not self.handle:
            self._choices = {}  # would keep the volume in memory

    def _show(self, result: SegmentResult) -> None:
        """A run has written its result."""
        self._onResult(result)
        finished = self._choices.get("finished")
        told = self._ui.resultNotesLabel.text  # what the results say already, also of a part that was made anew
        warnings = [text for text in result.provenance.get("warnings", []) if text not in told and not finished]
        finished = finished or _("Finished: {name}, {count} overlays.").format(
            name=result.segmentationNode.GetName(), count=len(result.attentionNodes)
        )
        done, count = result.provenance.get("slices", (0, 0))
        if done < count:
            finished = _("Stopped after {done} of {count} slices: {name} is partial.").format(
                done=done, count=count, name=result.segmentationNode.GetName()
            )
        self._sayOfRun("\n".join([finished, *warnings]))

    def _runAnyway(self, warning: ContractWarning) -> None:
        """The volume is not what the checkpoint was trained on: run all the same if the user wants it."""
        question = _("{warning}\n\nRun anyway?").format(warning=warning)
        if not self._closed and slicer.util.confirmOkCancelDisplay(
            question, _("Outside of what the checkpoint was trained on")
        ):
            self.start(**self._choices, force=True)
        else:
            self._sayOfRun(_("Not run: the volume is outside of what the checkpoint was trained on."))

    def _onProgress(self, progress: RunProgress) -> None:
        if self._closed:
            return
        self._ui.progressBar.maximum = max(1, progress.count)
        self._ui.progressBar.value = progress.finished
        if self._begun is not None and progress.finished:
            logger.info("first slice after %.2f s", time.monotonic() - self._begun)
            self._begun = None
        if not self.stopping:
            self.setStatus(liveText(progress, self._isInView) if self.live else progressText(progress))

    def _showRunning(self, running: bool) -> None:
        if self._closed:
            return
        self._ui.progressBar.value = 0
        self._ui.progressBar.visible = running
        self.setStatus("")
        self._onRunning(running)

    def _showError(self, text: str, details: str = "") -> None:
        self._sayOfRun(_("Failed; the scene is as it was."))
        if not self._closed:
            slicer.util.errorDisplay(text, **({"detailedText": details} if details else {}))


def progressText(progress: RunProgress) -> str:
    """What the user reads while a run goes on."""
    text = _("Slice {number} of {count}").format(number=progress.finished, count=progress.count)
    left = progress.seconds_left
    if left is None or progress.finished == progress.count:
        return text
    if left < 60:
        return _("{slices}, about {seconds} s left").format(slices=text, seconds=max(1, round(left)))
    return _("{slices}, about {minutes} min left").format(slices=text, minutes=round(left / 60))


def liveText(progress: RunProgress, isInView: bool) -> str:
    """What the user reads while a live run waits for where the user looks."""
    text = _("Live: {number} of {count} slices are done. Scroll to do more; Apply does the rest.")
    if not isInView:
        text = _(
            "Live: {number} of {count} slices are done. No view shows one: turn a view to the plane of the slices."
        )
    return text.format(number=progress.finished, count=progress.count)
