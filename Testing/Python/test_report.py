"""The page about a result: what is on it, and that a long one still fits."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image

from conftest import a_result_on, an_image, some_labels
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.output.report import overlay_of, write_report
from MedSegAttentionLib.scene.volumes import add_volume
from MedSegAttentionLib.scene.writing import write_result
from scene_tools import snapshot


def test_the_page_shows_pictures_volumes_and_origin(a_scene, a_volume_node, a_result, texts, tmp_path):
    nodes = write_result(a_scene, a_result, a_volume_node)
    before = snapshot(a_scene)
    assert write_report(nodes.segmentation, tmp_path / "r.png") == tmp_path / "r.png"
    assert snapshot(a_scene) == before
    page = np.asarray(Image.open(tmp_path / "r.png"))
    assert page.shape == (1754, 1240, 3)
    assert (page == (140, 66, 94)).all(axis=-1).sum() > 300  # the liver's colour beside its name
    written = "\n".join(texts)
    for words in (
        "For research use only",
        "case 1",
        "tau, stage 4: Share of neighbours",
        "liver",
        "0.17",  # 168 voxels of 1 mm3
        "168",
        "Not found: spleen",
        'Warning: a "quoted"',
        "abdomen-ct-klo-net",
    ):
        assert words in written


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (RunSettings(), "Settings: none changed"),
        (
            RunSettings("cpu", 4, False, axis="j"),
            "device cpu asked for; 4 slice(s) at once; attention maps: none; slices",
        ),
        (RunSettings(attention=("tau_stage4",), force=True), "Settings: attention maps: tau_stage4; run although"),
        (
            RunSettings(attention_grid="input", test_time_flips=True),
            "the grid of the image; averaged over mirror images",
        ),
    ],
    ids=str,
)
def test_settings_are_told_in_words(settings, words, a_scene, a_volume_node, a_result, texts, tmp_path):
    told = {**a_result.provenance, "settings": asdict(settings)}
    write_report(
        write_result(a_scene, replace(a_result, provenance=told), a_volume_node).segmentation, tmp_path / "r.png"
    )
    assert words in " ".join(texts)


def test_only_the_map_of_the_same_run_is_shown(a_scene, a_volume_node, a_result):
    first = write_result(a_scene, a_result, a_volume_node)
    other = replace(a_result, provenance={**a_result.provenance, "created": "later"}, attention={})
    second = write_result(a_scene, other, a_volume_node)
    assert overlay_of(first.segmentation) is first.attention["tau_stage4"]
    assert overlay_of(second.segmentation) is None


def test_a_result_without_attention_a_partial_one_and_a_foreign_one_have_a_page(
    a_scene, a_partial_result, texts, tmp_path
):
    image = an_image("permuted")
    result = replace(a_partial_result, attention={}, ijk_to_ras=image.ijk_to_ras)
    node = write_result(a_scene, result, add_volume(a_scene, image)).segmentation
    write_report(node, tmp_path / "r.png")
    assert any("Partial" in text and "3 to 7" in text for text in texts)
    node.RemoveAttribute("MedSegAttention.Provenance")
    write_report(node, tmp_path / "r.png")
    assert any("not made by MedSegAttention" in text for text in texts)


def test_what_does_not_fit_is_said_to_be_elsewhere(a_scene, a_volume_node, a_result, texts, tmp_path):
    many = {**a_result.provenance, "warnings": ["a long warning " * 20] * 40}
    write_report(
        write_result(a_scene, replace(a_result, provenance=many), a_volume_node).segmentation, tmp_path / "r.png"
    )
    assert texts[-1] == "(the rest is in the provenance of the result)"
    assert texts.count("(the rest is in the provenance of the result)") == 1


@pytest.mark.parametrize("channels", [3, 4])
def test_a_photograph_has_a_page_in_pixels(channels, a_scene, texts, tmp_path):
    image = replace(an_image(), array=np.full((1, 20, 24, channels), 90, np.uint8), modality=None)
    result = replace(a_result_on(image), labels=some_labels()[1:2], attention={})
    write_report(write_result(a_scene, result, add_volume(a_scene, image)).segmentation, tmp_path / "r.png")
    assert "Size, pixels" in texts
    page = np.asarray(Image.open(tmp_path / "r.png"))
    assert (page == 90).all(axis=-1).sum() > 10000  # the photograph is there, with or without its alpha channel


def test_a_page_that_cannot_be_written_is_an_input_error(a_scene, a_volume_node, a_result, tmp_path):
    node = write_result(a_scene, a_result, a_volume_node).segmentation
    with pytest.raises(InputError, match="cannot be written"):
        write_report(node, tmp_path / "no" / "r.png")
