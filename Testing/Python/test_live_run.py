"""A live run: slices as they are asked for, none of them twice, and the rest when it is wanted."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import geometry
from MedSegAttentionLib.data.errors import Cancelled
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.runner import in_process
from MedSegAttentionLib.runner.background import BackgroundRunner
from small_checkpoint import write_checkpoint
from test_background import eventually, finish


@pytest.fixture(scope="module")
def a_checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="module")
def a_live_runner(a_checkpoint):
    """A real worker that was started beforehand, as on entering the module."""
    runner = BackgroundRunner()
    runner.warm_up(a_checkpoint).join(30)
    yield runner
    runner.close()


@pytest.fixture
def a_volume() -> VolumeImage:
    values = np.random.default_rng(2).random((9, 20, 24)).astype(np.float32)
    return VolumeImage(values, geometry("oblique"), "case 1", "MR")


SETTINGS = RunSettings("cpu", force=True)


def test_slices_are_done_as_asked_and_none_twice(a_live_runner, a_volume, a_checkpoint):
    run = a_live_runner.start(a_volume, checkpoint=a_checkpoint, settings=SETTINGS, live=True)
    run.want([5])
    assert eventually(lambda: run.poll() and run.done == [5], 60)
    seen = run.labels[5].copy()
    run.want([5])
    run.want([2])
    assert eventually(lambda: run.poll() and 2 in run.done)
    assert (run.done, run.is_running, run.count) == ([5, 2], True, 9)
    run.want(None)
    result = finish(run).result()
    assert sorted(run.done) == list(range(9))  # each once
    assert run.done[2:] == [0, 1, 3, 4, 6, 7, 8]
    whole = in_process.run(a_volume, checkpoint=a_checkpoint, settings=SETTINGS)
    np.testing.assert_array_equal(result.labels, whole.labels)
    np.testing.assert_array_equal(seen, whole.labels[5])
    for name, item in whole.attention.items():
        np.testing.assert_allclose(result.attention[name].array, item.array, atol=1e-5)
    assert result.slice_range is None


def test_what_was_looked_at_is_kept(a_live_runner, a_volume, a_checkpoint):
    run = a_live_runner.start(a_volume, checkpoint=a_checkpoint, settings=SETTINGS, live=True)
    run.want([1])
    run.want([7])
    assert eventually(lambda: run.poll() and len(run.done) == 2, 60)
    run.cancel(keep=True)
    result = finish(run).result()
    assert result.slice_range == (1, 7)
    assert result.provenance["slices_done"] == [1, 7]
    assert result.provenance["partial"]
    assert result.finished == [(1, 1), (7, 7)]
    assert result.attention == {}  # a map with holes would be no volume
    assert not result.labels[[0, 2, 3, 4, 5, 6, 8]].any()


def test_a_live_run_without_a_slice_leaves_nothing(a_live_runner, a_volume, a_checkpoint):
    run = a_live_runner.start(a_volume, checkpoint=a_checkpoint, settings=SETTINGS, live=True)
    assert eventually(lambda: run.poll() and run.started is not None, 60)
    run.cancel(keep=True)
    with pytest.raises(Cancelled, match="0 of 9 slices"):
        finish(run).result()
