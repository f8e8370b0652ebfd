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
            _section(
                _("Measured on images it was not trained on"), [_measured(*item) for item in card.metrics.items()]
            ),
            _section(_("Known failures"), [escape(text) for text in map(str, card.limits)]),
            _section(_("Trained on"), [_trainingData(data) for data in card.training_data]),
        )
    )


def cardsHtml(cards: list[tuple[Card, str]]) -> str:
    """Several cards with their expected times, of which the volume chooses one; or a single one."""
    first = ""
    if len(cards) > 1:
        first = f"<p>{escape(_('Automatic: the modality of the volume decides between these.'))}</p>"
    return first + "<hr>".join(cardHtml(card, time) for card, time in cards)


def _section(title: str, items: list[str]) -> str:
    """A heading and a list; ``items`` are HTML already."""
    shown = items or [escape(_("Nothing is stated."))]
    return f"<p><b>{escape(title)}</b></p><ul>{''.join(f'<li>{item}</li>' for item in shown)}</ul>"


def _images(card: Card) -> str:
    if card.in_channels > 1:  # photographs have no orientation
        return _modality(card)
    return _("{modality}, {orientation} slices").format(modality=_modality(card), orientation=card.orientation)


def _modality(card: Card) -> str:
    names = {"CT": _("CT"), "MR": _("MR"), "XC": _("photographs"), "ES": _("endoscopy")}
    return names.get(card.modality, card.modality)


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
        f"<td>{_number(values.get('hd95'), 1)} {escape(str(unit))}</td></tr>"
        for name, values in perClass.items()
        if isinstance(values, dict)
    ]
    head = "".join(f"<th align='left'>{escape(name)}</th>" for name in (_("Class"), _("Dice"), _("HD95")))
    table = f"<table cellpadding='2'><tr>{head}</tr>{''.join(rows)}</table>" if rows else ""
    return escape(text) + table


def _number(value: Any, decimals: int) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return f"{value:.{decimals}f}"
    return "?"


def _trainingData(data: dict[str, Any]) -> str:
    text = _("{name}, {cases} cases. Terms: {terms}. {citation}")
    return escape(text.format(**{key: data.get(key, "?") for key in ("name", "cases", "terms", "citation")}))
