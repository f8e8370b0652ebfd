"""Random changes of training slices: image and label move alike, nothing changes that was not asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from MedSegAttentionTraining.data.augmentation import Augmentation
from MedSegAttentionTraining.fitting.config import read_config

CONFIGS = sorted(
    (Path(__file__).resolve().parents[2] / "MedSegAttention" / "MedSegAttentionTraining" / "configs").glob("*.json")
)
MOVES = ("rotation", "scale", "shift", "shear", "elastic", "flip", "field_of_view")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def a_block(size: int = 64, count: int = 8) -> torch.Tensor:
    image = torch.zeros(count, 1, size, size)
    image[..., size // 3 : size // 2, size // 4 : size // 2] = 1
    return image


def test_without_settings_nothing_changes():
    image = torch.rand(4, 3, 32, 32)
    changed, label = Augmentation({})(image, a_block(32, 4).byte(), generator())
    torch.testing.assert_close(changed, image, rtol=0, atol=1e-5)
    assert torch.equal(label, a_block(32, 4).byte())


@pytest.mark.parametrize("config", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_image_and_label_move_alike_in_every_shipped_configuration(config):
    settings = {key: value for key, value in read_config(config).augmentation.items() if key in MOVES}
    image = a_block()
    moved = 0
    for seed in range(5):
        changed, label = Augmentation(settings)(image, image.byte(), generator(seed))
        assert set(label.unique().tolist()) <= {0, 1}
        if not settings.get("field_of_view"):  # it hides the image alone
            assert ((changed - label.float()).abs() > 0.5).float().mean() < 0.01
        moved += int((label != image.byte()).flatten(1).any(1).sum())
    assert moved > 30


def test_the_same_generator_gives_the_same_changes_and_pictures_of_a_batch_differ():
    settings = {"rotation": 90, "scale": [0.5, 2], "shift": 0.1, "noise": 0.1, "blur": 2.0, "elastic": 0.02}
    image = a_block()
    first, again, other = (Augmentation(settings)(image, image.byte(), generator(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert len({picture.sum().item() for picture in first}) == len(first)


def test_a_magnification_of_two_makes_four_times_the_area():
    _, label = Augmentation({"scale": [2, 2]})(a_block(), a_block().byte(), generator())
    areas = label.flatten(1).sum(1) / a_block()[0].sum()
    assert {round(area) for area in areas.tolist()} == {1, 4}  # 8 of 10 are magnified


def test_a_mirror_image_keeps_left_from_top():
    _, label = Augmentation({"flip": True})(a_block(count=32), a_block(count=32).byte(), generator())
    kept, mirrored = a_block().byte()[0], a_block().byte()[0].flip(-1)
    assert {True} == {torch.equal(one, kept) or torch.equal(one, mirrored) for one in label}
    assert len({one[0, 22].argmax().item() for one in label}) == 2


def test_what_moves_in_repeats_the_edge_or_is_nothing():
    image = torch.full((16, 1, 32, 32), 0.5)
    for border, least in ((True, 0.5), (False, 0.0)):
        settings = {"scale": [0.5, 0.6], "border": border}
        changed, _ = Augmentation(settings)(image, image.byte(), generator())
        assert changed.min() == pytest.approx(least, abs=1e-3)


def test_colour_changes_channel_by_channel_and_stays_a_picture():
    image = torch.rand(8, 3, 32, 32) * 0.2 + 0.4
    for settings in ({"colour": 0.5}, {"hue": 0.3}, {"saturation": 0.9}, {"brightness": 0.9, "contrast": 0.9}):
        changed, _ = Augmentation(settings, coloured=True)(image, image[:, :1].byte(), generator())
        assert not torch.allclose(changed, image, atol=1e-2), settings
        assert 0 <= changed.min() <= changed.max() <= 1
    grey = image[:, :1].expand(-1, 3, -1, -1)
    changed, _ = Augmentation({"hue": 0.3, "saturation": 0.9}, coloured=True)(grey, grey[:, :1].byte(), generator())
    torch.testing.assert_close(changed, grey, rtol=0, atol=1e-3)  # grey has neither


def test_three_grey_slices_are_no_colours():
    slices = torch.randn(8, 3, 32, 32) * 3
    changed, _ = Augmentation({"hue": 0.3, "saturation": 0.9})(slices, slices[:, :1].byte(), generator())
    torch.testing.assert_close(changed, slices, rtol=0, atol=1e-4)
    assert changed.min() < 0
    assert changed.max() > 1


def test_a_share_of_pictures_becomes_a_part_without_the_class_where_there_is_one():
    image = a_block(count=64) + 0.25 * torch.rand(64, 1, 64, 64)
    changed, label = Augmentation({"empty": 0.5})(image, a_block(count=64).byte(), generator())
    emptied = (label == 0).flatten(1).all(1)
    assert 0.15 < emptied.float().mean() < 0.6
    assert changed[emptied].max() < 0.3  # no part of the block is left in what is called empty
    full = torch.ones(8, 1, 64, 64)
    assert Augmentation({"empty": 1.0})(full, full.byte(), generator())[1].all()


def test_intensities_change_by_what_was_asked_for():
    image = a_block(count=32) + 1 + 0.1 * torch.rand(32, 1, 64, 64)
    for settings in ({"bias_field": 0.5}, {"gamma": 2.0}, {"noise": 0.2}, {"blur": 2.0}, {"contrast": 0.5}):
        changed, label = Augmentation(settings)(image, a_block(count=32).byte(), generator())
        differs = (changed - image).abs().flatten(1).amax(1) > 1e-3
        assert 0.1 < differs.float().mean() <= 1, settings
        assert torch.equal(label, a_block(count=32).byte())
