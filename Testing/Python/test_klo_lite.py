"""KLO-Lite: its encoder is EfficientNet-Lite0 as TensorFlow trained it, and what training alone asks of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.networks.contract import in_picture
from MedSegAttentionLib.networks.layers.efficientnet_lite import WIDTHS, efficientnet_lite0
from MedSegAttentionTraining.fitting import pretrained

torch.set_num_threads(1)


def build(**options) -> nn.Module:
    torch.manual_seed(0)
    return build_network("klo-lite", in_channels=3, out_channels=1, **options)


def by_tensorflow(encoder: nn.ModuleList, x: Tensor) -> Tensor:
    """The encoder with kernels turned back and "SAME" padding: all of what a stride of 2 lacks at bottom and right."""

    def convolved(layer: nn.Conv2d, x: Tensor) -> Tensor:
        side, stride = layer.kernel_size[0], layer.stride[0]
        lacking = side - stride
        pad = (lacking // 2, lacking - lacking // 2) * 2
        return F.conv2d(F.pad(x, pad), layer.weight.flip(-1, -2), None, layer.stride, 0, 1, layer.groups)

    def through(module: nn.Module, x: Tensor) -> Tensor:
        if isinstance(module, nn.Conv2d):
            return convolved(module, x)
        if isinstance(module, nn.Sequential | nn.ModuleList):
            for child in module:
                x = through(child, x)
            return x
        if getattr(module, "residual", None) is not None:
            inner = through(module.steps, x)
            return x + inner if module.residual else inner
        return module(x)

    return through(encoder, x)


@torch.no_grad()
def test_the_encoder_is_tensorflows_seen_upside_down():
    torch.manual_seed(0)
    encoder = efficientnet_lite0(3).eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
    picture = torch.rand(1, 3, 64, 96)
    ours = picture
    for level, width in zip(encoder, WIDTHS, strict=True):
        ours = level(ours)
        assert ours.shape[1] == width
    theirs = by_tensorflow(encoder, picture.flip(-1, -2)).flip(-1, -2)
    assert ours.shape == (1, 320, 2, 3)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_pretrained_weights_come_whole_and_in_order():
    network = build()
    pretrained.load_pretrained(network, "efficientnet-lite0")
    stored = pretrained._read(pretrained.PRETRAINED["efficientnet-lite0"])
    assert torch.equal(network.encoder[0][0][0].weight, stored["_conv_stem.weight"].flip(-1, -2))
    last = network.encoder[4][-1].steps[-1]
    assert torch.equal(last[0].weight, stored["_blocks.15._project_conv.weight"])
    assert torch.equal(last[1].running_var, stored["_blocks.15._bn2.running_var"])


@torch.no_grad()
def test_the_pretrained_encoder_recognises_a_portrait():
    """With the classifier that comes with the weights: a suit, a bow tie or a military uniform."""
    network = build().eval()
    pretrained.load_pretrained(network, "efficientnet-lite0")
    stored = pretrained._read(pretrained.PRETRAINED["efficientnet-lite0"])
    portrait = Image.open(Path(mpl.__file__).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg")
    pixels = np.asarray(portrait.convert("RGB").crop((40, 0, 472, 432)).resize((224, 224)), np.float32)
    x = torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1)[None].flip(-1, -2)
    for level in network.encoder:
        x = level(x)
    x = F.conv2d(x, stored["_conv_head.weight"])
    norm = [stored[f"_bn1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    x = F.relu6(F.batch_norm(x, *norm, eps=1e-3)).mean((2, 3))
    found = F.linear(x, stored["_fc.weight"], stored["_fc.bias"]).topk(3).indices[0].tolist()
    assert sorted(found) == [457, 652, 834]


@torch.no_grad()
def test_a_picture_in_other_units_or_in_grey_gives_the_same_features():
    signed, unit, grey = build(), build(), build_network("klo-lite", in_channels=1, out_channels=1)
    for network, low in ((signed, -1.0), (unit, 0.0), (grey, -1.0)):
        pretrained.load_pretrained(network.eval(), "efficientnet-lite0", low=low)
    picture = torch.rand(1, 1, 64, 64).expand(1, 3, 64, 64) * 2 - 1
    first = [network.encoder[0][0](values) for network, values in ((signed, picture), (unit, (picture + 1) / 2))]
    inside = (..., slice(1, -1), slice(1, -1))  # at the rim black is padded instead of grey
    torch.testing.assert_close(first[1][inside], first[0][inside], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(grey.encoder[0](picture[:, :1]), signed.encoder[0](picture), rtol=1e-3, atol=1e-4)


def test_pretrained_weights_that_cannot_be_used_are_refused(monkeypatch):
    with pytest.raises(InputError, match=r"'resnet' are not known.*efficientnet-lite0"):
        pretrained.load_pretrained(build(), "resnet")
    with pytest.raises(InputError, match="do not fit UNet"):
        pretrained.load_pretrained(build_network("unet", in_channels=3, out_channels=1, width=8), "efficientnet-lite0")
    known = pretrained.PRETRAINED["efficientnet-lite0"]
    for change, told in (
        ({"sha256": "0" * 64}, "has SHA-256 5793"),
        ({"package": "no_such_one"}, "'no-such-one'; inst"),
    ):
        monkeypatch.setitem(pretrained.PRETRAINED, "efficientnet-lite0", replace(known, **change))
        with pytest.raises(InputError, match=told):
            pretrained.load_pretrained(build(), "efficientnet-lite0")


def test_heads_and_presence_are_there_when_asked_for():
    picture = torch.rand(2, 3, 64, 96)
    network = build(deep_supervision=True, presence=True, width=8)
    output = network.train().forward_with_attention(picture)
    assert [tuple(head.shape) for head in output.heads] == [(2, 1, 64 // n, 96 // n) for n in (16, 8, 4, 2)]
    assert output.presence.shape == (2, 1, 2, 3)
    assert in_picture(output.presence).shape == (2, 1)
    output = network.eval().forward_with_attention(picture)
    assert output.heads == ()
    assert output.presence.shape == (2, 1, 2, 3)
    assert build(width=8).eval().forward_with_attention(picture).presence is None


@pytest.mark.parametrize(
    ("deep", "stages"), [(True, ["stage4", "stage5", "bottleneck"]), (False, ["stage4", "bottleneck"])]
)
def test_attention_is_on_the_grids_of_klo_net(deep, stages):
    network = build(deep=deep, width=8).eval()
    maps = network.forward_with_attention(torch.rand(1, 3, 64, 64)).attention
    assert [name for name in maps if name.startswith("tau_")] == [f"tau_{stage}" for stage in stages]
    assert maps["tau_stage4"].shape[-1] == 8
    assert maps["tau_bottleneck"].shape[-1] == (2 if deep else 4)
