"""Times the panel on the sample CT: the first slice cold and warm, a slice in view, the longest stop of the event loop.

``python Testing/Python/panel_timing.py``. Panel, worker, network and MRML are real; the window around
them is the test double, so that nothing is drawn: what the real application draws comes on top.
"""

from __future__ import annotations

import argparse
import importlib.resources
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from vtkmodules.vtkCommonMath import vtkMatrix4x4

from MedSegAttentionLib.files.reading import read_volume
from MedSegAttentionLib.scene.application import headless_scene
from MedSegAttentionLib.scene.volumes import add_volume
from panel_picture import opened
from slicer_double.application import Application, install, load_module

TASK, DEVICE = "Abdomen", "CPU"
LIVE_SLICES = 6


class Loop:
    """The event loop, with a watch on it.

    Attributes:
        longest: seconds of the longest time that it was in one round of events, in which the window does not answer.
    """

    def __init__(self, application: Application) -> None:
        self._application, self.longest = application, 0.0

    def until(self, happened: Callable[[], bool], most: float = 300.0) -> float:
        """Let events in until something happened; seconds that it took."""
        begin = time.perf_counter()
        while not happened():
            before = time.perf_counter()
            if before - begin > most:
                raise TimeoutError(f"nothing happened within {most:.0f} s: {self._application.shown}")
            self._application.processEvents()
            self.longest = max(self.longest, time.perf_counter() - before)
            time.sleep(0.001)
        return time.perf_counter() - begin

    def stop(self) -> float:
        """The longest stop since the last call."""
        longest, self.longest = self.longest, 0.0
        return longest


def tell(what: str, seconds: float) -> None:
    """A row of the table, as soon as it is known."""
    sys.stdout.write(f"| {what} | {1000 * seconds:.0f} |\n")
    sys.stdout.flush()


def measure(module: Any, scene: Any, volume_node: Any, application: Application) -> None:
    """Tell all times."""
    loop = Loop(application)
    with opened(module) as widget:
        ui, run = widget.ui, widget.panel.run
        ui.taskComboBox.setCurrentText(TASK)
        ui.deviceComboBox.setCurrentText(DEVICE)

        def slices(count: int) -> Callable[[], bool]:
            return lambda: run.handle is None or run.handle.progress.finished >= count

        for name in ("cold", "warm"):
            begin = time.perf_counter()
            ui.applyButton.click()
            clicked = time.perf_counter() - begin
            tell(f"Apply to the first slice, {name}", clicked + loop.until(slices(1)))
            while run.handle and run.handle.progress.finished < run.handle.progress.count:
                loop.until(slices(run.handle.progress.finished + 1))
            tell(f"longest stop until the last slice, {name}", max(clicked, loop.stop()))
            loop.until(lambda: run.handle is None)
            tell(f"writing the result, under a wait cursor, {name}", loop.stop())
        live(ui, run, scene, volume_node, loop)


def live(ui: Any, run: Any, scene: Any, volume_node: Any, loop: Loop) -> None:
    """The live toggle: from the view's last move to the slice being done."""
    show(scene, volume_node, 10)
    ui.liveButton.click()
    loop.until(lambda: run.handle.progress.finished >= 1)
    waits = []
    for number in range(LIVE_SLICES):
        show(scene, volume_node, 12 + 2 * number)
        waits.append(loop.until(lambda done=number + 2: run.handle.progress.finished >= done))
    tell("live: a slice from the view's last move, median", sorted(waits)[LIVE_SLICES // 2])
    tell("live: longest stop", loop.stop())
    ui.liveButton.click()
    loop.until(lambda: run.handle is None)


def show(scene: Any, volume_node: Any, k: int) -> None:
    """Move the Red view to a slice."""
    matrix = vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    scene.GetNodeByID("vtkMRMLSliceNodeRed").SetSliceOffset(matrix.MultiplyPoint((0, 0, k, 1))[2])


def main() -> None:
    argparse.ArgumentParser(description="time the panel on the sample CT").parse_args()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSEGATTENTION_CHECKPOINTS", "none-of-the-user")
        scene = headless_scene()
        application = install(patch, scene)
        module = load_module(patch)
        image = read_volume(Path(str(importlib.resources.files("slicerio") / "data" / "CTChest4.nrrd")))
        sys.stdout.write("| | ms |\n| --- | --- |\n")
        measure(module, scene, add_volume(scene, image), application)
        failed = [text for function, text in application.shown if function == "errorDisplay"]
    if failed:
        raise RuntimeError(failed[0])


if __name__ == "__main__":
    main()
