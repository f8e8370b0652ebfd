"""How much longer a run takes where all cores are busy, by how PyTorch's threads wait for each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Timer
from time import perf_counter, process_time

from MedSegAttentionLib.cohort.cluster import usable_cpus
from MedSegAttentionLib.data.errors import RunError
from MedSegAttentionLib.runner.threads import POLICIES, SPINS

from .cohort import machine

WAYS: dict[str, tuple[dict[str, str], int | None]] = {
    "a slice each (as it runs)": ({"GOMP_SPINCOUNT": str(SPINS)}, None),
    f"all on one slice, waiting {SPINS} turns": ({"GOMP_SPINCOUNT": str(SPINS)}, 1),
    "all on one slice, waiting as PyTorch does by itself": ({}, 1),
}
"""Name -> environment of the process that is timed, and how many slices at once, None for as many as suit it."""
PATIENCE = 20.0
"""A run that takes longer, seconds, is not waited for, and its way not tried again."""
LOAD = "while True: pass"


@dataclass(frozen=True)
class Spent:
    """Seconds from the first slice of a run to its last: on the clock, and of all its threads together."""

    wall: float
    processor: float


def busy_table(image: Path, checkpoint: str, rounds: int = 3) -> str:
    """Seconds of the slices of a run, quiet and with one other process a core, each way in turn, as a table.

    Args:
        image: segmented again and again, its voxels read before.
        checkpoint: ID or folder.
        rounds: how often each way is timed, quiet and busy.
    """
    head = f"{machine()}; {image.name} with {checkpoint}, median of {rounds}"
    with ExitStack() as stack:
        processes = {name: stack.enter_context(_process(*way, image, checkpoint)) for name, way in WAYS.items()}
        quiet = _in_turn(processes, rounds)
        with _load(usable_cpus()):
            busy = _in_turn(processes, rounds)
    lines = [
        f"{head}; busy: {usable_cpus()} other processes that compute",
        "",
        "| threads wait | quiet, s | processor time, s | busy, s | processor time, s | busy / quiet |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in WAYS:
        (wall, processor), (wall_busy, processor_busy) = _medians(quiet[name]), _medians(busy[name])
        more = "more than " if not busy[name] else ""
        ratio = f"{more}{wall_busy / wall:.1f}"
        processor_text = "" if more else f"{processor_busy:.2f}"
        lines.append(f"| {name} | {wall:.2f} | {processor:.2f} | {more}{wall_busy:.2f} | {processor_text} | {ratio} |")
    return "\n".join(lines)


def _medians(spent: list[Spent]) -> tuple[float, float]:
    """Of what was timed; of nothing, the time that it was waited for."""
    times = spent or [Spent(PATIENCE, PATIENCE)]
    return median(one.wall for one in times), median(one.processor for one in times)


def _in_turn(processes: dict[str, subprocess.Popen[str]], rounds: int) -> dict[str, list[Spent]]:
    spent: dict[str, list[Spent]] = {name: [] for name in processes}
    for _round in range(rounds):
        for name, process in processes.items():
            if process.poll() is None and (one := _ask(process)):
                spent[name].append(one)
    return spent


def _ask(process: subprocess.Popen[str]) -> Spent | None:
    """Have one run done; None, and an end to the process, where it takes too long."""
    late = Timer(PATIENCE, process.kill)
    late.start()
    process.stdin.write("run\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    late.cancel()
    if not answer and late.is_alive():
        raise RunError(f"a process that was timed ended: {process.stderr.read().strip()[-300:]}")
    return Spent(**json.loads(answer)) if answer else None


@contextmanager
def _process(
    environment: dict[str, str], batch_size: int | None, image: Path, checkpoint: str
) -> Iterator[subprocess.Popen[str]]:
    """A process that has image and network in memory, and waits to be asked for a run."""
    kept = {name: value for name, value in os.environ.items() if name not in (*POLICIES, "OMP_NUM_THREADS")}
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(image.absolute()), checkpoint, str(batch_size or "")],
        env=kept | paths | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _ask(process)  # the first run loads everything
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _load(count: int) -> Iterator[None]:
    """Keep so many cores busy."""
    processes = [subprocess.Popen([sys.executable, "-c", LOAD]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _serve(image: str, checkpoint: str, batch_size: str) -> None:
    """What the process that is timed does: a run for each line that comes in, timed from first slice to last."""
    from MedSegAttentionLib.files.reading import read_volume
    from MedSegAttentionLib.runner.in_process import RunSettings, run

    volume = read_volume(image)
    times: list[tuple[float, float]] = []

    def note(_told: object) -> None:
        times.append((perf_counter(), process_time()))

    for _line in sys.stdin:
        times.clear()
        settings = RunSettings("cpu", int(batch_size) if batch_size else None, force=True, attention=False)
        run(volume, checkpoint=checkpoint, settings=settings, on_start=note, on_slice=note)
        wall, processor = (end - begin for begin, end in zip(times[0], times[-1], strict=True))
        sys.stdout.write(json.dumps({"wall": wall, "processor": processor}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
