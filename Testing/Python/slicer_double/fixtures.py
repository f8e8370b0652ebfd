"""Fixtures of the module's tests; used with ``pytest_plugins = ["slicer_double.fixtures"]``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import slicer

from MedSegAttentionLib.data.card import Card
from MedSegAttentionLib.data.result import VolumeResult

from .application import Application, install, load_module
from .fakes import FakeRunner, a_card
from .widgets import forget_combo_boxes


@pytest.fixture
def an_application(monkeypatch: pytest.MonkeyPatch, a_scene: slicer.vtkMRMLScene) -> Application:
    return install(monkeypatch, a_scene)


@pytest.fixture
def a_runner(a_result: VolumeResult) -> FakeRunner:
    return FakeRunner(a_result)


@pytest.fixture
def a_module(monkeypatch: pytest.MonkeyPatch, an_application: Application) -> Iterator[ModuleType]:
    """``MedSegAttention.py`` as executed, with three checkpoints installed."""
    library = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "MedSegAttentionLib"}
    module = load_module(monkeypatch)
    cards = [a_card("abdomen-ct-x", "abdomen"), a_card("abdomen-mr-x", "abdomen"), a_card("prostate-x", "prostate")]
    cards[1] = replace(cards[1], modality="MR")
    cards[-1] = replace(cards[-1], flips=("horizontal",))
    monkeypatch.setattr("MedSegAttentionLib.logic.checkpoints.list_checkpoints", lambda: cards)
    logic = module.MedSegAttentionLogic
    monkeypatch.setattr(logic, "checkpointFor", lambda _self, _volume, task, wanted=None: _choose(cards, task, wanted))
    monkeypatch.setattr(logic, "licence", lambda _self, checkpoint: f"Licence of {checkpoint}")
    for card in cards:
        an_application.settings[f"MedSegAttention/AcceptedLicences/{card.id}@{card.version}"] = "true"
    yield module
    sys.modules.update(library)  # a reload forgot them
    forget_combo_boxes()


def _choose(cards: list[Card], task: str, wanted: str | None) -> Card:
    return next(card for card in cards if card.task == task and wanted in (None, card.id))


@pytest.fixture
def a_logic(a_module: ModuleType, a_runner: FakeRunner) -> Any:
    return a_module.MedSegAttentionLogic(a_runner, a_runner)


@pytest.fixture
def open_module(
    monkeypatch: pytest.MonkeyPatch, a_module: ModuleType, a_runner: FakeRunner
) -> Iterator[Callable[[], Any]]:
    """Call it to open the module's panel; gives the module's widget."""
    logic_class = a_module.MedSegAttentionLogic
    monkeypatch.setattr(a_module, "MedSegAttentionLogic", lambda: logic_class(a_runner, a_runner))
    opened = []

    def open_it() -> Any:
        opened.append(a_module.MedSegAttentionWidget())
        opened[-1].setup()
        return opened[-1]

    yield open_it
    for widget in opened:
        if not widget.panel._closed:
            widget.cleanup()
        widget.ui.inputVolumeSelector.setMRMLScene(None)


@pytest.fixture
def a_widget(a_volume_node: slicer.vtkMRMLScalarVolumeNode, open_module: Callable[[], Any]) -> Any:
    """The open module after a run on the abdomen."""
    widget = open_module()
    widget.ui.taskComboBox.setCurrentIndex(3)
    widget.ui.applyButton.click()
    return widget
