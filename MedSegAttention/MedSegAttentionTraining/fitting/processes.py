"""Training in several processes: those that ``torchrun`` started, or this one alone.

The batch of a configuration is divided among the processes, so steps and learning rate stay those of one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import WeightedRandomSampler

from MedSegAttentionLib.data.errors import UsageError

PATIENCE = timedelta(hours=2)
"""How long the others wait for the first process, which alone measures the selection part."""


@dataclass(frozen=True)
class Processes:
    """This process among those of a run.

    Attributes:
        rank: number of this process, from 0; the first one writes files and logs.
        count: number of processes.
        joined: whether they exchange gradients (``torchrun`` started them, if only one).
    """

    rank: int = 0
    count: int = 1
    joined: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def share_of(self, batch_size: int) -> int:
        """Slices of a batch that each process takes; raises :class:`UsageError` when they cannot be divided."""
        if batch_size % self.count:
            raise UsageError(
                f"a batch of {batch_size} cannot be divided among {self.count} processes; expected a batch_size in the "
                "configuration, or a number of processes, that fits."
            )
        return batch_size // self.count

    def prepared(self, network: nn.Module, device: torch.device) -> nn.Module:
        """On CUDA, batch normalisation over the whole batch; on a CPU, PyTorch has it for each process's own share."""
        if self.joined and device.type == "cuda":
            return nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return network

    def averaging(self, module: nn.Module) -> nn.Module:
        """``module`` whose gradients, and the buffers it starts a step with, are the same in all processes."""
        if not self.joined:
            return module
        return DistributedDataParallel(module, find_unused_parameters=True)

    def mean(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Means of ``values`` over the processes."""
        if not self.joined:
            return list(values)
        total = torch.tensor(values, dtype=torch.float32, device=device)
        distributed.all_reduce(total)
        return (total / self.count).tolist()

    def wait(self) -> None:
        """Until all have come here: the first process may still be writing what the others read next."""
        if self.joined:
            distributed.barrier()


class SharedSampler(WeightedRandomSampler):
    """Every process draws the same slices with the same seed and takes its own of each batch; only whole batches."""

    def __init__(self, weights: Sequence[float], number: int, batch_size: int, processes: Processes) -> None:
        super().__init__(weights, number)
        self.whole, self.processes = number - number % batch_size, processes

    def __iter__(self) -> Iterator[int]:
        return iter(list(super().__iter__())[self.processes.rank : self.whole : self.processes.count])

    def __len__(self) -> int:
        return self.whole // self.processes.count


@contextmanager
def training_processes(device: str) -> Iterator[tuple[Processes, torch.device]]:
    """Join the processes that ``torchrun`` started; yields this one and its device.

    Args:
        device: ``cpu`` (gloo), ``cuda`` (nccl, one GPU for each process of a machine) or ``mps`` (one process).

    Raises:
        UsageError: the device cannot be shared, or there are fewer GPUs than processes.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        available = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
        if device in available and not available[device]():
            raise UsageError(f"device '{device}' is not there: PyTorch sees none. Expected cpu, or a machine with one.")
        yield Processes(), torch.device(device)
        return
    if device == "mps":
        raise UsageError("device 'mps' trains in one process; expected cpu or cuda with torchrun.")
    own = torch.device(device)
    if device == "cuda":
        own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        if own.index >= torch.cuda.device_count():
            raise UsageError(
                f"this machine has {torch.cuda.device_count()} GPUs; expected one for each process of torchrun. Give "
                "--nproc_per_node that number."
            )
        torch.cuda.set_device(own)
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), joined=True), own
    finally:
        distributed.destroy_process_group()
