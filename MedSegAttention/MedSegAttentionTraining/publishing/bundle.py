"""Writing a trained network as a checkpoint: a MONAI bundle with our card, its licence and a page to read.

The card is made of three parts: the settings of the training configuration; what the run's own record and the reports
of ``evaluate`` and ``reliability`` say; and a card source, the JSON file with what only a person can know.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from MedSegAttentionLib.checkpoints.card_file import CARD_FILE, read_card
from MedSegAttentionLib.checkpoints.catalogue import WEIGHTS_FILE
from MedSegAttentionLib.checkpoints.quantisation import quantised
from MedSegAttentionLib.checkpoints.weights import FAMILIAR_FILE
from MedSegAttentionLib.data.card import FLIPS, Card
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.networks.known import package_of

from ..fitting.config import TrainingConfig
from .figures import card_figures, fitted_entries
from .model_card import NOT_MEASURED, licence, model_card
from .monai_files import INFERENCE_FILE, as_json, inference, metadata
from .origin import check_configuration, check_data_sets, learned_cases, origin_entries

CARDS = Path(__file__).parents[1] / "cards"
NEEDED = {"title", "description", "modality", "labels", "limits"}
DEFAULTS: dict[str, Any] = {
    "version": "1.0",
    "orientation": "axial",
    "expects": {"minimum": [None, None], "maximum": [None, None]},
    "postprocessing": {},
    "attention": [],
}
BY_A_PERSON = NEEDED | set(DEFAULTS) | {"changelog", "default", "smoothing", "task_title", "data_sets"}
"""Entries of a card source; see Resources/docs/own.md."""
OF_ITS_WEIGHTS = {"weights_sha256", "training_data", "license"}
"""More entries, of a source that is true of one file of weights alone: of a run that kept no record."""


@dataclass(frozen=True)
class Training:
    """What came out of a run.

    Attributes:
        config: its settings.
        weights: its weights file.
        reports: of ``evaluate`` and ``reliability``, on its weights.
        record: its own record, see :func:`~..fitting.record.record_beside`; None without one.
    """

    config: TrainingConfig
    weights: Path
    reports: list[dict[str, Any]]
    record: dict[str, Any] | None = None


def write_bundle(training: Training, folder: Path, source: Path | None = None, bits: int = 16) -> Card:
    """Write the checkpoint of ``training`` to ``folder`` and read it back.

    Args:
        training: what came out.
        folder: of the checkpoint; made when missing.
        source: JSON file with what a person says of the checkpoint; None takes ``cards/<checkpoint>.json``.
        bits: of a stored weight: 16 (float16) or 8 (see :mod:`MedSegAttentionLib.checkpoints.quantisation`).

    Raises:
        InputError: no such file or no JSON, it says what only the run can know, or it is of other weights; other
            classes or settings than the configuration; reports that do not belong to these weights.
    """
    config = training.config
    trained = load_file(training.weights)
    weights = save(quantised(trained) if bits == 8 else {name: _half(trained[name]) for name in sorted(trained)})
    checksum = hashlib.sha256(weights).hexdigest()
    chosen, source = source is not None, source or CARDS / f"{config.checkpoint}.json"
    text = _read_source(source, config.checkpoint, checksum)
    changelog = text.pop("changelog", {text["version"]: "first version"})
    data_sets = text.pop("data_sets", {})
    if training.record:
        check_configuration(config, training.record)
    if "training_data" not in text:
        check_data_sets(source, data_sets, training.record, chosen)
    origin = {} if "training_data" in text else origin_entries(training.record, data_sets)
    card = {
        **_settings(config),
        **text,
        **origin,
        "flips": flips_trained_on(config),
        "metrics": card_figures(training.reports, checksum, learned_cases(training.record)),
        **fitted_entries(training.reports, checksum),
        "weights_sha256": checksum,
    }
    familiar = base64.b64decode(card.get("familiar", {}).pop("file", ""))
    if not card["metrics"]:
        card["limits"] = [NOT_MEASURED, *card["limits"]]
    names = [label["name"] for label in card["labels"]]
    if names != config.classes:
        raise InputError(f"'{source}' lists the classes {names}; the configuration has {config.classes}.")
    for path, content in (
        (WEIGHTS_FILE, weights),
        *([(FAMILIAR_FILE, familiar)] if familiar else []),
        (CARD_FILE, as_json(metadata(card, changelog))),
        (INFERENCE_FILE, as_json(inference())),
        (Path("docs/README.md"), model_card(card).encode()),
        (Path("LICENSE"), licence(card).encode()),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return read_card(folder)


def _read_source(path: Path, checkpoint: str, checksum: str) -> dict[str, Any]:
    """A card source that may be used for the weights of this SHA-256."""
    try:
        text = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"the card source '{path}' cannot be read ({error}); write one for '{checkpoint}' as Resources/docs/own.md "
            "says, and give it with --card."
        ) from error
    bound = "weights_sha256" in text
    if text.pop("weights_sha256", checksum) != checksum:
        raise InputError(
            f"the card source '{path}' is true of other weights alone: it says what those were trained on and where "
            f"they fail. Write one for '{checkpoint}' as Resources/docs/own.md says, and give it with --card."
        )
    allowed = BY_A_PERSON | (OF_ITS_WEIGHTS if bound else set())
    if unknown := sorted(set(text) - allowed):
        raise InputError(
            f"the card source '{path}' says {', '.join(unknown)}, which come from the configuration and from the "
            "record of the run; take them out."
        )
    needed = NEEDED | ({"license"} if "training_data" in text else set())
    if lacking := sorted(needed - set(text)):
        raise InputError(f"the card source '{path}' lacks {', '.join(lacking)}; see Resources/docs/own.md.")
    return {**DEFAULTS, **text}


def _settings(config: TrainingConfig) -> dict[str, Any]:
    """What the card takes from the configuration."""
    package = package_of(config.network["name"])
    return {
        "id": config.checkpoint,
        "task": config.task,
        "network": config.network["name"],
        "network_config": config.network_options,
        **({"network_package": package} if package else {}),
        "in_channels": config.in_channels,
        **({"adjacent": config.adjacent} if config.adjacent else {}),
        "activation": "sigmoid" if config.out_channels == 1 else "softmax",
        "intensity": config.intensity,
        "fit": config.stages[-1].fit,
    }


def flips_trained_on(config: TrainingConfig) -> list[str]:
    """The mirror images among the training pictures, of :data:`~MedSegAttentionLib.data.card.FLIPS`."""
    flip = config.augmentation.get("flip")
    return list(FLIPS if flip == "both" else FLIPS[:1] if flip else ())


def _half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half().contiguous() if tensor.is_floating_point() else tensor.contiguous()
