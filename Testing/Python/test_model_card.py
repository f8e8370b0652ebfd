"""The model card says what a user must know, and nothing in it is taken for HTML."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest

from MedSegAttentionLib.checkpoints.catalogue import list_checkpoints
from slicer_double.fakes import a_card

pytest_plugins = ["slicer_double.fixtures"]


@pytest.fixture
def model_card(an_application, a_module):
    from MedSegAttentionLib.panel import model_card

    return model_card


def text_of(html: str) -> str:
    return unescape(re.sub("<[^>]*>", " ", html))


@pytest.mark.parametrize("card", list_checkpoints(), ids=lambda card: card.id)
def test_a_card_that_ships_is_shown_in_full(model_card, card):
    text = text_of(model_card.cardHtml(card, "about 12 s"))
    for word in (card.title, card.description, card.id, card.license, "about 12 s", *card.limits):
        assert word in text
    for data in card.training_data:
        for key in ("name", "terms", "citation"):
            assert data[key] in text
        assert f"{data['cases']} cases" in text
    for name, figures in card.metrics.items():
        assert f"{name}, {figures['cases']} cases: mean Dice {figures['dice']:.3f}" in text
        if calibration := figures.get("calibration"):
            assert f"expected calibration error {calibration['ece']:.3f}" in text
        for label, values in figures["per_class"].items():
            distance = "-" if values["hd95"] is None else f"{values['hd95']:.1f} {figures['hd95_unit']}"
            row = rf"{label}\s+{values['dice']:.3f}\s+{distance}(?! {figures['hd95_unit']})"
            assert re.search(row, text), row
    for label in card.labels:
        assert label.name in text
    assert (f"{card.orientation} slices" in text) is (card.in_channels == 1)  # photographs have no orientation
    assert (f"those {card.adjacent:g} mm below and above" in text) is (card.adjacent > 0)


def test_texts_are_escaped(model_card):
    evil = "<img src='http://example.com/x.png'> & <script>"
    card = replace(
        a_card("prostate-x", "prostate"),
        **dict.fromkeys(("title", "description", "license", "modality", "orientation", "version"), evil),
        limits=(evil,),
        training_data=({"name": evil, "terms": evil, "citation": evil, "cases": evil},),
        metrics={evil: {"cases": evil, "hd95_unit": evil, "per_class": {evil: {"dice": evil, "hd95": 1}}}},
    )
    html = model_card.cardHtml(card, evil)
    assert "<img" not in html
    assert "<script" not in html
    assert text_of(html).count(evil) == 16
    assert set(re.findall("<(\\w+)", html)) == {"h3", "p", "table", "tr", "td", "th", "b", "ul", "li"}


@pytest.mark.parametrize("figures", [None, [], {}, {"per_class": []}, {"per_class": {"a": 1}}, {"dice": float("nan")}])
def test_figures_of_another_form_are_shown_as_unknown(model_card, figures):
    card = replace(a_card("prostate-x", "prostate"), metrics={"a test set": figures})
    assert "a test set, ? cases: mean Dice ?" in text_of(model_card.cardHtml(card))


def test_what_is_not_stated_is_said(model_card):
    text = text_of(model_card.cardHtml(a_card("prostate-x", "prostate")))
    assert text.count("Nothing is stated.") == 2
    assert "Measured on images it was not trained on Not measured." in " ".join(text.split())
    assert "not measured on this machine yet" in text


def test_several_cards_say_that_the_volume_decides(model_card):
    cards = [(a_card("abdomen-ct-x", "abdomen"), ""), (a_card("abdomen-mr-x", "abdomen"), "1 s")]
    text = text_of(model_card.cardsHtml(cards))
    assert "the modality of the volume decides" in text
    assert "abdomen-ct-x" in text
    assert "abdomen-mr-x" in text
    assert "decides" not in model_card.cardsHtml(cards[:1])
