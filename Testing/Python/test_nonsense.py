"""What each checkpoint that a task takes by itself says to images that it cannot know; what none notices is on a page.

The tests on real images skip where the data are not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from MedSegAttentionLib.checkpoints.catalogue import find_checkpoint, list_checkpoints
from MedSegAttentionLib.data.card import Card
from MedSegAttentionLib.data.errors import ContractWarning, InputError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.files.reading import read_volume
from MedSegAttentionLib.inference.acceptance import accept
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.runner.in_process import run
from MedSegAttentionTraining.measuring.alterations import NONSENSE

torch.set_num_threads(1)
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
DEFAULTS = [card for card in list_checkpoints() if card.default]
RAS = np.diag([-1.0, -1.0, 3.0, 1.0])
every_default = pytest.mark.parametrize("card", DEFAULTS, ids=lambda card: card.id)
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")


def an_image(card: Card, low: float, high: float, channels: int | None = None, **options) -> VolumeImage:
    """Values from ``low`` to ``high`` with as many channels as the checkpoint takes, or others."""
    channels = channels or card.in_channels
    shape = (2, 40, 50) if channels == 1 else (1, 40, 50, channels)
    array = np.linspace(low, high, int(np.prod(shape))).reshape(shape).astype(np.float32)
    return VolumeImage(array, RAS, "other", has_scale=card.in_channels == 1, **options)


def usual(card: Card) -> tuple[float, float]:
    return {"CT": (-1000, 800), "MR": (0, 900)}.get(card.modality, (0, 255))


@every_default
def test_what_it_takes_passes(card):
    assert accept(an_image(card, *usual(card), modality=card.modality), card, force=False)[1] == []


@every_default
def test_a_picture_of_another_number_of_channels_is_refused(card):
    other = an_image(card, 0, 255, channels=3 if card.in_channels == 1 else 1)
    with pytest.raises(InputError, match="channel") as caught:
        accept(other, card, force=True)
    assert not isinstance(caught.value, ContractWarning)


@every_default
@pytest.mark.parametrize("modality", ["PT", "US", "MG"])
def test_another_modality_stops(card, modality):
    with pytest.raises(ContractWarning, match=rf"has modality {modality}, but '{card.id}' was trained on"):
        accept(an_image(card, *usual(card), modality=modality), card, force=False)


@every_default
def test_one_value_everywhere_stops(card):
    with pytest.raises(ContractWarning, match="has the same value"):
        accept(an_image(card, 7, 7), card, force=False)


@every_default
def test_numbers_of_another_kind_of_image_stop(card):
    """CT for MR; MR, or CT without its offset, for CT; Hounsfield units for a picture; a black picture."""
    wrong = {"CT": (0, 900), "MR": (-1000, 900)}.get(card.modality, (-1000, 255))
    with pytest.raises(ContractWarning, match=rf"smallest value of 'other' is .*'{card.id}' expects"):
        accept(an_image(card, *wrong), card, force=False)
    if card.in_channels == 3:
        with pytest.raises(ContractWarning, match=r"largest value of 'other' is 20;"):
            accept(an_image(card, 2, 20), card, force=False)


def polyp_pictures() -> list[Path]:
    return sorted((DATA / "polyp" / "kvasir_seg" / "images").iterdir())[:1]


@needs_data
@pytest.mark.parametrize("name", ["inverted", "noise"])
def test_nonsense_made_of_a_polyp_picture_stops(name):
    (path,) = polyp_pictures()
    picture = read_volume(path)
    other = VolumeImage(NONSENSE[name](picture.array).copy(), picture.ijk_to_ras, "other", has_scale=False)
    card = next(card for card in DEFAULTS if card.task == "polyp")
    assert card.familiar
    with pytest.raises(ContractWarning, match=rf"'other' looks unlike the images that '{card.id}'"):
        run(other, checkpoint=find_checkpoint(card.id), settings=RunSettings("cpu", attention=False))


@needs_data
def test_a_skin_picture_for_the_polyp_checkpoint_stops_and_names_that_for_skin():
    path = sorted((DATA / "skin" / "ph2" / "images").iterdir())[0]
    with pytest.raises(ContractWarning, match=r"looks unlike.* It looks more like the images of 'skin-klo-lite' \("):
        run(read_volume(path), task="polyp", settings=RunSettings("cpu", attention=False))


@needs_data
def test_an_abdomen_mr_with_left_and_right_exchanged_says_so_at_the_organs():
    """Three slices through liver and spleen. On CT the network may name organs by their place, and nothing is said."""
    folder = DATA / "abdomen_mri" / "chaos_t2spir"
    path = sorted((folder / "images").iterdir())[0]
    volume, labels = read_volume(path), read_volume(folder / "labels" / path.name).array
    areas = [(labels == value).sum((1, 2)) for value in (1, 4)]
    middle = int(np.minimum(*areas).argmax())
    array = volume.array[middle - 1 : middle + 2]
    for name, told in (("as it is", False), ("left and right exchanged", True)):
        image = VolumeImage(NONSENSE[name](array).copy(), volume.ijk_to_ras, name, "MR")
        result = run(image, task="abdomen", settings=RunSettings("cpu", attention=False))
        findings = [text for item in result.found() for text in item["findings"]]
        assert any("exchanged" in text for text in findings) == told, findings
