"""A worker process with the real protocol and a fake engine, so that it starts at once: no torch.

Executed by a script that stands in for a Python executable, see :func:`executable`. What the engine does is told by the
name of the volume: ``slow`` (0.02 s a slice), ``hang`` (stops answering at slice 3), ``print`` (prints on stdout by
every way there is), ``busy`` (computes without end), ``refuse`` (raises an error of ours), ``bug`` (raises another).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np


def executable(folder: Path, launcher: bool = False, before: str = "") -> Path:
    """Write a script that runs this worker whatever module it is asked for.

    Args:
        folder: where to put it.
        launcher: it starts another process and waits for it, as PythonSlicer does.
        before: a line of shell to run first.
    """
    path = folder / "python"
    start = f"'{sys.executable}' '{__file__}' \"$@\""
    path.write_text(f"#!/bin/sh\n{before}\n{start if launcher else 'exec ' + start}\n")
    path.chmod(0o755)
    return path


def _engine() -> ModuleType:
    from MedSegAttentionLib.data.card import AttentionMap
    from MedSegAttentionLib.data.errors import ContractWarning
    from MedSegAttentionLib.data.labels import Code, Label
    from MedSegAttentionLib.data.result import AttentionVolume, RunStart, SliceResult, VolumeResult

    code = Code("SCT", "10200004", "Liver")
    classes = (Label("liver", 1, (221, 130, 101), code, code), Label("spleen", 2, (1, 2, 3), code, code, code))
    state = {"loaded": 0}

    def run(volume, *, checkpoint, settings, on_slice, is_cancelled, on_cancel, on_start, labels):
        state["loaded"] += 1
        if volume.name == "refuse":
            raise ContractWarning("'refuse' looks like MR.")
        if volume.name == "bug":
            raise ZeroDivisionError("by zero")
        if volume.name == "print":
            os.write(1, b'{"event": "done"}\n')
            print("hello from a library", flush=True)  # noqa: T201
            os.system("echo hello from a child")
        count, done = len(volume.array), 0
        on_start(RunStart(count, 2, classes))
        for index in range(count):
            if volume.name == "hang" and index == 3:
                time.sleep(1000)
            while volume.name == "busy":
                np.sort(np.random.default_rng(0).random(10**6))
            time.sleep(0.02 if volume.name == "slow" else 0)
            labels[index] = volume.array[index] > 0
            done = index + 1
            on_slice(SliceResult(index, count, labels[index], {}))
            if is_cancelled():
                break
        array = np.asarray(volume.array, np.float32)
        maps = {"tau": AttentionVolume(AttentionMap("tau", "tau", "For tests.", (0.0, 1.0)), array, volume.ijk_to_ras)}
        provenance = {"pid": os.getpid(), "loaded": state["loaded"], "checkpoint": checkpoint}
        kept = None if done == count else (0, done - 1)
        return VolumeResult(volume.name, labels, volume.ijk_to_ras, classes, maps, provenance, kept)

    def attention_row(volume, ras, *, checkpoint, map, settings):  # noqa: A002 - the real one's name
        if volume.name == "hang":
            time.sleep(1000)
        shown = AttentionMap("../row", map, "For tests.", (0.0, 0.125))
        return AttentionVolume(shown, np.full((1, 2, 2), ras[0], np.float32), volume.ijk_to_ras), {"pid": os.getpid()}

    engine = ModuleType("MedSegAttentionLib.runner.in_process")
    engine.run, engine.attention_row, engine.unload = run, attention_row, lambda: state.update(loaded=0)
    return engine


if __name__ == "__main__":
    import MedSegAttentionLib.runner

    MedSegAttentionLib.runner.in_process = sys.modules["MedSegAttentionLib.runner.in_process"] = _engine()
    from MedSegAttentionLib.runner import worker

    sys.argv = sys.argv[:1] + sys.argv[3:]  # after -m MODULE
    worker.main()
