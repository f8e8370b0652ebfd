"""The Ray cluster that a run uses, and how its workers share it."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.errors import DependencyError, RunError, UsageError

logger = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 100_000_000
"""Ray takes a third of the memory otherwise, and containers often have little of the shared kind."""


@dataclass(frozen=True)
class ClusterChoice:
    """Where workers run, and how many.

    Attributes:
        address: ``local`` for this machine; ``HOST:PORT`` or ``ray://HOST:PORT`` of a cluster; ``auto`` for the one
            that this machine belongs to (or ``RAY_ADDRESS``), and this machine alone where there is none.
        workers: how many; None for as many as fit, of one CPU each, or by GPU.
        gpus: of a worker, such as 1 or 0.5; None for 1 where the cluster has some and the run may use them, else 0.
    """

    address: str = "auto"
    workers: int | None = None
    gpus: float | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"--workers {self.workers} is not possible; expected 1 or more.")
        if self.gpus is not None and not self.gpus >= 0:
            raise UsageError(f"--gpus-per-worker {self.gpus:g} is not possible; expected 0 or more, such as 0.5.")
        if self.gpus and self.gpus > 1 and self.gpus != int(self.gpus):
            raise UsageError(f"--gpus-per-worker {self.gpus:g} is not possible; expected a part of one, or whole ones.")


@dataclass(frozen=True)
class Share:
    """What each worker gets.

    Attributes:
        workers: how many there are.
        cpus: of each; its threads, too.
        gpus: of each.
    """

    workers: int
    cpus: int
    gpus: float


def ray_module() -> Any:
    """Ray; raises :class:`DependencyError` where it is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise DependencyError('--cluster needs Ray, which is not installed: pip install "medsegattention[cohort]"')
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing about a hospital's runs leaves it
    if _has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # else it is not sent to a cluster whose address is given
    import ray

    return ray


def _has_token() -> bool:
    """Whether there is a token of Ray, which a head asks for where it has one; a cluster without ignores it."""
    by_name = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    return any(os.environ.get(name) for name in by_name) or (Path.home() / ".ray" / "auth_token").is_file()


@contextmanager
def connected(choice: ClusterChoice) -> Iterator[Any]:
    """Ray, connected as ``choice`` says; a cluster that was started for it ends with it, others stay.

    Raises:
        RunError: no cluster answers at the address.
        DependencyError: Ray is not installed.
    """
    ray = ray_module()
    if ray.is_initialized():  # by who calls this from Python
        yield ray
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        if choice.address != "local":
            _join(ray, choice.address, quiet)
        if not ray.is_initialized():
            own = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
            ray.init(address="local", num_cpus=max(choice.workers or 1, usable_cpus()), **own, **quiet)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_terminate)  # Ray's own would end the run with another status
        yield ray
    finally:
        ray.shutdown()


def usable_cpus() -> int:
    """CPUs that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _join(ray: Any, address: str, quiet: dict[str, Any]) -> None:
    """Connect to a cluster that is there; where ``auto`` finds none, none is connected."""
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        if address == "auto":
            logger.info("no Ray cluster is running; this machine alone is used")
            return
        raise RunError(
            f"no Ray cluster answers at '{address}' ({' '.join(str(error).split())[:200]}); expected local, auto, "
            "HOST:PORT or ray://HOST:PORT. Start one with: ray start --head. Where one is running, it may ask for a "
            "token: copy ~/.ray/auth_token from its head."
        ) from error


def share_of(nodes: Sequence[dict[str, Any]], choice: ClusterChoice, wants_gpu: bool) -> Share:
    """How the workers share the machines.

    Args:
        nodes: as ``ray.nodes()`` gives them.
        choice: what was asked for.
        wants_gpu: whether the run may use GPUs.

    Raises:
        UsageError: so many workers, or such GPUs, do not fit.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    cpus, gpus = ([int(node.get(name, 0)) for node in alive] for name in ("CPU", "GPU"))
    each = (1.0 if wants_gpu and sum(gpus) else 0.0) if choice.gpus is None else choice.gpus
    fit = sum(_workers_on(cpu, gpu, 1, each) for cpu, gpu in zip(cpus, gpus, strict=True))
    workers = choice.workers or fit
    if not workers or workers > fit:
        raise UsageError(
            f"{choice.workers or 'no'} workers of {each:g} GPU do not fit: the cluster has {sum(cpus)} CPUs and "
            f"{sum(gpus)} GPUs on {len(alive)} machines, enough for {fit}."
        )
    share = max(
        count
        for count in range(1, max(cpus) + 1)
        if sum(_workers_on(cpu, gpu, count, each) for cpu, gpu in zip(cpus, gpus, strict=True)) >= workers
    )
    return Share(workers, share, each)


def _workers_on(cpus: int, gpus: int, cpus_each: int, gpus_each: float) -> int:
    by_gpu = int(gpus / gpus_each + 1e-9) if gpus_each > 1 else gpus * int(1 / gpus_each + 1e-9) if gpus_each else cpus
    return min(cpus // cpus_each, by_gpu)
