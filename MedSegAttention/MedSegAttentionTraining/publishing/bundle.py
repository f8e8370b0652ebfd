"""Writing a trained network as a checkpoint: a MONAI bundle with our card, its licence and a page to read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from safetensors.torch import load_file, save

from MedSegAttentionLib.checkpoints.card_file import CARD_FILE, CARD_KEY, read_card
from MedSegAttentionLib.checkpoints.catalogue import WEIGHTS_FILE
from MedSegAttentionLib.checkpoints.quantisation import quantised
from MedSegAttentionLib.data.card import FLIPS, Card
from MedSegAttentionLib.data.errors import InputError

from ..fitting.config import TrainingConfig
from .results import data_name, report_name

CARDS = Path(__file__).parents[1] / "cards"
RESEARCH_ONLY = "For research only. Not a medical device: not for diagnosis, treatment or any other clinical use."


@dataclass(frozen=True)
class Training:
    """What came out of a run: its settings, its weights file, and the reports of ``evaluate`` and ``reliability``."""

    config: TrainingConfig
    weights: Path
    reports: list[dict[str, Any]]


def write_bundle(training: Training, folder: Path, template: Path | None = None, bits: int = 16) -> Card:
    """Write the checkpoint of ``training`` to ``folder`` and read it back.

    Args:
        training: what came out.
        folder: of the checkpoint; made when missing.
        template: JSON file with the texts of the card (what it segments, codes, training data, terms, limits); None
            takes ``cards/<checkpoint>.json``, true of the checkpoints that ship.
        bits: of a stored weight: 16 (float16) or 8 (see :mod:`MedSegAttentionLib.checkpoints.quantisation`).

    Raises:
        InputError: no such file or no JSON, other classes than the configuration, or reports that do not belong to it.
    """
    config = training.config
    template = template or CARDS / f"{config.checkpoint}.json"
    try:
        text = json.loads(template.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"the card '{template}' cannot be read ({error}); copy one of MedSegAttentionTraining/cards, say there "
            f"what '{config.checkpoint}' was trained on, and give it with --card."
        ) from error
    changelog = text.pop("changelog", {text["version"]: "first version"})
    trained = load_file(training.weights)
    weights = save(quantised(trained) if bits == 8 else {name: _half(trained[name]) for name in sorted(trained)})
    card = {
        "id": config.checkpoint,
        "task": config.task,
        "network": config.network["name"],
        "network_config": config.network_options,
        "in_channels": config.in_channels,
        "activation": "sigmoid" if config.out_channels == 1 else "softmax",
        "intensity": config.intensity,
        "fit": config.stages[-1].fit,
        **text,
        "flips": flips_trained_on(config),
        "metrics": _metrics(
            [report for report in training.reports if "presence" not in report], hashlib.sha256(weights).hexdigest()
        ),
        **_fitted(training.reports, hashlib.sha256(weights).hexdigest()),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    names = [label["name"] for label in card["labels"]]
    if names != config.classes:
        raise InputError(f"'{template}' lists the classes {names}; the configuration has {config.classes}.")
    for path, content in (
        (WEIGHTS_FILE, weights),
        (CARD_FILE, _json(_metadata(card, changelog))),
        (Path("configs/inference.json"), _json(_inference(config.checkpoint))),
        (Path("docs/README.md"), model_card(card).encode()),
        (Path("LICENSE"), licence(card).encode()),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return read_card(folder)


def flips_trained_on(config: TrainingConfig) -> list[str]:
    """The mirror images among the training pictures, of :data:`~MedSegAttentionLib.data.card.FLIPS`."""
    flip = config.augmentation.get("flip")
    return list(FLIPS if flip == "both" else FLIPS[:1] if flip else ())


def _metrics(reports: list[dict[str, Any]], weights_sha256: str) -> dict[str, Any]:
    """Figures by data set; those of ``reliability`` become the ``calibration`` of theirs.

    Raises:
        InputError: two reports of one data set; or a report of ``reliability`` is about other weights, or about data
            without a report of ``evaluate``.
    """
    metrics: dict[str, Any] = {}
    for name, figures in (_figures(report) for report in reports if "calibration" not in report):
        if name in metrics:
            raise InputError(f"two reports of evaluate are about '{name}'; expected one for each data set.")
        metrics[name] = figures
    for report in (report for report in reports if "calibration" in report):
        name, found = data_name(report), report["calibration"]["all"]
        if name not in metrics or report["weights_sha256"] != weights_sha256:
            raise InputError(
                f"the reliability of '{report['checkpoint']}' on '{name}' was measured with other weights, or is not "
                f"beside a report of evaluate on the same data ({', '.join(metrics) or 'none'}); measure it again."
            )
        metrics[name]["calibration"] = {
            "ece": found["before"]["ece"],
            "temperature": report["fit"]["temperature"],
            "ece_with_temperature": found["after"]["ece"],
        }
    return metrics


def _fitted(reports: list[dict[str, Any]], weights_sha256: str) -> dict[str, Any]:
    """Temperature and presence score from the report of ``calibrate``, if there is one.

    Raises:
        InputError: it is about other weights, or there are several.
    """
    found = [report for report in reports if "presence" in report]
    if len(found) > 1 or any(report["weights_sha256"] != weights_sha256 for report in found):
        raise InputError(
            f"{len(found)} reports of calibrate, of the weights {[report['weights_sha256'][:8] for report in found]}; "
            f"expected one about those to be written, {weights_sha256[:8]}. Calibrate the exported checkpoint again."
        )
    return {key: report[key] for report in found for key in ("temperature", "presence")}


def _figures(report: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name of a report of ``evaluate``, and the figures the card shows."""
    per_class = {label: {key: values[key] for key in ("dice", "hd95")} for label, values in report["per_class"].items()}
    figures = {key: report["mean"][key] for key in ("dice", "iou", "hd95")}
    return report_name(report), {
        "cases": len(report["cases"]),
        **figures,
        "hd95_unit": report["hd95_unit"],
        "per_class": per_class,
    }


def _half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half().contiguous() if tensor.is_floating_point() else tensor.contiguous()


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _metadata(card: dict[str, Any], changelog: dict[str, str]) -> dict[str, Any]:
    """MONAI's bundle metadata around our card."""
    size = card["fit"]["size"]
    classes = ["background", *(label["name"] for label in card["labels"])]
    image = {
        "type": "image",
        "format": "magnitude" if card["in_channels"] == 1 else "rgb",
        "modality": card["modality"],
        "num_channels": card["in_channels"],
        "spatial_shape": [size, size],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
    }
    logits = {
        "type": "logits",
        "format": "segmentation",
        "num_channels": 1 if card["activation"] == "sigmoid" else len(classes),
        "spatial_shape": [size, size],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {"0": classes[1]} if card["activation"] == "sigmoid" else dict(enumerate(classes)),
    }
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20220324.json",
        "version": card["version"],
        "changelog": changelog,
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": np.__version__,
        "task": card["title"],
        "description": card["description"],
        "authors": "The MedSegAttention contributors",
        "copyright": "See LICENSE",
        "intended_use": RESEARCH_ONLY,
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": logits}},
        CARD_KEY: card,
    }


def _inference(checkpoint: str) -> dict[str, Any]:
    """So that ``python -m monai.bundle run --config_file configs/inference.json`` does what ``segment`` does."""
    return {
        "imports": ["$from MedSegAttentionLib.commands.segment import segment_file"],
        "bundle_root": ".",
        "image": f"image-for-{checkpoint}.nii.gz",
        "output_dir": "./eval",
        "run": ["$segment_file(@image, @output_dir, checkpoint=@bundle_root)"],
    }


def model_card(card: dict[str, Any]) -> str:
    """The page a person reads."""
    lines = [f"# {card['title']}", "", card["description"], "", RESEARCH_ONLY, "", "## What it takes", ""]
    fit = card["fit"]
    takes = f"{card['modality']}, {card['orientation']} slices, {card['in_channels']} channel(s)"
    place = (
        f"{fit['mm']} mm pixels on {fit['size']} x {fit['size']}"
        if fit["fit"] == "spacing"
        else f"{fit['size']} x {fit['size']}"
    )
    lines += [f"- Modality {takes}, brought to {place}."]
    lines += [f"- Network `{card['network']}` {card['network_config']}.", "", "## Classes", ""]
    lines += [f"- {label['name']} (SNOMED CT {label['codes']['type'][1]})" for label in card["labels"]]
    lines += ["", "## Attention maps", ""]
    lines += [f"- `{item['name']}` ({item['title']}): {item['meaning']}" for item in card["attention"]]
    lines += ["", "## Trained on", ""]
    lines += [
        f"- {data['name']}, {data['cases']} cases. {data['citation']} Terms: {data['terms']}."
        for data in card["training_data"]
    ]
    lines += ["", "## Measured", ""]
    lines += [_metrics_line(name, figures) for name, figures in card["metrics"].items()] or ["Not measured yet."]
    if presence := card.get("presence"):
        lines += ["", "## Whether it is there at all", ""]
        lines += [_presence_line(name, figures) for name, figures in presence["measured"].items()]
    lines += ["", "## Known limits", "", *(f"- {text}" for text in card["limits"]), ""]
    return "\n".join(lines)


def _metrics_line(name: str, figures: dict[str, Any]) -> str:
    classes = ", ".join(
        f"{label} {values['dice']:.3f}" if values["dice"] is not None else f"{label} in no case"
        for label, values in figures["per_class"].items()
    )
    line = f"- {name} ({figures['cases']} cases): mean Dice by case {figures['dice']:.3f} ({classes})."
    if calibration := figures.get("calibration"):
        line += (
            f" Expected calibration error {calibration['ece']:.3f}, {calibration['ece_with_temperature']:.3f} with "
            f"temperature {calibration['temperature']:.2f} (not applied)."
        )
    return line


def _presence_line(name: str, figures: dict[str, Any]) -> str:
    if figures["sensitivity"] is None or figures["specificity"] is None:
        return f"- {name}: in all or none of the slices kept aside; not judged."
    return (
        f"- {name}: of {figures['with']} slices kept aside that show it, {1 - figures['sensitivity']:.1%} fall below "
        f"the threshold and are left empty; so are {figures['specificity']:.1%} of {figures['without']} without it. "
        "Weights and threshold were fitted on these slices."
    )


def licence(card: dict[str, Any]) -> str:
    """The licence of these weights."""
    data = "\n".join(f"* {item['name']}: {item['terms']}.\n  {item['citation']}" for item in card["training_data"])
    return (
        f"Licence of the weights of {card['id']}\n\n"
        "The weights in models/model.safetensors may be used, copied and passed on for research and education,\n"
        "free of charge, with this file beside them and with the works below cited. Other uses need the consent\n"
        "of the owners of the training data.\n\n"
        f"They were trained from scratch on:\n\n{data}\n\n"
        f"{RESEARCH_ONLY}\n"
        "They come without warranty of any kind. The program code has a licence of its own (LICENSE.txt).\n"
    )
