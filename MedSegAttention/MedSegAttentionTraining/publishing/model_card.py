"""What people read about a checkpoint: its page and its licence."""

from __future__ import annotations

import json
from typing import Any

RESEARCH_ONLY = "For research only. Not a medical device: not for diagnosis, treatment or any other clinical use."
NOT_MEASURED = "Not measured: no figure says how well it works."
NOT_RECORDED = "What these weights were trained on is not recorded: they came without the record of their training run."


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
    if mm := card.get("adjacent"):
        takes += f" and the slices {mm:g} mm below and above"
    lines += [f"- Modality {takes}, brought to {place}."]
    if smooth := card.get("smoothing"):
        lines += [
            f"- The logits of a slice are averaged with those {smooth['mm']:g} mm below and above, which count "
            f"{smooth['weight']:g} times as much."
        ]
    lines += [f"- Network `{card['network']}` {card['network_config']}.", "", "## Classes", ""]
    lines += [f"- {label['name']} (SNOMED CT {label['codes']['type'][1]})" for label in card["labels"]]
    lines += ["", "## Attention maps", ""]
    lines += [f"- `{item['name']}` ({item['title']}): {item['meaning']}" for item in card["attention"]]
    lines += ["", "## Trained on", ""]
    lines += [f"- {_data(data)} {data['citation']} Terms: {data['terms']}." for data in card["training_data"]]
    lines += [f"- {line}" for line in _training(card.get("training", {}))]
    lines += ["", "## Measured", ""]
    applied = card.get("temperature", 1.0)
    lines += [_metrics_line(name, figures, applied) for name, figures in card["metrics"].items()] or [NOT_MEASURED]
    if presence := card.get("presence"):
        lines += ["", "## Whether it is there at all", ""]
        lines += [_presence_line(name, figures) for name, figures in presence["measured"].items()]
    if trust := _trust(card):
        lines += ["", "## What it says of its own results", "", *trust]
    lines += ["", "## Known limits", "", *(f"- {text}" for text in card["limits"]), ""]
    return "\n".join(lines)


def _data(data: dict[str, Any]) -> str:
    """Name and number of cases of a training data set."""
    aside = f" learned from, {data['kept_aside']} kept aside to choose the epoch" if "kept_aside" in data else ""
    return f"{data['name']}, {data['cases']} cases{aside}."


def _training(training: dict[str, Any]) -> list[str]:
    """How the run went, of a card that has a record or says that it has none; older cards have nothing to tell."""
    if not training:
        return []
    if not training["recorded"]:
        return [NOT_RECORDED]
    program = f"MedSegAttention {training['project_version']}"
    if commit := training["commit"]:
        program += f", commit {commit}{' with changes that are in no commit' * bool(training['uncommitted_changes'])}"
    lines = [
        f"Trained for {training['epochs']} epochs, of which the weights are of epoch {training['chosen_epoch']}, from "
        f"{training['started']} to {training['finished']} with {program}.",
        f"Configuration: `{json.dumps(training['configuration'])}`",
    ]
    if count := training["unrecorded_epochs"]:
        lines.append(f"The first {count} epochs ran without a record: what they learned from is not recorded.")
    if start := training["pretrained"]:
        lines.append(f"{_start(start)}.")
    return lines


def _start(pretrained: dict[str, str]) -> str:
    return (
        f"The training started from the weights {pretrained['name']} ({pretrained['source']}; terms: "
        f"{pretrained['terms']}; SHA-256 {pretrained['sha256']})"
    )


def _metrics_line(name: str, figures: dict[str, Any], applied: float) -> str:
    classes = ", ".join(
        f"{label} {values['dice']:.3f}" if values["dice"] is not None else f"{label} in no case"
        for label, values in figures["per_class"].items()
    )
    line = f"- {name} ({figures['cases']} cases): mean Dice by case {figures['dice']:.3f} ({classes})."
    if figures.get("learned_from"):
        line += " It learned from these cases, or may have."
    if calibration := figures.get("calibration"):
        line += (
            f" Expected calibration error {calibration['ece']:.3f}, {calibration['ece_with_temperature']:.3f} with "
            f"temperature {calibration['temperature']:.2f} ({_applied(applied)})."
        )
    return line


def _applied(temperature: float) -> str:
    return "not applied" if temperature == 1 else f"applied is {temperature:.2f}, fitted on all cases kept aside"


def _trust(card: dict[str, Any]) -> list[str]:
    """What was fitted on the cases kept aside, of a card that has it."""
    lines = []
    if quality := card.get("quality"):
        lines.append(
            f"- Expected Dice of a segment, with the interval that held {quality['coverage']:.0%} of the true values: "
            f"fitted on {quality['segments']} segments of cases kept aside."
        )
    if familiar := card.get("familiar"):
        lines.append(
            f"- An image counts as unlike those of the training from a distance of {familiar['threshold']:.2f} on "
            f"(their average is 1; {familiar['cases']} cases learned from, {familiar['kept_aside']} kept aside)."
        )
    return lines


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
    return (
        f"Licence of the weights of {card['id']}\n\n"
        "The weights in models/model.safetensors may be used, copied and passed on for research and education,\n"
        "free of charge, with this file beside them and with the works below cited. Other uses need the consent\n"
        "of the owners of the training data.\n\n"
        f"{_licensed_by(card)}\n\n"
        f"{RESEARCH_ONLY}\n"
        "They come without warranty of any kind. The program code has a licence of its own (LICENSE.txt).\n"
    )


def _licensed_by(card: dict[str, Any]) -> str:
    """What the weights were made from, each with its terms."""
    training = card.get("training", {"recorded": True})
    if not training["recorded"]:
        return f"{NOT_RECORDED}\nFind out before you pass them on: the terms of those data bind you too."
    data = "\n".join(f"* {item['name']}: {item['terms']}.\n  {item['citation']}" for item in card["training_data"])
    lines = [line for line in _training(card.get("training", {})) if "without a record" in line]
    if start := training.get("pretrained"):
        lines += [f"{_start(start)}.", f"They were trained further on:\n\n{data}"]
    else:
        lines.append(f"They were trained from scratch on:\n\n{data}")
    return "\n".join(lines)
