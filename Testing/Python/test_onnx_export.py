"""ONNX files: equal to PyTorch for any batch, described by their card, never left where they are wrong."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.checkpoints.catalogue import find_checkpoint
from MedSegAttentionLib.checkpoints.loading import load_checkpoint
from MedSegAttentionLib.data.errors import DependencyError, InputError, MedSegAttentionError
from MedSegAttentionLib.networks import build_network, setr_conv, setr_cvt
from MedSegAttentionLib.networks.known import built_in_networks
from MedSegAttentionLib.networks.layers.dynamic_knn_attention import DynamicKNNAttention
from MedSegAttentionTraining.publishing import onnx_export
from MedSegAttentionTraining.publishing.onnx_export import export_checkpoint, export_onnx
from small_checkpoint import MAPS, SIZE, read_card_values, write_checkpoint

torch.set_num_threads(1)
TOLERANCE = 1e-4
FEW = {"k_min": 2, "k_max": 16}
"""Fewer neighbours than there are positions on the small pictures here."""
SHALLOW = {"depths": (1, 1, 1, 1), "decoder_depths": (1, 1, 1, 1)}
EXPORTED = [
    ("unet", {}, 32),
    ("csp-unet", {}, 32),
    ("knn-unet", FEW, 64),
    ("klo-net", FEW, 64),
    ("klo-lite", FEW | {"presence": True}, 128),
    ("setr", {"attention": "qkv", "depth": 2}, 64),
    ("setr", {"attention": "kv", "depth": 1, "dynamic_tau": True}, 64),
    ("setr", {"attention": "kv-pos", "depth": 2, "decoder": "naive"}, 64),
    ("setr-conv", {"attention": "qkv", "depth": 1, "dynamic_tau": True}, 32),
    ("setr-conv", {"attention": "kv", "depth": 1}, 32),
    ("setr-conv", {"attention": "kv-pos", "depth": 1}, 32),
    ("setr-cvt", {"attention": "qkv"}, 32),
    ("setr-cvt", {"attention": "kv", "kv_stride": 2}, 32),
    ("setr-cvt", {"attention": "kv-pos", "dynamic_tau": True}, 32),
    ("km-unet", {"scan": "spiral"}, 32),
    ("vm-unet", SHALLOW, 32),
    ("vmkla-unet", {**SHALLOW, "dynamic_tau": True}, 32),
]


@pytest.fixture(autouse=True)
def log_handlers_as_before() -> Iterator[None]:
    """``main`` writes its log to the console it found; later tests have another."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    yield
    root.handlers[:] = handlers


@pytest.fixture(autouse=True)
def _few_blocks(monkeypatch):
    """Time goes by the number of operators, not by the size of the picture."""
    monkeypatch.setattr(setr_conv, "STAGE_DEPTHS", (1, 1, 1))
    monkeypatch.setattr(setr_cvt, "DEPTHS", (1, 1, 2))


def build(name: str, **config) -> nn.Module:
    """A network whose norms have seen pictures, and whose dynamic attention matters as much as its input."""
    torch.manual_seed(0)
    network = build_network(name, in_channels=1, out_channels=2, width=16, **config)
    for module in network.modules():
        if isinstance(module, DynamicKNNAttention):
            nn.init.normal_(module.out.weight, std=0.5)
            nn.init.normal_(module.gate[2].weight, std=0.5)
    with torch.no_grad():
        network.train()(pictures(4, 64))
    return network.eval()


def pictures(count: int, size: int, seed: int = 5) -> Tensor:
    return torch.randn(count, 1, size, size, generator=torch.Generator().manual_seed(seed))


def open_onnx(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run_onnx(session: onnxruntime.InferenceSession, x: Tensor) -> dict[str, np.ndarray]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": x.numpy()}), strict=True))


def run_torch(network: nn.Module, x: Tensor) -> dict[str, np.ndarray]:
    with torch.no_grad():
        output = network.forward_with_attention(x)
    return {name: value.numpy() for name, value in {"logits": output.logits, **output.attention}.items()}


def test_every_network_is_exported_here():
    assert {name for name, _, _ in EXPORTED} == set(built_in_networks())


@pytest.mark.parametrize(("name", "config", "size"), EXPORTED)
def test_the_file_gives_what_pytorch_gives_for_any_batch(name, config, size, tmp_path):
    network = build(name, **config)
    wanted = run_torch(network, pictures(5, size))
    maps = [key for key in wanted if key != "logits"]
    report = export_onnx(network, tmp_path / "folder" / "net.onnx", size=(size, size), maps=maps, rounds=1)
    assert report.outputs == ("logits", *maps)
    assert report.difference <= TOLERANCE
    assert min(report.torch_seconds, report.onnxruntime_seconds) > 0
    assert [file.name for file in report.path.parent.iterdir()] == ["net.onnx"]
    session = open_onnx(report.path)
    for batch in (1, 2, 5):
        found = run_onnx(session, pictures(5, size)[:batch])
        assert list(found) == list(wanted)
        for key, expected in wanted.items():
            scale = max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(found[key], expected[:batch], rtol=0, atol=TOLERANCE * scale, err_msg=key)
    assert np.abs(wanted["logits"][0] - wanted["logits"][1]).max() > 10 * TOLERANCE
    for key in (key for key in maps if key.startswith("k_")):
        assert len(np.unique(wanted[key])) > 1 or wanted[key].shape[-1] < 4


def test_a_checkpoint_that_ships_keeps_its_digits(tmp_path):
    """Trained weights tell more than random ones: scores are large, and tau comes close to 1."""
    report = export_checkpoint("prostate-klo-net", tmp_path / "net.onnx")
    checkpoint = load_checkpoint(find_checkpoint("prostate-klo-net"))
    size = checkpoint.card.fit["size"]
    coarse = nn.functional.interpolate(pictures(5, size // 16), size=(size, size), mode="bicubic")
    x = coarse + 0.1 * pictures(5, size)
    found, wanted = run_onnx(open_onnx(report.path), x), run_torch(checkpoint.network, x)
    assert list(found) == ["logits", *(item.name for item in checkpoint.card.attention)]
    for key, expected in wanted.items():
        each = np.abs(found[key] - expected).reshape(len(x), -1).max(axis=1) / max(1.0, np.abs(expected).max())
        assert np.median(each) <= TOLERANCE, key


def test_the_command_writes_a_file_with_its_card_and_prints_both_times(tmp_path, capfd):
    folder, path = write_checkpoint(tmp_path / "checkpoint"), tmp_path / "net.onnx"
    assert main(["export", str(folder), "--format", "onnx", "--output", str(path)]) == 0
    out = capfd.readouterr().out
    assert f"wrote {path} with the outputs logits, {', '.join(MAPS)}" in out
    assert "differs from PyTorch by" in out
    assert "ms in PyTorch" in out
    assert "ms in ONNX Runtime" in out
    model = onnx.load(str(path))
    assert json.loads(model.metadata_props[0].value) == read_card_values(folder)
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in shape] == ["batch", 1, SIZE, SIZE]


def test_the_command_writes_the_maps_asked_for(tmp_path):
    folder, path = write_checkpoint(tmp_path / "checkpoint"), tmp_path / "net.onnx"
    export = ["export", str(folder), "--format", "onnx", "--output", str(path)]
    for choice, maps in (("none", []), ("tau_bottleneck", ["tau_bottleneck"])):
        assert main([*export, "--attention", choice]) == 0
        assert [output.name for output in onnx.load(str(path)).graph.output] == ["logits", *maps]


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--format", "onnx", "--output", "net.onnx", "--weights", "w"], 2, "ID or folder"),
        (["--format", "onnx", "--output", "net"], 2, "ends in .onnx"),
        (["--format", "onnx", "--output", "net.onnx", "--attention", "tau_stage9"], 1, "tau_stage9"),
        (["--output", "folder", "--weights", "w"], 1, "weights 'w' do not exist"),
        (["--output", "folder", "--weights", "w", "--attention", "none"], 2, "--format onnx"),
    ],
)
def test_wrong_use_is_named_and_leaves_nothing(options, status, words, tmp_path, monkeypatch, capfd):
    folder = write_checkpoint(tmp_path / "checkpoint")
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(folder), *options]) == status
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    assert words in err
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]


def test_an_unknown_checkpoint_is_named(tmp_path, capfd):
    assert main(["export", "nosuch", "--format", "onnx", "--output", str(tmp_path / "net.onnx")]) == 1
    assert "'nosuch' was not found" in capfd.readouterr().err


def test_an_unknown_map_of_a_network_is_named(tmp_path):
    with pytest.raises(InputError, match="'tau_stage9' is not known; expected some of tau_stage4"):
        export_onnx(build("klo-net"), tmp_path / "net.onnx", size=(32, 32), maps=["tau_stage9"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=f"'{package}' cannot be imported.*pip install onnx onnxruntime"):
        export_onnx(build("unet"), tmp_path / "net.onnx")


def test_a_graph_that_differs_is_not_left_behind(tmp_path, monkeypatch):
    def spoiled(network: nn.Module) -> nn.Module:
        network = build("unet")
        network.head.bias.data += 1e-2
        return network

    monkeypatch.setattr(onnx_export, "_written_out", spoiled)
    with pytest.raises(MedSegAttentionError, match=r"differs from PyTorch by \d\.\de-0[23].*was not written"):
        export_onnx(build("unet"), tmp_path / "net.onnx", size=(32, 32))
    assert list(tmp_path.iterdir()) == []
