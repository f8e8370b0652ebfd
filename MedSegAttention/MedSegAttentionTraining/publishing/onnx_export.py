"""Writing a checkpoint as ONNX, checked and timed against PyTorch by ONNX Runtime.

Height and width of the picture are fixed, the batch is open. The exporter is the tracing one of PyTorch. Dynamic k-NN
attention becomes TopK and ScatterElements; a selective scan becomes a tree of products, with all its states in memory.

Two operators are written out, because ONNX Runtime's own lose digits that matter here. Which neighbours a position
keeps is a step function of tau and of the scores, so small errors change neighbours: its group normalisation is off by
3e-4 (it adds up all values one by one), its sigmoid reaches 1.0000001. Where two scores tie within rounding, either
side may still keep another neighbour: with a checkpoint that ships, one random picture in fifteen then differs by 1e-3
of its largest logit, and two by 5e-4 between two memory layouts of PyTorch itself. A wrong graph is wrong for every
picture: the median over pictures decides.

``segment`` does not run ONNX: on one thread of a server CPU KLO-Net is 0.94 to 1.08 times as fast in ONNX Runtime as in
PyTorch (processor time), whose neighbours here are selected faster than by TopK. U-Net is 1.2 to 1.5 times as fast, the
SETR family 1.2 to 1.6, networks with a scan half as fast.
"""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from MedSegAttentionLib.checkpoints.card_file import CARD_FILE, CARD_KEY
from MedSegAttentionLib.checkpoints.catalogue import find_checkpoint
from MedSegAttentionLib.checkpoints.loading import load_checkpoint
from MedSegAttentionLib.data.errors import DependencyError, InputError, MedSegAttentionError, UsageError
from MedSegAttentionLib.inference.prediction import folded
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.networks.layers.dynamic_knn_attention import DynamicKNNAttention

from ..measuring.timing import seconds_in_turn

OPSET = 18
TOLERANCE = 1e-4
PICTURES, BATCHES = 5, (1, 2)
PACKAGES = ("onnx", "onnxruntime")


@dataclass(frozen=True)
class OnnxReport:
    """What came out of an export.

    Attributes:
        path: the file.
        outputs: names of its outputs, ``"logits"`` first.
        difference: median over random pictures of the largest absolute difference to PyTorch of any output, over the
            larger of 1 and that output's largest value.
        largest_difference: that of the picture with the largest.
        torch_seconds: median time of a picture in PyTorch, as the extension runs it on a CPU.
        onnxruntime_seconds: the same in ONNX Runtime, taken in turn with PyTorch on as many CPU threads.
    """

    path: Path
    outputs: tuple[str, ...]
    difference: float
    largest_difference: float
    torch_seconds: float
    onnxruntime_seconds: float


def export_checkpoint(checkpoint: str, path: Path, attention: bool | tuple[str, ...] = True) -> OnnxReport:
    """Write a checkpoint as ONNX at the size of its card; the card is in the file's metadata ``medsegattention``.

    Args:
        checkpoint: ID or folder.
        path: see :func:`export_onnx`, which also says what is raised.
        attention: True for all maps of the card, False for none, or the names of some.
    """
    if path.suffix != ".onnx":
        raise UsageError(f"'{path}' is no name for an ONNX file; expected one that ends in .onnx.")
    folder = find_checkpoint(checkpoint)
    loaded = load_checkpoint(folder)
    chosen = RunSettings(attention=attention).maps(loaded.card)
    maps = [item.name for item in chosen if item in loaded.card.attention or attention is not True]
    card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))[CARD_KEY]
    side = loaded.card.fit["size"]
    return export_onnx(loaded.network, path, size=(side, side), maps=maps, metadata={CARD_KEY: json.dumps(card)})


def export_onnx(
    network: nn.Module,
    path: Path,
    *,
    size: tuple[int, int] = (256, 256),
    maps: Sequence[str] = (),
    metadata: dict[str, str] | None = None,
    rounds: int = 5,
) -> OnnxReport:
    """Write ``network`` to ``path`` and compare it with PyTorch, one picture at a time and two.

    Args:
        network: of this package.
        path: the ``.onnx`` file; written only once it has passed the comparison.
        size: (H, W) of the pictures it will take; its input is ``image``, ``[batch, in_channels, H, W]`` float32.
        maps: attention maps to write as further outputs, named as in ``forward_with_attention``.
        metadata: texts to keep in the file.
        rounds: of the timing.

    Raises:
        InputError: no such map.
        DependencyError: ``onnx`` or ``onnxruntime`` is missing.
        MedSegAttentionError: ONNX Runtime gives another result; nothing is written.
    """
    onnx, runtime = (_package(name) for name in PACKAGES)
    network = folded(network.cpu())
    pictures = torch.rand(PICTURES, network.in_channels, *size, generator=torch.Generator().manual_seed(0))
    model, names = _Outputs(network, maps), ("logits", *maps)
    _check_maps(network, pictures[:1], maps)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        trial = Path(folder) / "trial.onnx"
        _trace(_Outputs(_written_out(network), maps), pictures[:1], trial, names)
        _finish(onnx, trial, metadata or {})
        session = _session(runtime, trial)
        differences = _differences(model, session, pictures)
        if not median(differences) <= TOLERANCE:
            raise MedSegAttentionError(
                f"ONNX Runtime differs from PyTorch by {median(differences):.1e}; expected at most {TOLERANCE:.0e}. "
                f"'{path}' was not written; run this network with PyTorch."
            )
        times = _times(model, session, pictures[:1], rounds)
        trial.replace(path)
    return OnnxReport(path, names, median(differences), max(differences), *map(median, times))


class _Outputs(nn.Module):
    """Logits and some attention maps of a network as a tuple."""

    def __init__(self, network: nn.Module, maps: Sequence[str]) -> None:
        super().__init__()
        self.network, self.maps = network, tuple(maps)
        self.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if not self.maps:
            return (self.network(x),)
        output = self.network.forward_with_attention(x)
        return (output.logits, *(output.attention[name] for name in self.maps))


class _GroupNorm(nn.Module):
    """A group normalisation by sums of sums, which keep their digits in any runtime."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.weight, self.bias = (value.detach()[:, None, None] for value in (norm.weight, norm.bias))

    def forward(self, x: Tensor) -> Tensor:
        channels, height, width = map(int, x.shape[1:])
        groups = x.reshape(-1, self.groups, channels // self.groups, height * width)
        centred = groups - _mean(groups)
        normed = centred / torch.sqrt(_mean(centred * centred) + self.eps)
        return normed.reshape(-1, channels, height, width) * self.weight + self.bias


def _mean(groups: Tensor) -> Tensor:
    """Of each group of ``[B, groups, C / groups, N]``."""
    return groups.mean(dim=3, keepdim=True).mean(dim=2, keepdim=True)


def _tau(gate: nn.Module, normed: Tensor) -> Tensor:
    """``sigmoid``, written out: at most 1."""
    return 1 / (1 + torch.exp(-gate(normed)))


def _written_out(network: nn.Module) -> nn.Module:
    """A copy with the operators that ONNX Runtime computes too roughly written out; see the module."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, _GroupNorm(child))
        if isinstance(module, DynamicKNNAttention):
            module.predict_tau = partial(_tau, module.gate)
    return network


def _package(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise DependencyError(
            f"writing ONNX needs the packages {' and '.join(PACKAGES)}; '{name}' cannot be imported ({error}). "
            f"Install them with: pip install {' '.join(PACKAGES)}"
        ) from error


@torch.no_grad()
def _check_maps(network: nn.Module, picture: Tensor, maps: Sequence[str]) -> None:
    known = network.forward_with_attention(picture).attention
    if unknown := [name for name in maps if name not in known]:
        raise InputError(f"attention map '{unknown[0]}' is not known; expected some of {', '.join(known) or 'none'}.")


@torch.no_grad()
def _trace(model: nn.Module, picture: Tensor, path: Path, names: Sequence[str]) -> None:
    with warnings.catch_warnings():
        # The tracer warns of sizes that become constants, which is what a fixed picture size means.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (picture,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(names),
            dynamic_axes={name: {0: "batch"} for name in ("image", *names)},
        )


def _finish(onnx: ModuleType, path: Path, metadata: dict[str, str]) -> None:
    """Check the file and add ``metadata``."""
    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, str(path))


def _session(runtime: ModuleType, path: Path) -> object:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@torch.no_grad()
def _differences(model: nn.Module, session: object, pictures: Tensor) -> list[float]:
    """Largest difference of any output for each picture, in batches of each size; infinite for a wrong shape."""
    wanted = [output.numpy() for output in model(pictures)]
    worst = np.zeros(len(pictures))
    for size in BATCHES:
        batches = [session.run(None, {"image": batch.numpy()}) for batch in pictures.split(size)]
        for expected, parts in zip(wanted, zip(*batches, strict=True), strict=True):
            found = np.concatenate(parts)
            if found.shape != expected.shape:
                return [float("inf")]
            largest = np.abs(found - expected).reshape(len(pictures), -1).max(axis=1)
            worst = np.maximum(worst, largest / max(1.0, np.abs(expected).max()))
    return worst.tolist()


@torch.inference_mode()
def _times(model: nn.Module, session: object, picture: Tensor, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of PyTorch, in the memory layout the extension uses, and of ONNX Runtime."""
    model, values = model.to(memory_format=torch.channels_last), {"image": picture.numpy()}
    last = picture.to(memory_format=torch.channels_last)
    times = seconds_in_turn({"torch": lambda: model(last), "onnx": lambda: session.run(None, values)}, rounds)
    return times["torch"], times["onnx"]
