"""Running a module of this library in a Python process of its own, so that a crash of torch leaves Slicer alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

MODULE_FOLDER = Path(__file__).resolve().parents[2]


def run_module(name: str, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """``python -m name arguments`` with the Python of Slicer, or of this process outside Slicer.

    Args:
        name: of a module of this library.
        arguments: for its command line.
        timeout: seconds.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was ended.
    """
    path = os.pathsep.join(filter(None, (str(MODULE_FOLDER), os.environ.get("PYTHONPATH", ""))))
    return subprocess.run(
        [shutil.which("PythonSlicer") or sys.executable, "-m", name, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
        check=False,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )
