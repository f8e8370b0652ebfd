"""A copy of a checkpoint for programs that know MONAI's bundles and no safetensors: MONAI Label and MONAI Deploy.

They load ``models/model.ts``. The network is traced with the size of the card; which sizes it takes beside is tried
before anything is written. It gives the logits of the network but for rounding: PyTorch selects the neighbours of
k-NN attention by another form while it traces.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from monai.data import save_net_with_metadata
from torch import Tensor, nn

from MedSegAttentionLib.checkpoints.card_file import CARD_FILE, CARD_KEY
from MedSegAttentionLib.checkpoints.catalogue import find_checkpoint
from MedSegAttentionLib.checkpoints.loading import Checkpoint, load_checkpoint
from MedSegAttentionLib.data.errors import MedSegAttentionError, UsageError
from MedSegAttentionLib.inference.prediction import folded

from .monai_files import INFERENCE_FILE, as_json, inference, write_monai_files

SCRIPT_FILE = Path("models") / "model.ts"
TOLERANCE = 1e-4
"""Difference of logits, over the larger of 1 and the largest logit."""


@dataclass(frozen=True)
class ScriptReport:
    """What was written.

    Attributes:
        path: of the TorchScript file.
        difference: median over random pictures of the largest difference of logits to PyTorch, over the larger of 1
            and the largest logit.
    """

    path: Path
    difference: float


def export_monai_label(checkpoint: str, output: Path) -> ScriptReport:
    """Write a copy of a checkpoint with ``models/model.ts`` beside its weights.

    Args:
        checkpoint: ID or folder, which is left as it is.
        output: folder of the copy, ``APP/model/NAME`` of MONAI Label.

    Raises:
        UsageError: ``output`` is the checkpoint's own folder.
        MedSegAttentionError: TorchScript gives other logits, or takes no other size; nothing is written.
    """
    folder = find_checkpoint(checkpoint)
    if output.resolve() == folder.resolve():
        raise UsageError(f"'{output}' is the checkpoint itself; expected another folder, for a copy of it.")
    loaded = load_checkpoint(folder)
    with tempfile.TemporaryDirectory() as place:
        trial = Path(place) / SCRIPT_FILE.name
        network = _Parts(folded(loaded.network))
        _trace(network, loaded).save(str(trial))
        scripted = torch.jit.load(str(trial), map_location="cpu")
        difference = _difference(network.network, scripted, loaded)
        if not difference <= TOLERANCE:
            raise MedSegAttentionError(
                f"TorchScript differs from PyTorch by {difference:.1e}; expected at most {TOLERANCE:.0e}. '{output}' "
                "was not written; use this checkpoint with PyTorch."
            )
    write_monai_files(folder, output)
    told = json.loads((output / CARD_FILE).read_text(encoding="utf-8"))
    # MONAI Label takes these for the values of the label map that it gets, whatever the channels of the logits.
    classes = ["background", *(label.name for label in loaded.card.labels)]
    told["network_data_format"]["outputs"]["pred"]["channel_def"] = {str(n): name for n, name in enumerate(classes)}
    told["supported_apps"] = {"monai-label": ""}
    (output / CARD_FILE).write_bytes(as_json(told))
    save_net_with_metadata(
        scripted,
        str(output / SCRIPT_FILE),
        include_config_vals=False,
        append_timestamp=False,
        meta_values=told,
        more_extra_files={INFERENCE_FILE.name: as_json(inference(told[CARD_KEY]))},
    )
    return ScriptReport(output / SCRIPT_FILE, difference)


class _Parts(nn.Module):
    """What of a network is traced: its logits, and what card and engine ask it for beside."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("stride", torch.tensor(network.stride))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def with_presence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        output = self.network.forward_with_attention(x)
        return output.logits, output.presence

    def describe(self, x: Tensor) -> Tensor:
        return self.network.describe(x)


@torch.no_grad()
def _trace(parts: _Parts, checkpoint: Checkpoint) -> torch.jit.ScriptModule:
    side = checkpoint.card.fit["size"]
    picture = torch.rand(1, checkpoint.card.network_channels, side, side)
    methods = {"forward": picture}
    if checkpoint.network.forward_with_attention(picture).presence is not None:
        methods["with_presence"] = picture
    if checkpoint.familiar:
        methods["describe"] = picture
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes that may have become constants, which is tried afterwards
        return torch.jit.trace_module(parts, methods, check_trace=False)


@torch.no_grad()
def _difference(network: nn.Module, scripted: torch.jit.ScriptModule, checkpoint: Checkpoint) -> float:
    """Median over pictures of several sizes: that of the card, two at once, and larger ones where canvases grow.

    Not the largest: where two neighbours tie within rounding, either may be kept, and a single picture differs more.
    """
    card, stride = checkpoint.card, checkpoint.network.stride
    side = card.fit["size"]
    sizes = [(1, side, side), (1, side, side), (2, side, side)]
    sizes += [(1, side + stride, side), (1, side, side + 3 * stride)] if card.fit["fit"] == "spacing" else []
    random, differences = torch.Generator().manual_seed(0), []
    for batch, rows, columns in sizes:
        picture = torch.rand(batch, card.network_channels, rows, columns, generator=random)
        expected = network(picture)
        try:
            found = scripted(picture)
        except RuntimeError:  # a size that became a constant
            return float("inf")
        if found.shape != expected.shape:
            return float("inf")
        differences.append(float((found - expected).abs().max() / max(1.0, float(expected.abs().max()))))
    return median(differences)
