"""Test-time flips: what is averaged, what comes back, and who may ask for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from MedSegAttentionLib.checkpoints.card_file import read_card
from MedSegAttentionLib.checkpoints.catalogue import SHIPPED
from MedSegAttentionLib.data.card import FLIPS
from MedSegAttentionLib.data.errors import CheckpointError, InputError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.engine import SegmentationRun
from MedSegAttentionLib.inference.prediction import Predictor
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.networks.contract import SegmentationOutput
from MedSegAttentionLib.runner.background import BackgroundRunner
from MedSegAttentionLib.runner.in_process import run
from MedSegAttentionTraining.fitting.config import read_config
from MedSegAttentionTraining.publishing.bundle import flips_trained_on
from oracle import ThresholdNetwork, checkpoint_of
from small_checkpoint import write_checkpoint

torch.set_num_threads(1)
FLIPPED = RunSettings(device="cpu", test_time_flips=True)
ALL_FOUR = ((), ("horizontal",), ("vertical",), ("horizontal", "vertical"))


class SlopingNetwork(ThresholdNetwork):
    """Believes less in what lies to the right and below, so that a mirror image has another answer."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.channels = channels

    def forward_with_attention(self, x: Tensor) -> SegmentationOutput:
        known = super().forward_with_attention(x)
        rows, columns = x.shape[-2:]
        slope = torch.linspace(0, 3, columns) + torch.linspace(0, 2, rows)[:, None]
        logits = known.logits - slope
        rest = [n * logits**2 / 50 for n in range(1, self.channels)]
        return SegmentationOutput(torch.cat([logits, *rest], dim=1), known.attention)


def a_picture(rows: int = 32, columns: int = 48) -> Tensor:
    return torch.rand(2, 1, rows, columns, generator=torch.Generator().manual_seed(1))


def probabilities(logits: Tensor) -> Tensor:
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mirrors", [ALL_FOUR[:2], ALL_FOUR])
@pytest.mark.parametrize("tile", [64, 32])  # in one piece, in tiles
def test_probabilities_are_averaged_and_the_maps_are_those_of_the_picture(channels, mirrors, tile):
    network, picture = SlopingNetwork(channels), a_picture()
    found = Predictor(network, "cpu", 2, tile, mirrors).predict(picture)
    plain = Predictor(network, "cpu", 2, tile)
    by_hand = []
    for mirror in mirrors:
        axes = [{"horizontal": 3, "vertical": 2}[flip] for flip in mirror]
        by_hand.append(probabilities(plain.predict(picture.flip(axes)).logits).flip(axes))
    torch.testing.assert_close(probabilities(found.logits), torch.stack(by_hand).mean(0))
    assert (by_hand[0] - by_hand[1]).abs().max() > 0.1
    for name, values in plain.predict(picture).attention.items():
        assert torch.equal(found.attention[name], values)


def test_a_network_that_does_not_mind_flips_answers_the_same():
    network, picture = ThresholdNetwork(), 1e3 * a_picture()  # logits of 20000: no probability may saturate
    plain, flipped = (Predictor(network, "cpu", 2, 64, mirrors).predict(picture) for mirrors in (((),), ALL_FOUR))
    torch.testing.assert_close(flipped.logits, plain.logits, rtol=1e-5, atol=1e-4)


def test_a_run_averages_over_what_the_card_allows(tmp_path):
    """The same grey everywhere is seen on the left alone; with its mirror image, the same on both sides."""
    volume = VolumeImage(np.full((1, 64, 64), 0.58, np.float32), np.diag([-1.0, -1.0, 1.0, 1.0]), "grey")
    volume.array[0, 0, 0] = 0

    def labels(settings: RunSettings, *flips: str) -> np.ndarray:
        checkpoint = checkpoint_of(SlopingNetwork(), tmp_path, flips=list(flips))
        segmentation = SegmentationRun(volume, checkpoint, settings)
        list(segmentation)
        return segmentation.result().labels[0, 32]

    plain = labels(RunSettings(device="cpu"), *FLIPS)
    assert plain[:8].all()
    assert not plain[-8:].any()
    both = labels(FLIPPED, *FLIPS)
    np.testing.assert_array_equal(both, both[::-1])
    np.testing.assert_array_equal(labels(FLIPPED, "vertical"), plain)


def test_out_of_memory_steps_back_with_flips_too(tmp_path):
    volume = VolumeImage(np.eye(20, dtype=np.float32)[None].repeat(5, 0), np.diag([-1.0, -1.0, 1.0, 1.0]), "line")
    checkpoint = checkpoint_of(ThresholdNetwork(fits=1), tmp_path, flips=["horizontal"])
    segmentation = SegmentationRun(volume, checkpoint, RunSettings("cpu", 4, test_time_flips=True))
    list(segmentation)
    np.testing.assert_array_equal(segmentation.result().labels, volume.array > 0.5)


@pytest.mark.parametrize(("flips", "passes"), [(("horizontal",), 2), (FLIPS, 4)])
def test_a_card_says_which_mirror_images_there_are(flips, passes, tmp_path):
    card = checkpoint_of(ThresholdNetwork(), tmp_path, flips=list(flips)).card
    mirrors = FLIPPED.mirrors(card)
    assert mirrors[0] == ()
    assert len(set(mirrors)) == len(mirrors) == card.passes_with_flips == passes
    assert RunSettings().mirrors(card) == ((),)


def test_a_card_without_flips_refuses_them_and_runs_without(tmp_path):
    card = checkpoint_of(ThresholdNetwork(), tmp_path).card
    assert (card.flips, card.passes_with_flips) == ((), 1)
    assert RunSettings().mirrors(card) == ((),)
    with pytest.raises(InputError, match=r"'prostate-klo-net'.*not trained on mirror images"):
        FLIPPED.mirrors(card)


@pytest.mark.parametrize("flips", [["diagonal"], "horizontal", [["horizontal"]]])
def test_a_card_with_flips_nobody_knows_is_refused(flips, tmp_path):
    with pytest.raises(CheckpointError, match="flips"):
        checkpoint_of(ThresholdNetwork(), tmp_path, flips=flips)


def test_the_worker_gives_what_this_process_gives_and_refuses_alike(tmp_path):
    values = np.random.default_rng(2).random((2, 40, 36)).astype(np.float32)
    volume = VolumeImage(values, np.diag([-1.0, -1.0, 3.0, 1.0]), "noise")
    whole, none = write_checkpoint(tmp_path / "a", flips=list(FLIPS)), write_checkpoint(tmp_path / "b")
    here = run(volume, checkpoint=whole, settings=FLIPPED)
    runner = BackgroundRunner()
    try:
        there = runner.run(volume, checkpoint=whole, settings=FLIPPED)
        with pytest.raises(InputError, match="mirror images"):
            runner.run(volume, checkpoint=none, settings=FLIPPED)
    finally:
        runner.close()
    np.testing.assert_array_equal(there.labels, here.labels)
    assert there.labels.any()
    assert there.provenance["settings"]["test_time_flips"] is True


@pytest.mark.parametrize("checkpoint", sorted(path.name for path in SHIPPED.iterdir() if path.is_dir()))
def test_shipped_cards_allow_the_flips_of_their_training(checkpoint, training_configs):
    flips = read_card(SHIPPED / checkpoint).flips
    assert list(flips) == flips_trained_on(read_config(training_configs / f"{checkpoint}.json"))
    assert bool(flips) == (not checkpoint.startswith("abdomen"))


@pytest.fixture
def training_configs():
    return SHIPPED.parents[1] / "MedSegAttentionTraining" / "configs"
