"""Names in any script are written on pictures and pages, on one line, without boxes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from MedSegAttentionLib.output import lettering
from MedSegAttentionLib.output.lettering import NOWHERE, draw_text, text_width
from MedSegAttentionLib.output.report import write_report
from MedSegAttentionLib.scene.writing import write_result


def drawn(text: str, **options) -> np.ndarray:
    image = Image.new("L", (700, 60), 255)
    draw_text(ImageDraw.Draw(image), (5, 5), text, 30, **options)
    return np.asarray(image)


@pytest.mark.parametrize("text", ["Müller", "Łódź ąęść", "Иванов", "محمد", "Ελένη"])
def test_letters_are_no_boxes(text):
    """Each letter leaves ink of its own; a font that lacks them draws the same box for all."""
    font = lettering._font(lettering._files()[0], 30)
    box = bytes(font.getmask(NOWHERE))
    for part, used in lettering._runs(text, 30):
        assert all(bytes(used.getmask(letter)) != bytes(used.getmask(NOWHERE)) for letter in part if letter != " ")
    assert len({bytes(font.getmask(letter)) for letter in text} - {box}) == len(set(text))
    assert (drawn(text) < 128).sum() > 50
    width = text_width(ImageDraw.Draw(Image.new("L", (9, 9))), text, 30)
    columns = np.flatnonzero((drawn(text) < 128).any(axis=0))
    assert abs(columns[-1] - 5 - width) < 8


def test_what_no_font_has_is_written_as_its_number(monkeypatch):
    monkeypatch.setattr(lettering, "_files", lambda: ())
    np.testing.assert_array_equal(drawn("a 张 b"), drawn("a [U+5F20] b"))


def test_plain_letters_look_as_pillow_draws_them():
    image = Image.new("L", (700, 60), 255)
    from PIL import ImageFont

    ImageDraw.Draw(image).text((5, 5), "case 1", fill="black", font=ImageFont.load_default(30))
    np.testing.assert_array_equal(drawn("case 1"), np.asarray(image))


@pytest.mark.parametrize("name", ["a\nb", "a\r\nb", "a\tb", "a\x00b"])
def test_what_breaks_a_line_is_a_space(name):
    np.testing.assert_array_equal(drawn(name), drawn("a b"))


def test_a_page_about_a_volume_with_any_name(a_scene, a_volume_node, a_result, tmp_path):
    pages = {}
    for name in ("Müller\nŁódź", "Müller Łódź", "Muller Lodz"):
        a_volume_node.SetName(name)
        nodes = write_result(a_scene, a_result, a_volume_node)
        pages[name] = np.asarray(Image.open(write_report(nodes.segmentation, tmp_path / "r.png")).convert("L"))[:140]
        a_scene.RemoveNode(nodes.segmentation)
    first, second, plain = pages.values()
    np.testing.assert_array_equal(first, second)
    assert (first != plain).any()
