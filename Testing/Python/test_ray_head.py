"""A cluster as a hospital starts it, by ``ray start --head``: it asks for a token, dies half-way, and comes back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from command_tools import names
from MedSegAttentionLib.runner.claims import CLAIMS_FOLDER
from test_claims import age, table

pytest.importorskip("ray")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Ray's clusters are not tested on Windows")
pytest_plugins = ["command_fixtures"]
CASES = 12


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """Of a person with a token, as one has who ever used ``--cluster local``."""
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0123456789abcdef" * 4)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    quick = {"RAY_gcs_rpc_server_reconnect_timeout_s": "3", "RAY_memory_monitor_refresh_ms": "0"}
    return kept | quick | {"HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}


def a_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def a_head(port: int, environment: dict[str, str]) -> Iterator[None]:
    ray = Path(sys.executable).with_name("ray")
    words = ["start", "--head", f"--port={port}", f"--ray-client-server-port={a_free_port()}", "--num-cpus=1"]
    words += ["--include-dashboard=false", "--object-store-memory=80000000", "--block"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([ray, *words], env=environment, start_new_session=True, **quiet)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_head_that_asks_for_its_token_and_dies_costs_no_case(environment, a_checkpoint, tmp_path):
    cohort, output = tmp_path / "cohort", tmp_path / "results"
    cohort.mkdir()
    for number in range(CASES):
        array = np.full((40, 64, 64), number, np.float32)
        array[:, 10:30, 10:30] = 100
        sitk.WriteImage(sitk.GetImageFromArray(array), str(cohort / f"{number:02}.nrrd"))
    port = a_free_port()
    words = [
        "segment",
        cohort,
        "--checkpoint",
        a_checkpoint,
        "--output",
        output,
        "--device",
        "cpu",
        "--attention",
        "none",
    ]
    command = [sys.executable, "-m", "MedSegAttentionLib", *map(str, words), "--cluster", f"127.0.0.1:{port}"]

    with a_head(port, environment):
        first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while first.poll() is None and len(list(output.glob("*.json"))) < 2:
            time.sleep(0.02)
    told, _ = first.communicate(timeout=60)
    assert first.returncode == 1, told
    done = {path.name: path.stat().st_mtime_ns for path in output.glob("*.json")}
    assert 2 <= len(done) < CASES, told

    if (output / CLAIMS_FOLDER).is_dir():
        age(output, 200)  # a lease later
    with a_head(port, environment):
        second = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=120)
    assert second.returncode == 0, second.stdout + second.stderr
    assert f"{len(done)} skipped" in second.stdout
    assert {path.name: path.stat().st_mtime_ns for path in output.glob("*.json") if path.name in done} == done
    assert set(table(output)) == {f"{number:02}.nrrd" for number in range(CASES)}
    assert len([name for name in names(output) if name.endswith(".seg.nrrd")]) == CASES
    assert not [name for name in names(output) if name.startswith(".")]
