"""Several slices at once on a CPU: the same results, PyTorch's threads shared among them, and waits that are short."""

import os

import numpy as np
import pytest
import torch

from MedSegAttentionLib.inference.lanes import Lanes
from MedSegAttentionLib.runner.in_process import RunSettings, run
from MedSegAttentionLib.runner.threads import POLICIES, SPINS, wait_briefly
from small_checkpoint import MAPS, write_checkpoint
from test_prediction import stairs


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_slices_side_by_side_give_what_one_after_the_other_gives(two_threads, tmp_path):
    folder = write_checkpoint(tmp_path / "checkpoint")
    together, one = (run(stairs(), checkpoint=folder, settings=RunSettings("cpu", size)) for size in (None, 1))
    assert together.provenance["batch_size"] == 2
    np.testing.assert_array_equal(together.labels, one.labels)
    for name in MAPS:
        np.testing.assert_allclose(together.attention[name].array, one.attention[name].array, atol=1e-5)


def test_lanes_share_the_threads_and_leave_those_of_others_alone(two_threads):
    lanes = Lanes(2)
    assert lanes.each(lambda item: (item, torch.get_num_threads()), range(6)) == [(item, 1) for item in range(6)]
    assert torch.get_num_threads() == 2
    assert lanes.each(lambda _item: torch.get_num_threads(), [0]) == [2]  # a single one gets all


def test_an_error_of_a_lane_is_raised(two_threads):
    def fail(item: int) -> int:
        if item == 3:
            raise RuntimeError("out of memory")
        return item

    with pytest.raises(RuntimeError, match="out of memory"):
        Lanes(2).each(fail, range(4))


@pytest.mark.parametrize("chosen", [None, *POLICIES])
def test_threads_wait_briefly_unless_the_user_said_how(chosen, monkeypatch):
    for name in POLICIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")  # so that it is put back afterwards
    monkeypatch.delenv("GOMP_SPINCOUNT")
    if chosen:
        monkeypatch.setenv(chosen, "passive" if "POLICY" in chosen else "7")
    wait_briefly()
    expected = {None: str(SPINS), "GOMP_SPINCOUNT": "7", "OMP_WAIT_POLICY": None}[chosen]
    assert os.environ.get("GOMP_SPINCOUNT") == expected
