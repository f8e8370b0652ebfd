"""A run slice by slice: order, progress, cancel, memory, tiles, and what provenance says about it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from MedSegAttentionLib.data.errors import Cancelled, InputError, MedSegAttentionError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.engine import ONE_PIECE, SegmentationRun
from MedSegAttentionLib.inference.prediction import Predictor, folded
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.runner.in_process import run
from oracle import MAP_CELLS, ThresholdNetwork, checkpoint_of
from small_checkpoint import MAPS, SIZE, THRESHOLDS, threshold_network, two_classes, write_checkpoint

torch.set_num_threads(1)
CPU = RunSettings(device="cpu")
OUT_OF_MEMORY = [
    None,
    "CUDA error: out of memory",
    "DefaultCPUAllocator: can't allocate memory: you tried",
    "not enough memory",
]


def stairs(slices: int = 6) -> VolumeImage:
    """Slice ``n`` has a bright square of ``n + 2`` pixels."""
    array = np.zeros((slices, 30, 40), np.float32)
    for n in range(slices):
        array[n, 4 : 6 + n, 5 : 7 + n] = 1
    return VolumeImage(array, np.diag([-1.0, -1.0, 3.0, 1.0]), "stairs")


@pytest.fixture
def a_folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


GRIDS = {"uncertainty": (64, 64), "stage4": (8, 8), "bottleneck": (4, 4)}


@pytest.mark.parametrize("batch_size", [None, 1, 4, 50])
def test_slices_come_in_order_one_result_each(batch_size, a_folder):
    volume, seen = stairs(), []
    result = run(
        volume, checkpoint=a_folder, settings=RunSettings(device="cpu", batch_size=batch_size), on_slice=seen.append
    )
    assert [(item.index, item.count) for item in seen] == [(n, 6) for n in range(6)]
    for item in seen:
        np.testing.assert_array_equal(item.labels, volume.array[item.index] > 0.25)
        assert item.labels.dtype == np.uint8
        assert tuple(item.attention) == ("uncertainty", *MAPS)
        for name, values in item.attention.items():
            np.testing.assert_array_equal(values.shape, GRIDS[name.split("_")[-1]])
            assert values.dtype == np.float32
            assert (values >= 0).all()
            assert (values <= 1).all()
    np.testing.assert_array_equal(result.labels, volume.array > 0.25)
    assert not result.partial
    assert result.provenance["slices"] == [6, 6]


def test_the_batch_size_does_not_change_the_result(a_folder):
    one, many = (run(stairs(), checkpoint=a_folder, settings=RunSettings("cpu", size)) for size in (1, 4))
    np.testing.assert_array_equal(one.labels, many.labels)
    for name in MAPS:
        np.testing.assert_allclose(one.attention[name].array, many.attention[name].array, atol=1e-5)


def test_a_cancel_that_discards_raises_and_says_how_far_it_got(a_folder):
    asked = []

    def after_two() -> bool:
        asked.append(1)
        return len(asked) == 2

    with pytest.raises(Cancelled, match="2 of 6"):
        run(stairs(), checkpoint=a_folder, settings=CPU, is_cancelled=after_two)
    assert len(asked) == 2


def test_a_cancel_that_keeps_gives_what_was_done(a_folder):
    volume, seen = stairs(), []
    result = run(
        volume,
        checkpoint=a_folder,
        settings=CPU,
        on_slice=seen.append,
        is_cancelled=lambda: len(seen) == 2,
        on_cancel="keep",
    )
    assert result.partial
    assert result.slice_range == (0, 1)
    assert result.provenance["slices"] == [2, 6]
    np.testing.assert_array_equal(result.labels[:2], volume.array[:2] > 0.25)
    assert not result.labels[2:].any()
    assert {item.array.shape[0] for item in result.attention.values()} == {2}


def test_a_kept_part_on_the_input_grid_is_zero_where_nothing_was_done(a_folder):
    settings = RunSettings(device="cpu", attention_grid="input")
    result = run(stairs(), checkpoint=a_folder, settings=settings, is_cancelled=lambda: True, on_cancel="keep")
    for item in result.attention.values():
        assert item.array.shape == (6, 30, 40)
        assert not item.array[1:].any()
    assert result.attention["tau_stage4"].array[0].any()


def test_a_cancel_at_the_last_slice_still_discards_and_keeps_a_whole_result(a_folder):
    seen = []
    at_the_end = {"settings": CPU, "on_slice": seen.append, "is_cancelled": lambda: len(seen) == 6}
    with pytest.raises(Cancelled):
        run(stairs(), checkpoint=a_folder, **at_the_end)
    seen.clear()
    assert not run(stairs(), checkpoint=a_folder, on_cancel="keep", **at_the_end).partial


def test_the_last_class_wins_where_it_is_brightest(tmp_path):
    folder = write_checkpoint(tmp_path, **two_classes())
    array = np.full((2, 20, 20), 0.1, np.float32)
    array[:, 2:8, 3:9], array[:, 12:16, 3:9] = 0.4, 0.9
    result = run(VolumeImage(array, np.diag([-1.0, -1.0, 1.0, 1.0])), checkpoint=folder, settings=CPU)
    np.testing.assert_array_equal(result.labels, np.digitize(array, THRESHOLDS[:2]))
    assert [label.name for label in result.classes] == ["liver", "spleen"]
    assert result.provenance["not_found"] == []


def test_provenance_tells_how_the_result_came_about(a_folder):
    result = run(stairs(), checkpoint=a_folder, settings=RunSettings(device="cpu", attention=("tau_stage4",)))
    told = json.loads(json.dumps(result.provenance))
    assert told["checkpoint"] == "prostate-klo-net"
    assert len(told["weights_sha256"]) == 64
    assert told["attention_positions"] == {"tau_stage4": (SIZE // 8) ** 2}
    assert told["device"] == "cpu"
    assert told["settings"]["attention"] == ["tau_stage4"]
    assert told["warnings"] == []
    assert told["versions"]["torch"] == torch.__version__
    assert told["slice_axis"] == "k"
    assert {"prepare", "network", "slices", "assemble"} <= set(told["seconds"])
    assert list(result.attention) == ["tau_stage4"]


def test_maps_can_be_left_out(a_folder):
    assert run(stairs(), checkpoint=a_folder, settings=RunSettings(device="cpu", attention=False)).attention == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"device": "gpu"}, "device 'gpu'.*auto, cuda, mps, cpu"),
        ({"attention_grid": "fine"}, "attention_grid 'fine'.*native, input"),
        ({"batch_size": 0}, "batch size 0.*1 or more"),
    ],
)
def test_an_unknown_setting_is_named_with_the_known_ones(change, words):
    with pytest.raises(InputError, match=words):
        RunSettings(**change)


def test_an_unknown_map_is_named_with_the_known_ones(a_folder):
    with pytest.raises(InputError, match=r"'nose'.*tau_stage4, tau_bottleneck"):
        run(stairs(), checkpoint=a_folder, settings=RunSettings(device="cpu", attention=("nose",)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this computer has CUDA")
def test_a_device_that_is_not_there_is_refused(a_folder):
    with pytest.raises(InputError, match="'cuda' is not available"):
        run(stairs(), checkpoint=a_folder, settings=RunSettings(device="cuda"))


@pytest.mark.parametrize("message", OUT_OF_MEMORY)
def test_out_of_memory_halves_the_batch_and_says_so(message, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "_predict_slices", lambda self, batch: [self._predict_batch(batch)])  # as on a GPU
    volume = stairs(9)
    checkpoint = checkpoint_of(ThresholdNetwork(fits=2, message=message), tmp_path)
    segmentation = SegmentationRun(volume, checkpoint, RunSettings(device="cpu", batch_size=8))
    assert [item.index for item in segmentation] == list(range(9))
    result = segmentation.result()
    np.testing.assert_array_equal(result.labels, volume.array > 0.5)
    assert result.attention["tau_stage4"].array.shape[0] == 9
    assert result.provenance["batch_size"] == 2
    assert [w for w in result.provenance["warnings"] if "out of memory" in w and "4 slice" in w]
    assert [w for w in result.provenance["warnings"] if "out of memory" in w and "2 slice" in w]


def test_one_slice_that_does_not_fit_is_a_clear_error(tmp_path):
    segmentation = SegmentationRun(stairs(), checkpoint_of(ThresholdNetwork(fits=0), tmp_path), CPU)
    with pytest.raises(MedSegAttentionError, match=r"out of memory.*single slice"):
        list(segmentation)


def test_any_other_failure_of_the_network_is_not_taken_for_missing_memory(tmp_path):
    network = ThresholdNetwork(fits=0, message="mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        list(SegmentationRun(stairs(), checkpoint_of(network, tmp_path), RunSettings(device="cpu", batch_size=4)))


def waves(rows: int, columns: int) -> VolumeImage:
    y, x = np.indices((rows, columns))
    values = 0.5 + 0.5 * np.sin(x / 17) * np.cos(y / 13)
    return VolumeImage(values[None].astype(np.float32), np.diag([-1.0, -1.0, 1.0, 1.0]), "waves")


@pytest.mark.parametrize(
    "size", [(64, 160), (160, 64), (200, 200), (96, 208), (80, 144), (144, 80), (50, 150), (112, 300)]
)
def test_a_large_canvas_in_tiles_gives_what_one_piece_gives(size, tmp_path):
    volume = waves(*size)
    segmentation = SegmentationRun(volume, checkpoint_of(ThresholdNetwork(), tmp_path), CPU)
    assert max(segmentation.prepared.fit.canvas) > ONE_PIECE * 64
    list(segmentation)
    np.testing.assert_array_equal(segmentation.result().labels, volume.array > 0.5)
    canvas = segmentation.prepared.fit.to_canvas(torch.from_numpy(volume.array)[None])
    in_one_piece = ThresholdNetwork().forward_with_attention(canvas)
    for name in MAP_CELLS:
        found, wanted = segmentation.attention[0][name], in_one_piece.attention[name][0, 0].numpy()
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_real_network_in_tiles_nearly_agrees_with_one_piece():
    network = threshold_network()
    torch.manual_seed(0)
    canvas = torch.rand(1, 1, 160, 96)
    tiled, whole = (Predictor(network, "cpu", 2, tile).predict(canvas) for tile in (128, 512))
    np.testing.assert_array_equal(tiled.logits > 0, whole.logits > 0)
    for name, values in whole.attention.items():
        assert tiled.attention[name].shape == values.shape
        assert tiled.attention[name].min() >= 0
        assert tiled.attention[name].max() <= 1


def test_the_network_that_was_given_stays_as_it_is():
    network = threshold_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    Predictor(network, "cpu", None, 128)
    after = network.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_folding_the_norms_changes_no_output():
    network = threshold_network(softmax=True, classes=2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.1, 0.1)
    picture = torch.rand(2, 1, 64, 48)
    with torch.no_grad():
        plain, fast = network.forward_with_attention(picture), folded(network).forward_with_attention(picture)
    assert not [module for module in folded(network).modules() if isinstance(module, torch.nn.BatchNorm2d)]
    torch.testing.assert_close(fast.logits, plain.logits, atol=2e-3, rtol=1e-4)
    for name in ("tau_stage4", "tau_bottleneck"):
        torch.testing.assert_close(fast.attention[name], plain.attention[name], atol=1e-4, rtol=1e-4)
