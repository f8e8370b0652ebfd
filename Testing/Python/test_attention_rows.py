"""The attention of one clicked position: whose it is, what it sums to, where it lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from conftest import geometry
from MedSegAttentionLib.checkpoints.loading import load_checkpoint
from MedSegAttentionLib.data.errors import ContractWarning, InputError
from MedSegAttentionLib.data.result import AttentionVolume
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.engine import SegmentationRun
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.runner.in_process import attention_row
from small_checkpoint import read_card_values, threshold_network, write_card, write_checkpoint

torch.set_num_threads(1)
LEVELS = {"stage4": 3, "bottleneck": 4}
CELLS = {"stage4": 8, "bottleneck": 16}
CPU = RunSettings(device="cpu")


@pytest.fixture(scope="module")
def a_folder(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def a_volume(kind: str = "plain", shape: tuple[int, int, int] = (4, 64, 64)) -> VolumeImage:
    array = np.random.default_rng(5).random(shape).astype(np.float32)
    return VolumeImage(array, geometry(kind), "knee")


def ras(volume: VolumeImage, i: float, j: float, k: float) -> tuple[float, float, float]:
    return tuple((volume.ijk_to_ras @ [i, j, k, 1])[:3].tolist())


def literal_weights(
    network: torch.nn.Module, picture: torch.Tensor, stage: str, token: int
) -> tuple[torch.Tensor, int]:
    """``[heads, N]`` attention of one token, computed from the weights of the layer, and its k."""
    taken = {}
    layer = network.attention[stage]
    hook = layer.norm.register_forward_hook(lambda _module, inputs, _output: taken.update(x=inputs[0]))
    with torch.no_grad():
        network.forward_with_attention(picture)
        hook.remove()
        normed = F.group_norm(taken["x"], 1, layer.norm.weight, layer.norm.bias, layer.norm.eps)
        tau = torch.sigmoid(layer.gate(normed)).flatten()[token]
        tokens = normed.flatten(2)[0].T
        query, key, _ = (tokens @ layer.qkv.weight[:, :, 0, 0].T + layer.qkv.bias).chunk(3, dim=-1)
        depth = query.shape[1] // layer.heads
        k = int(min(len(tokens), max(layer.k_min, min(layer.k_max, torch.floor(tau * layer.k_max)))))
        rows = []
        for head in range(layer.heads):
            part = slice(head * depth, (head + 1) * depth)
            scores = (key[:, part] @ query[token, part]) / depth**0.5
            kept = scores.argsort(descending=True)[:k]
            rows.append(torch.zeros(len(tokens)).index_copy(0, kept, torch.softmax(scores[kept], dim=0)))
        return torch.stack(rows), k


@pytest.mark.parametrize("stage", ["stage4", "bottleneck"])
@pytest.mark.parametrize("position", [(0, 0), (1, 2), (3, 3)])
def test_a_row_is_the_attention_computed_from_the_weights(stage, position):
    network = threshold_network()
    picture = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(3))
    width = 64 // CELLS[stage]
    with torch.no_grad():
        found = network.attention_row(picture, stage, position)
    weights, k = literal_weights(network, picture, stage, position[0] * width + position[1])
    assert found.shape == (1, 1, width, width)
    assert ((weights > 0).sum(dim=-1) == k).all()
    torch.testing.assert_close(found.flatten(), weights.mean(dim=0), atol=1e-5, rtol=1e-4)
    assert found.sum().item() == pytest.approx(1, abs=1e-5)
    assert found.min() >= 0


def test_with_one_head_exactly_k_positions_are_attended_to():
    torch.manual_seed(7)
    network = build_network("klo-net", in_channels=1, out_channels=1, width=8, heads=1, k_min=3, k_max=40).eval()
    picture = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        k = (network.forward_with_attention(picture).attention["k_stage4"] * 40).round()
        for position in ((0, 0), (4, 5), (7, 7)):
            row = network.attention_row(picture, "stage4", position)
            assert int((row > 0).sum()) == int(k[0, 0][position])


@pytest.mark.parametrize(("stage", "position"), [("stage4", (8, 0)), ("bottleneck", (0, 4)), ("stage4", (-1, 0))])
def test_a_position_off_the_grid_is_refused(stage, position):
    with pytest.raises(ValueError, match="off the"):
        threshold_network().attention_row(torch.rand(1, 1, 64, 64), stage, position)


def test_a_stage_without_attention_is_refused():
    with pytest.raises(ValueError, match=r"'stage1'.*stage4"):
        threshold_network().attention_row(torch.rand(1, 1, 64, 64), "stage1", (0, 0))


def row_by_hand(volume: VolumeImage, folder: Path, number: int, stage: str, cell: tuple[int, int]) -> np.ndarray:
    """What the network says about the slice as a run sees it."""
    checkpoint = load_checkpoint(folder)
    run = SegmentationRun(volume, checkpoint, CPU)
    canvas = run.prepared.fit.to_canvas(
        torch.from_numpy(np.ascontiguousarray(run.prepared.plan.view(volume.array)[number]))[None, None]
    )
    with torch.no_grad():
        return checkpoint.network.attention_row(canvas, stage, cell)[0, 0].numpy()


@pytest.mark.parametrize("stage", ["stage4", "bottleneck"])
def test_a_click_gives_the_row_of_the_cell_under_it(stage, a_folder):
    volume = a_volume()
    for i, j, k in ((0, 0, 0), (13.4, 50.2, 2), (63.4, 63.4, 3.4), (-0.4, 31, 1)):
        found, _ = attention_row(volume, ras(volume, i, j, k), checkpoint=a_folder, map=stage, settings=CPU)
        cell = tuple(int(np.clip((n + 0.5) // CELLS[stage], 0, 64 // CELLS[stage] - 1)) for n in (j, i))
        wanted = row_by_hand(volume, a_folder, round(k), stage, cell)
        assert isinstance(found, AttentionVolume)
        np.testing.assert_allclose(found.array[0], wanted, atol=1e-5)
        assert found.array.sum() == pytest.approx(1, abs=1e-4)
        assert found.array.shape == (1, 64 // CELLS[stage], 64 // CELLS[stage])


@pytest.mark.parametrize("kind", ["flipped", "permuted", "oblique"])
def test_a_click_lands_in_the_right_slice_and_cell_on_any_grid(kind, a_folder):
    shape = (64, 4, 64) if kind == "permuted" else (4, 64, 64)
    volume = a_volume(kind, shape)
    run = SegmentationRun(volume, load_checkpoint(a_folder), CPU)
    column, row, number = 0.3 * run.prepared.plan.shape[2], 0.7 * run.prepared.plan.shape[1], 2
    point = tuple((run.prepared.plan.to_ras @ [column, row, number, 1])[:3].tolist())
    found, _ = attention_row(volume, point, checkpoint=a_folder, map="stage4", settings=CPU)
    x, y = (np.linalg.inv(run.prepared.fit.canvas_to_slice(run.prepared.fit.canvas)) @ [column, row, 1])[:2]
    cell = (int((y + 0.5) // 8), int((x + 0.5) // 8))
    wanted = row_by_hand(volume, a_folder, number, "stage4", cell)
    # The volume given back holds the cells on the slice: look each up at its own physical place.
    to_cell = np.linalg.inv(run.prepared.fit.canvas_to_slice(wanted.shape))
    rows, columns = np.indices(found.array.shape[1:])
    points = found.ijk_to_ras @ np.stack([columns.ravel(), rows.ravel(), 0 * rows.ravel(), 1 + 0 * rows.ravel()])
    x, y, z, _ = np.linalg.inv(run.prepared.plan.to_ras) @ points
    np.testing.assert_allclose(z, number, atol=1e-6)
    x, y = (to_cell @ [x, y, np.ones_like(x)])[:2]
    np.testing.assert_allclose(
        found.array[0].ravel(), wanted[np.round(y).astype(int), np.round(x).astype(int)], atol=1e-5
    )


@pytest.mark.parametrize("index", [(-1, 5, 1), (64, 5, 1), (5, -1, 1), (5, 64, 1), (5, 5, -1), (5, 5, 4)])
def test_a_point_outside_the_volume_is_refused(index, a_folder):
    volume = a_volume()
    with pytest.raises(InputError, match=r"RAS, mm\) lies outside 'knee'"):
        attention_row(volume, ras(volume, *index), checkpoint=a_folder, settings=CPU)


@pytest.mark.parametrize(("name", "stage"), [("tau_stage4", "stage4"), ("k_bottleneck", "bottleneck")])
def test_the_name_of_a_map_stands_for_its_stage(name, stage, a_folder):
    volume = a_volume()
    by_map, by_stage = (
        attention_row(volume, ras(volume, 9, 9, 1), checkpoint=a_folder, map=text, settings=CPU)[0]
        for text in (name, stage)
    )
    np.testing.assert_array_equal(by_map.array, by_stage.array)


@pytest.mark.parametrize("name", ["stage1", "tau_stage1", "", "colour_stage4"])
def test_an_unknown_map_is_named_with_the_known_stages(name, a_folder):
    volume = a_volume()
    with pytest.raises(InputError, match=rf"'{name}' is not known.*stage4, bottleneck"):
        attention_row(volume, ras(volume, 9, 9, 1), checkpoint=a_folder, map=name, settings=CPU)


def test_only_stages_that_have_rows_are_offered(tmp_path):
    """A map does not make a stage: KM-UNet's skips have maps, its bottleneck alone has rows."""
    network = build_network("km-unet", in_channels=1, out_channels=1, width=8, dynamic_tau=True).eval()
    maps = [{"name": n, "title": n, "meaning": "For tests.", "range": [0, 1]} for n in ("ema_skip1", "tau_bottleneck")]
    config = {"width": 8, "dynamic_tau": True}
    folder = write_checkpoint(tmp_path, network, network_config=config, attention=maps)
    write_card(folder, read_card_values(folder) | {"network": "km-unet"})
    volume = a_volume()
    point = ras(volume, 9, 9, 1)
    with pytest.raises(InputError, match=r"'ema_skip1' is not known.* has: bottleneck\.$"):
        attention_row(volume, point, checkpoint=folder, map="ema_skip1", settings=CPU)
    found, _ = attention_row(volume, point, checkpoint=folder, map="tau_bottleneck", settings=CPU)
    assert found.array.shape == (1, 2, 2)
    assert found.array.sum() == pytest.approx(1, abs=1e-4)


def test_the_contract_holds_for_rows_too(a_folder):
    volume = VolumeImage(a_volume().array, geometry("plain"), "knee", "CT")
    with pytest.raises(ContractWarning, match="modality CT"):
        attention_row(volume, ras(volume, 9, 9, 1), checkpoint=a_folder, settings=CPU)
    forced = RunSettings(device="cpu", force=True)
    assert attention_row(volume, ras(volume, 9, 9, 1), checkpoint=a_folder, settings=forced)[0].array.any()
