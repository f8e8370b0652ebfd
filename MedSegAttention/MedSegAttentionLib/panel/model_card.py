"""The model card as the panel shows it: what a checkpoint segments, where it comes from, how well it was measured."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from slicer.i18n import tr as _

from ..data.card import Card


def cardHtml(card: Card, expectedTime: str = "") -> str:
    """One card as simple HTML; every text of the card is escaped.

    Args:
        card: its texts and figures may come from anywhere.
        expectedTime: how long a volume takes on this machine; empty when that is not known.
    """
    rows = [
        (_("Checkpoint"), _("{id}, version {version}").format(id=card.id, version=card.version)),
        (_("Segments"), ", ".join(label.name for label in card.labels)),
        (_("Images"), _images(card)),
        (_("Expected time"), expectedTime or _("not measured on this machine yet")),
        (_("Licence"), card.license),
    ]
    return "".join(
        (
            f"<h3>{escape(card.title)}</h3><p>{escape(card.description)}</p>",
            "<table cellpadding='2'>",
            *(f"<tr><td><b>{escape(name)}</b></td><td>{escape(text)}</td></tr>" for name, text in rows),
            "</table>",
            *_measuredSections(card.metrics),
            _section(_("Known failures"), [escape(text) for text in map(str, card.limits)]),
            _section(_("Trained on"), [*map(_trainingData, card.training_data), *_training(card.training)]),
        )
    )


def cardsHtml(cards: list[tuple[Card, str]]) -> str:
    """Several cards with their expected times, of which the volume chooses one; or a single one."""
    first = ""
    if len(cards) > 1:
        first = f"<p>{escape(_('Automatic: the modality of the volume decides between these.'))}</p>"
    return first + "<hr>".join(cardHtml(card, time) for card, time in cards)


def summaryText(cards: list[Card]) -> str:
    """How well the checkpoints that may run were measured on images they were not trained on, a line each."""
    lines = []
    for card in cards:
        name = f"{_modality(card)}: " if len(cards) > 1 else ""
        lines.append(name + (_summary(card) or _("not measured")))
    return "\n".join(lines)


def _summary(card: Card) -> str:
    for figures in card.metrics.values():
        if isinstance(figures, dict) and "dice" in figures and not figures.get("learned_from"):
            cases = figures.get("cases", "?")
            return _("Dice {dice} on {cases} new cases").format(dice=_number(figures["dice"], 2), cases=cases)
    return ""


def _section(title: str, items: list[str], without: str = "") -> str:
    """A heading and a list; ``items`` are HTML already, ``without`` stands there where there are none."""
    shown = items or [escape(without or _("Nothing is stated."))]
    return f"<p><b>{escape(title)}</b></p><ul>{''.join(f'<li>{item}</li>' for item in shown)}</ul>"


def _images(card: Card) -> str:
    if card.in_channels > 1:  # photographs have no orientation
        return _modality(card)
    images = _("{modality}, {orientation} slices").format(modality=_modality(card), orientation=card.orientation)
    if card.adjacent:
        images = _("{images}, each seen with those {mm} mm below and above").format(
            images=images, mm=f"{card.adjacent:g}"
        )
    return images


def _modality(card: Card) -> str:
    names = {"CT": _("CT"), "MR": _("MR"), "XC": _("photographs"), "ES": _("endoscopy")}
    return names.get(card.modality, card.modality)


def _measuredSections(metrics: dict[str, Any]) -> list[str]:
    """Figures on images it was not trained on, and apart from them those on images that it was, or may have been."""
    new, learned = [], []
    for name, figures in metrics.items():
        known = isinstance(figures, dict) and figures.get("learned_from")
        (learned if known else new).append(_measured(name, figures))
    sections = [_section(_("Measured on images it was not trained on"), new, without=_("Not measured."))]
    if learned:
        sections.append(_section(_("Measured on images it was trained on, or may have been"), learned))
    return sections


def _measured(dataSet: str, figures: Any) -> str:
    """Dice by class on one test set."""
    figures = figures if isinstance(figures, dict) else {}
    perClass = figures.get("per_class")
    perClass = perClass if isinstance(perClass, dict) else {}
    unit = figures.get("hd95_unit") or "mm"
    text = _("{name}, {cases} cases: mean Dice {dice}").format(
        name=dataSet, cases=figures.get("cases", "?"), dice=_number(figures.get("dice"), 3)
    )
    calibration = figures.get("calibration")
    if isinstance(calibration, dict):
        text += _("; expected calibration error {error}").format(error=_number(calibration.get("ece"), 3))
    rows = [
        f"<tr><td>{escape(str(name))}</td><td>{_number(values.get('dice'), 3)}</td>"
        f"<td>{_distance(values.get('hd95'), str(unit))}</td></tr>"
        for name, values in perClass.items()
        if isinstance(values, dict)
    ]
    head = "".join(f"<th align='left'>{escape(name)}</th>" for name in (_("Class"), _("Dice"), _("HD95")))
    table = f"<table cellpadding='2'><tr>{head}</tr>{''.join(rows)}</table>" if rows else ""
    return escape(text) + table


def _distance(value: Any, unit: str) -> str:
    """None stands for a class that no picture shows: its outline is at no distance."""
    return "-" if value is None else f"{_number(value, 1)} {escape(unit)}"


def _number(value: Any, decimals: int) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return f"{value:.{decimals}f}"
    return "?"


def _trainingData(data: dict[str, Any]) -> str:
    text = _("{name}, {cases} cases. Terms: {terms}. {citation}")
    if "kept_aside" in data:
        text = _("{name}, {cases} cases learned from, {kept_aside} kept aside. Terms: {terms}. {citation}")
    return escape(
        text.format(**{key: data.get(key, "?") for key in ("name", "cases", "kept_aside", "terms", "citation")})
    )


def _training(training: dict[str, Any]) -> list[str]:
    """How the run went; nothing of cards that are older than the records of runs."""
    if not training:
        return []
    if not training.get("recorded"):
        return [escape(_("Not recorded: these weights came without the record of their training run."))]
    told = {key: training.get(key, "?") for key in ("epochs", "chosen_epoch", "project_version")}
    told["commit"] = training.get("commit") or _("not known")
    text = _("Epoch {chosen_epoch} of {epochs}; MedSegAttention {project_version}, commit {commit}.").format(**told)
    lines = [escape(text)]
    if count := training.get("unrecorded_epochs"):
        lines.append(escape(_("What the first {count} epochs learned from is not recorded.").format(count=count)))
    if isinstance(start := training.get("pretrained"), dict):
        told = {key: start.get(key, "?") for key in ("name", "source", "terms")}
        lines.append(escape(_("It started from {name} ({source}). Terms: {terms}.").format(**told)))
    return lines
