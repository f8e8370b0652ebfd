"""What a cluster costs and gives: seconds of each part for a case, and cases a minute against one process."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

from MedSegAttentionLib.cohort.cluster import ClusterChoice, connected, share_of, usable_cpus
from MedSegAttentionLib.cohort.pool import Failure, Pool
from MedSegAttentionLib.cohort.run import Done, Job, start_worker
from MedSegAttentionLib.data.errors import RunError
from MedSegAttentionLib.files.cases import ImageSource
from MedSegAttentionLib.files.names import stem_of
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.runner.claims import Claims
from MedSegAttentionLib.runner.records import remove_unfinished
from MedSegAttentionLib.runner.summary import rebuild_summary

from .timing import peak_since


def start_nothing(_threads: int) -> Callable[[Any], Done]:
    """A worker that does nothing with an item and says so."""
    return lambda _item: Done("segmented", None, 1, 0.0)


def machine() -> str:
    """The machine, and how busy it is."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{platform.system()} {platform.machine()}, {usable_cpus()} CPUs{load}"


def parts_table(cases: int = 10_000, workers: int | None = None) -> str:
    """What every case costs besides reading, network and writing, as a table.

    Args:
        cases: how many empty ones are handed out.
        workers: of the cluster on this machine; None for one a CPU.
    """
    sources = [ImageSource(Path(f"/cohort/patient {number}/series.nrrd"), f"case {number}") for number in range(cases)]
    with connected(ClusterChoice("local", workers)) as ray:
        share = share_of(ray.nodes(), ClusterChoice("local", workers), False)
        arrivals, rise = _arrivals(Pool(ray, start_nothing, share).results(sources))
    lines = [
        f"{machine()}; {cases} empty cases, {share.workers} workers",
        "",
        "| part | ms a case |",
        "| --- | --- |",
        f"| handed out and answered (Ray), all workers together | {_each(arrivals, share.workers) * 1e3:.2f} |",
        *(f"| {name} | {seconds * 1e3:.2f} |" for name, seconds in _on_disk(min(cases, 1000)).items()),
        "",
        f"memory of the driver rose by {rise:.0f} MB from the first answer to the last",
    ]
    return "\n".join(lines)


def _arrivals(results: Iterable[Any]) -> tuple[list[float], float]:
    """When each result came, and by how many MB the memory of this process rose after the first."""
    arrivals: list[float] = []
    for result in results:
        answer = result[1] if isinstance(result, tuple) else result
        if isinstance(answer, Failure):
            raise answer.error
        arrivals.append(perf_counter())
        if len(arrivals) == 1:
            rise = peak_since("cpu")
    return arrivals, rise()


def _each(arrivals: Sequence[float], workers: int) -> float:
    """Seconds between two results, once every worker has given its first: without the start."""
    if len(arrivals) <= workers:
        raise RunError(f"{len(arrivals)} cases are too few to time {workers} workers; expected more.")
    return (arrivals[-1] - arrivals[workers - 1]) / (len(arrivals) - workers)


def _on_disk(count: int) -> dict[str, float]:
    """Seconds a case for its claim and for its row in the table, on the disk of temporary files."""
    with tempfile.TemporaryDirectory() as name:
        folder, claims = Path(name), Claims(Path(name))
        begin = perf_counter()
        for number in range(count):
            claim = claims.take(f"case {number}")
            remove_unfinished(folder, f"case {number}")
            claim.release()
        middle = perf_counter()
        for number in range(count):
            segments = [{"name": f"organ {organ}", "value": organ, "voxels": 1, "ml": 1.0} for organ in range(8)]
            record = {"case": f"case {number}", "input_sha256": "", "files": [], "segments": segments}
            (folder / f"case {number}.json").write_text(json.dumps(record), encoding="utf-8")
        before = perf_counter()
        rebuild_summary(folder)
        return {
            "claimed and released": (middle - begin) / count,
            "a row of the table, each time it is written": (perf_counter() - before) / count,
        }


def speed_table(image: Path, checkpoint: str, workers: int = 2, repeats: int = 8) -> str:
    """Seconds a case of one process with one thread and with all, a plain pool of processes and a cluster, as a table.

    Args:
        image: segmented again and again, under other names.
        checkpoint: ID or folder.
        workers: of pool and cluster, one thread each.
        repeats: cases of each way; more than ``workers``.
    """
    image = image.absolute()
    sources = [ImageSource(image, f"{stem_of(image)} {number}") for number in range(repeats)]
    seconds: dict[str, float] = {}
    busy = machine()
    with tempfile.TemporaryDirectory() as folder:

        def job(name: str) -> Job:
            return Job(Path(folder) / name, checkpoint=checkpoint, settings=RunSettings("cpu"))

        for threads in sorted({1, usable_cpus()}):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
                name = f"one process, {threads} thread{'s' if threads > 1 else ''}"
                seconds[name] = _pooled(executor, job(name), sources, threads, 1)
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as executor:
            name = f"plain pool, {workers} processes of 1 thread"
            seconds[name] = _pooled(executor, job("pool"), sources, 1, workers)
        choice = ClusterChoice("local", workers)
        with connected(choice) as ray:
            share = share_of(ray.nodes(), choice, False)
            pool = Pool(ray, partial(_start_checked, job("ray"), 1), share)
            seconds[f"Ray, {workers} workers of 1 thread"] = _each(_arrivals(pool.results(sources))[0], workers)
    first = next(iter(seconds.values()))
    rows = [f"| {name} | {value:.2f} | {first / value:.2f} |" for name, value in seconds.items()]
    head = [f"{busy}; {repeats} times {image.name}, {checkpoint}", ""]
    head += ["| | s a case | times as fast |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows])


def _pooled(
    executor: ProcessPoolExecutor, job: Job, sources: Sequence[ImageSource], threads: int, workers: int
) -> float:
    futures = [executor.submit(_do, job, threads, source) for source in sources]
    return _each(_arrivals(future.result() for future in as_completed(futures))[0], workers)


@lru_cache(maxsize=1)
def _work(job: Job, threads: int) -> Callable[[ImageSource], Done]:
    return _start_checked(job, threads, threads)


def _do(job: Job, threads: int, source: ImageSource) -> Done:
    return _work(job, threads)(source)


def _start_checked(job: Job, threads: int, _share: int) -> Callable[[ImageSource], Done]:
    """As :func:`~MedSegAttentionLib.cohort.run.start_worker`; a case that fails ends the benchmark."""
    work = start_worker(job, threads)

    def checked(source: ImageSource) -> Done:
        done = work(source)
        if done.error:
            raise done.error
        return done

    return checked
