"""Fixtures of the tests of the command line; used with ``pytest_plugins = ["command_fixtures"]``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch

from command_tools import bright
from MedSegAttentionLib.__main__ import main
from small_checkpoint import write_checkpoint

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def log_handlers_as_before() -> Iterator[None]:
    """``main`` writes its log to the console it found; later tests have another."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    yield
    root.handlers[:] = handlers


@pytest.fixture(scope="module")
def a_checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def a_case(tmp_path: Path) -> Path:
    sitk.WriteImage(bright(), str(tmp_path / "case.nrrd"))
    return tmp_path / "case.nrrd"


@pytest.fixture
def segment(a_checkpoint, tmp_path) -> Callable[..., int]:
    """``segment(INPUT, options)`` to the folder ``out`` with a checkpoint of known behaviour."""

    def run(source: Path | str, *options: str, checkpoint: Path = a_checkpoint, maps: str = "none") -> int:
        where = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), "--device", "cpu"]
        return main(["segment", str(source), *where, "--attention", maps, *options])

    return run


@pytest.fixture
def ct(tmp_path) -> Path:
    window = {"method": "window", "low": 0, "high": 1000}
    return write_checkpoint(tmp_path / "ct", modality="CT", intensity=window)
