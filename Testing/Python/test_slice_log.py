"""What the command line says while a run goes on."""

from __future__ import annotations

import logging

import pytest

from MedSegAttentionLib.commands import slice_log
from MedSegAttentionLib.commands.slice_log import SliceLog
from MedSegAttentionLib.data.result import RunProgress


@pytest.fixture
def told(monkeypatch, caplog):
    """Slices of a run, with the second at which each is finished, to the lines that are said of them."""
    caplog.set_level(logging.INFO)

    def tell(log: SliceLog, count: int, *slices: tuple[int, float]) -> list[str]:
        caplog.clear()
        for finished, second in slices:
            monkeypatch.setattr(slice_log, "monotonic", lambda second=second: second)
            log(RunProgress(finished, count))
        return caplog.messages

    return tell


def test_the_first_slice_the_time_left_each_tenth_and_the_last_are_said(told):
    seconds = ((n, n * 0.4) for n in range(1, 24))
    assert told(SliceLog(), 23, *seconds) == [
        "slice 1 of 23",
        "slice 3 of 23, about 8 s left",
        "slice 10 of 23, about 5 s left",
        "slice 20 of 23, about 1 s left",
        "slice 23 of 23",
    ]


def test_slices_that_come_at_once_say_nothing_of_the_time_left_and_skipped_tens_are_said(told):
    lines = told(SliceLog(), 400, (1, 0.0), (2, 0.0), (4, 0.0), (8, 2.0), (22, 9.0))
    assert lines == ["slice 1 of 400", "slice 8 of 400, about 2 min left", "slice 22 of 400, about 3 min left"]


def test_a_run_after_another_begins_anew(told):
    log = SliceLog()
    told(log, 3, (1, 0.0), (2, 9.0), (3, 18.0))
    assert told(log, 3, (1, 30.0), (2, 31.0), (3, 32.0)) == [
        "slice 1 of 3",
        "slice 2 of 3, about 1 s left",
        "slice 3 of 3",
    ]
    assert told(SliceLog(), 1, (1, 0.0)) == ["slice 1 of 1"]
