"""What ``torchrun`` starts in ``test_processes.py``: the train command, with what each process did kept.

Arguments: configuration, data folder, output folder. Trains ``whole`` without a break, and ``broken`` with one.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import torch

from MedSegAttentionLib.__main__ import main
from MedSegAttentionTraining.fitting import loop, processes

config, data, output = sys.argv[1:]


class KeptTrainer(loop.Trainer):
    """Leaves the network of this process, and the mean of each batch it saw, beside the run."""

    def run(self) -> Path:
        self.seen: list[float] = []
        best = super().run()
        kept = {"network": self.network.state_dict(), "seen": self.seen}
        torch.save(kept, self.output.with_suffix(f".rank{self.processes.rank}.pt"))
        return best

    def _step(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
        self.seen.append(images.mean().item())
        return super()._step(images, labels)


loop.Trainer = KeptTrainer
with processes.training_processes("cpu") as joined:
    processes.training_processes = lambda _device: nullcontext(joined)  # a process can join but once
    for name, steps in (("whole", []), ("broken", ["--max-steps", "2"]), ("broken", [])):
        run = ["train", config, "--data", data, "--output", str(Path(output) / name), "--threads", "1", *steps]
        if status := main(run):
            sys.exit(status)
