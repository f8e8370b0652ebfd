"""Whatever volume comes in: an error of ours, or labels on its own grid and maps that lie on it.

More examples than the 500 of every test run:
``MEDSEGATTENTION_EXAMPLES=10000 .venv/bin/python -m pytest Testing/Python/test_any_volume.py``
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from MedSegAttentionLib.data.errors import MedSegAttentionError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.engine import SegmentationRun
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.networks.contract import SegmentationOutput
from oracle import ThresholdNetwork, checkpoint_of

torch.set_num_threads(1)
EXAMPLES = int(os.environ.get("MEDSEGATTENTION_EXAMPLES", "500"))
KINDS = ("bool", "uint8", "int8", "uint16", "int16", "int32", "int64", "float32", "float64")
INTENSITIES = (
    {"method": "window", "low": 0, "high": 1},
    {"method": "zscore", "percentiles": [0.5, 99.5]},
    {"method": "body", "percentiles": [0.5, 99.5]},
)
FITS = ({"fit": "spacing", "mm": 1.0, "size": 64}, {"fit": "stretch", "size": 32})


@st.composite
def volumes(draw) -> VolumeImage:
    """Any shape, number type and values, with or without padding, NaN, colours; any place, axes and voxel size."""
    shape = [draw(st.integers(1, most)) for most in (5, 40, 40)]
    channels = draw(st.sampled_from([None, None, None, 1, 2, 3, 4]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale, offset = draw(st.sampled_from([1.0, 200.0, 3e4])), draw(st.sampled_from([0.0, -1000.0, 0.4]))
    array = rng.normal(0.5, 0.5, shape if channels is None else [*shape, channels]) * scale + offset
    if draw(st.booleans()):
        margin = draw(st.integers(0, 3))
        array[:, :margin], array[:, :, :margin] = offset, offset
    kind = np.dtype(draw(st.sampled_from(KINDS)))
    if kind.kind in "iu":
        array = np.clip(array, np.iinfo(kind).min, np.iinfo(kind).max)
    array = array.astype(kind)
    if kind.kind == "f" and draw(st.integers(0, 9)) == 0:
        array.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from([np.nan, np.inf]))
    turn = Rotation.from_euler("xyz", [draw(st.sampled_from([0, 90, 180, 17])) for _ in range(3)], degrees=True)
    axes = turn.as_matrix()[:, draw(st.permutations([0, 1, 2]))] * [draw(st.sampled_from([1, -1])) for _ in range(3)]
    matrix = np.eye(4)
    matrix[:3, :3] = axes * [draw(st.sampled_from([0.3, 1.0, 2.5, 7.0])) for _ in range(3)]
    matrix[:3, 3] = [draw(st.sampled_from([0.0, -123.4, 1e3])) for _ in range(3)]
    return VolumeImage(array, matrix, "any", draw(st.sampled_from([None, "MR", "CT"])))


class BoundedNetwork(ThresholdNetwork):
    """With maps in [0, 1], as networks promise them."""

    def forward_with_attention(self, x: torch.Tensor) -> SegmentationOutput:
        output = super().forward_with_attention(x)
        return SegmentationOutput(output.logits, {name: value.clamp(0, 1) for name, value in output.attention.items()})


@pytest.fixture(scope="module")
def a_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoint")


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    volume=volumes(),
    axis=st.sampled_from(["auto", "auto", "i", "j", "k"]),
    force=st.booleans(),
    grid=st.sampled_from(["native", "input"]),
    intensity=st.sampled_from(INTENSITIES),
    fit=st.sampled_from(FITS),
)
def test_any_volume_gives_labels_on_its_grid_or_an_error_of_ours(a_folder, volume, axis, force, grid, intensity, fit):
    before = volume.array.copy()
    checkpoint = checkpoint_of(BoundedNetwork(), a_folder, intensity=intensity, fit=fit)
    try:
        run = SegmentationRun(volume, checkpoint, RunSettings("cpu", axis=axis, force=force, attention_grid=grid))
        list(run)
        result = run.result()
    except MedSegAttentionError:
        return
    finally:
        np.testing.assert_array_equal(volume.array, before)
    assert result.labels.shape == volume.array.shape[:3]
    assert result.labels.dtype == np.uint8
    assert set(np.unique(result.labels)) <= {0, 1}
    assert np.array_equal(result.ijk_to_ras, volume.ijk_to_ras)
    for item in result.attention.values():
        assert np.isfinite(item.array).all()
        assert item.array.min() >= 0
        assert item.array.max() <= 1
        if grid == "input":
            assert item.array.shape == volume.array.shape[:3]
            assert np.array_equal(item.ijk_to_ras, volume.ijk_to_ras)
        else:
            assert_lies_on(item.array.shape, item.ijk_to_ras, run)


def assert_lies_on(shape: tuple[int, ...], ijk_to_ras: np.ndarray, run: SegmentationRun) -> None:
    """The centre of a map is within a cell of the centre of what is no padding."""
    _, rows, columns = run.prepared.content
    plan = run.prepared.plan
    centre = [*((part.start + part.stop - 1) / 2 for part in (columns, rows)), (plan.shape[0] - 1) / 2, 1]
    wanted = plan.to_ras @ centre
    found = ijk_to_ras @ [*((n - 1) / 2 for n in reversed(shape)), 1]
    cell = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    assert np.abs(np.linalg.inv(ijk_to_ras[:3, :3] / cell) @ (found - wanted)[:3] <= cell + 1e-6).all()
