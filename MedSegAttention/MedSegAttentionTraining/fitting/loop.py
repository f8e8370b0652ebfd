"""The training loop: resumable, seeded, one checkpoint an epoch, selection on a part of the training cases."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from monai.data import set_track_meta
from monai.utils import set_determinism
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.networks import build_network

from ..data.augmentation import Augmentation
from ..data.cases import DataFolder
from ..data.slices import fitted_slices
from .averaged import ramped_average
from .config import TrainingConfig
from .curves import add_to_log, draw_learning_curve
from .objective import Objective
from .parts import balanced, parts_of, slice_weights
from .pretrained import load_pretrained, origin_of_weights
from .processes import Processes, SharedSampler
from .record import RunRecord
from .resuming import check_goes_on
from .selection import selection_dice
from .starting import Start

logger = logging.getLogger(__name__)
REPORT = 20
"""Steps between two looks at the loss."""


@dataclass
class Options:
    """How a run is carried out, apart from what it trains.

    Attributes:
        device: ``cpu``, ``mps`` or ``cuda``, also with a number.
        threads: CPU threads; None leaves them as they are.
        bfloat16: bfloat16 autocast.
        compiled: network and loss by ``torch.compile``.
        max_steps: stop after that many, for a trial.
        processes: this process among those of the run.
        go_on_anyway: go on in a folder whose run began with another configuration or other data.
    """

    device: str = "cpu"
    threads: int | None = None
    bfloat16: bool = False
    compiled: bool = False
    max_steps: int | None = None
    processes: Processes = field(default_factory=Processes)
    go_on_anyway: bool = False


class Trainer:
    """Trains one configuration in one output folder.

    Writes ``last.pt`` (everything needed to go on), ``best.safetensors`` (averaged weights of the epoch with the best
    Dice on the selection part, at the last stage's resolution), ``log.csv`` and ``learning_curve.png``. Of several
    processes all read ``last.pt``, and the first one writes.

    Args:
        config: what to train.
        data: the training cases.
        output: folder of the run; a run that stopped there goes on, if it is the same (see :mod:`.resuming`).
        options: how to carry it out.
        build: makes the network, called like :func:`~MedSegAttentionLib.networks.build_network`.
        start: weights of a checkpoint to start from, instead of the configuration's ``pretrained``; a run that goes on
            has its own.
    """

    def __init__(
        self,
        config: TrainingConfig,
        data: list[DataFolder],
        output: Path,
        options: Options,
        build: Callable[..., nn.Module] = build_network,
        start: Start | None = None,
    ) -> None:
        set_determinism(config.seed)
        set_track_meta(False)
        if options.device.startswith("cuda"):
            torch.set_float32_matmul_precision("high")  # TF32
        if options.threads:
            torch.set_num_threads(options.threads)
        self.config, self.output, self.options = config, output, options
        self.processes = processes = options.processes
        self.share = processes.share_of(config.batch_size)
        self.parts = parts_of(data, config)
        for folder in data:
            folder.check_classes(config.classes)
            folder.check_values()
        self.device = torch.device(options.device)
        network = build(
            config.network["name"],
            in_channels=config.network_channels,
            out_channels=config.out_channels,
            **config.network_options,
        )
        stride = getattr(network, "stride", 1)  # MONAI's networks do not say theirs
        if uneven := [stage.fit["size"] for stage in config.stages if stage.fit["size"] % stride]:
            raise InputError(f"stages of {uneven} pixels: '{config.network['name']}' needs multiples of {stride}.")
        if start:
            if other := start.load_into(network):
                logger.warning("not taken from '%s', whose shape is another: %s", start.card.id, ", ".join(other))
        elif config.pretrained:
            low, high = (0.0, 1.0) if config.intensity["method"] == "window" else (-1.0, 1.0)
            load_pretrained(network, config.pretrained, low, high)
        self.network = processes.prepared(network, self.device).to(self.device, memory_format=torch.channels_last)
        self.averaged = AveragedModel(self.network, multi_avg_fn=ramped_average(config.ema), use_buffers=True)
        self.augmentation = Augmentation(config.augmentation, coloured=config.in_channels == 3)
        self.optimizer = torch.optim.AdamW(
            self._groups(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=self.device.type == "cuda" or None,
        )
        self.epoch, self.step, self.best, self.stage = 0, 0, -1.0, -1
        output.mkdir(parents=True, exist_ok=True)
        if (output / "last.pt").is_file():
            self._resume()
        if processes.is_first:
            origin = start.origin if start else origin_of_weights(config.pretrained)
            self.record = RunRecord(output, config, self.parts, self.epoch, origin)
        objective = Objective(self.network, config, options.bfloat16)
        self.objective = processes.averaging(torch.compile(objective) if options.compiled else objective)

    def run(self) -> Path:
        """Train to the end; returns the file of the best weights."""
        while self.epoch < self.config.epochs and not self._out_of_steps():
            stage = self.config.stage_at(self.epoch)
            if stage != self.stage:
                self._enter_stage(stage)
            self._train_epoch()
        self.processes.wait()
        return self.output / "best.safetensors"

    def _groups(self) -> list[dict]:
        """Parameters of the encoder, with a learning rate of their own, and the others."""
        encoder = [value for name, value in self.network.named_parameters() if name.startswith("encoder.")]
        if self.config.frozen_epochs and not encoder:
            raise InputError(
                f"'{self.config.network['name']}' has no part called encoder that could stay as it is; expected "
                f"frozen_epochs 0, got {self.config.frozen_epochs}."
            )
        others = [value for name, value in self.network.named_parameters() if not name.startswith("encoder.")]
        parts = ((encoder, self.config.encoder_rate), (others, 1.0))
        return [{"params": values, "share": share} for values, share in parts if values]

    def _out_of_steps(self) -> bool:
        return self.options.max_steps is not None and self.step >= self.options.max_steps

    def _enter_stage(self, stage: int) -> None:
        """Cut and fit the slices for the resolution of ``stage``; a new stage selects its best epoch anew."""
        if self.stage != -1:
            self.best = -1.0
        self.stage = stage
        config, fit = self.config, self.config.stages[stage].fit
        images, labels, weights, self.selection = [], [], [], []
        quiet = not self.processes.is_first
        for training, selection in self.parts:
            read = partial(
                fitted_slices,
                classes=config.classes,
                intensity=config.intensity,
                fit=fit,
                in_channels=config.in_channels,
                adjacent=config.adjacent,
            )
            cases = tqdm(training.cases, desc=f"reading {training.path.name}", mininterval=5, disable=quiet)
            slices = [read(training, case) for case in cases]
            images += [part.half() for part, _ in slices]
            labels += [part for _, part in slices]
            weights.append(torch.cat([slice_weights(part, config.background_weight) for _, part in slices]))
            self.selection += [read(selection, case) for case in selection.cases if self.processes.is_first]
        self.images, self.labels = torch.cat(images).to(self.device), torch.cat(labels).to(self.device)
        self.weights = torch.cat(balanced(weights, config.balance)).tolist()

    def _train_epoch(self) -> None:
        config = self.config
        # Seeding by epoch makes a resumed run draw what an unbroken one would have drawn.
        set_determinism(config.seed + 1000 * (self.epoch + 1))
        generator = torch.Generator(self.device)
        generator.manual_seed(config.seed + 1000 * (self.epoch + 1) + self.processes.rank)
        drawn = list(SharedSampler(self.weights, config.epoch_slices, config.batch_size, self.processes))
        self.network.train()
        if self._is_frozen():
            self.network.encoder.eval()
        losses, taus, quiet = [], [], not self.processes.is_first
        batches = torch.tensor(drawn, device=self.device).split(self.share)
        progress = tqdm(batches, desc=f"epoch {self.epoch + 1}/{config.epochs}", mininterval=5, disable=quiet)
        for batch in progress:
            loss, tau = self._step(*self.augmentation(self.images[batch].float(), self.labels[batch], generator))
            losses.append(loss)
            taus.append(tau)
            if len(losses) % REPORT == 0:
                progress.set_postfix(loss=f"{self._finite(losses[-REPORT:]):.3f}")
            if self._out_of_steps():
                break
        loss, tau = self.processes.mean((self._finite(losses), torch.stack(taus).mean().item()), self.device)
        self.epoch += 1
        if self.processes.is_first:
            dice = selection_dice(self.averaged, self.selection, self.device, config.classes)
            self._save(loss, dice, tau, progress.format_dict["elapsed"])

    def _finite(self, losses: list[torch.Tensor]) -> float:
        """Mean of ``losses``; a GPU is only waited for here."""
        mean = torch.stack(losses).mean().item()
        if not math.isfinite(mean):
            raise FloatingPointError(f"the loss became {mean} by step {self.step}; lower the learning rate")
        return mean

    def _step(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        loss, tau = self.objective(images.contiguous(memory_format=torch.channels_last), labels)
        self.optimizer.zero_grad()
        loss.backward()
        if self._is_frozen():  # without a gradient the optimizer leaves a weight alone, its decay too
            for value in self.network.encoder.parameters():
                value.grad = None
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self.averaged.update_parameters(self.network)
        self.step += 1
        return loss.detach(), tau

    def _is_frozen(self) -> bool:
        """Whether the encoder stays as it is in this epoch."""
        return self.epoch < self.config.frozen_epochs

    def _learning_rate(self) -> float:
        """Linear warm-up, then a cosine to 1 % over all stages."""
        config = self.config
        total = config.epochs * (config.epoch_slices // config.batch_size)
        warm = min(1.0, (self.step + 1) / max(1, config.warmup_steps))
        return config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / total))))

    def _save(self, loss: float, dice: float, tau: float, seconds: float) -> None:
        if dice > self.best:
            self.best = dice
            # Copies: a network that has a weight under two names (MONAI's DynUNet) could not be saved otherwise.
            weights = {
                name: value.clone(memory_format=torch.contiguous_format)
                for name, value in self.averaged.module.state_dict().items()
            }
            save_file(weights, self.output / "best.safetensors")
            self.record.chosen(self.epoch, self.output / "best.safetensors")
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "best": self.best,
            "stage": self.stage,
            "config": repr(self.config),
        }
        torch.save(state, self.output / "last.tmp")
        (self.output / "last.tmp").replace(self.output / "last.pt")
        self.record.finished(self.epoch)
        size = self.config.stages[self.stage].fit["size"]
        row = (self.epoch, self.stage, size, self._learning_rate(), loss, dice, self.best, tau, seconds)
        add_to_log(self.output / "log.csv", row)
        draw_learning_curve(self.output / "log.csv", self.output / "learning_curve.png")
        logger.info("epoch %d: loss %.4f, selection Dice %.4f (best %.4f)", self.epoch, loss, dice, self.best)

    def _resume(self) -> None:
        state = torch.load(self.output / "last.pt", map_location=self.device, weights_only=True)
        check_goes_on(self.output, state, self.config, self.parts, self.options.go_on_anyway)
        try:
            self.network.load_state_dict(state["network"])
            self.averaged.load_state_dict(state["averaged"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"'{self.output}' holds a run of another network than '{self.config.network['name']}' of this "
                "configuration; give another --output, or the configuration it began with."
            ) from error
        self.epoch, self.step, self.best = state["epoch"], state["step"], state["best"]
        if self.config.stage_at(self.epoch) != state["stage"]:
            self.best = -1.0
        if self.processes.is_first:
            logger.info("going on after epoch %d", self.epoch)
