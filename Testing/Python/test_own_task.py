"""A task and a network from outside the tree, from training to the panel; and what a checkpoint may not do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer

from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.checkpoints.adding import add_checkpoint
from MedSegAttentionLib.checkpoints.card_file import CARD_FILE, read_card
from MedSegAttentionLib.checkpoints.catalogue import USER_FOLDER_VARIABLE
from MedSegAttentionLib.checkpoints.loading import load_checkpoint
from MedSegAttentionLib.data.errors import CheckpointError
from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.networks.known import built_in_networks, network_names, package_of
from scene_tools import segments_at
from small_checkpoint import read_card_values, write_card, write_checkpoint
from spine_task import DISTRIBUTION, PACKAGE, install_package, write_card_source, write_config, write_data

pytest_plugins = ["slicer_double.fixtures", "command_fixtures"]
MODULE_FOLDER = Path(__file__).resolve().parents[2] / "MedSegAttention"


@pytest.fixture
def a_package(tmp_path, monkeypatch):
    """A package with ``blob-net``, found by this process and by those that it starts."""
    site = install_package(tmp_path / "site")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    yield site
    sys.modules.pop(PACKAGE, None)


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """The folder of the user's checkpoints."""
    monkeypatch.setenv(USER_FOLDER_VARIABLE, str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.fixture(scope="module")
def an_exported(tmp_path_factory) -> Path:
    """The checkpoint of a short run with ``blob-net``; every command in a process of its own, as a user starts it."""
    folder = tmp_path_factory.mktemp("spine")
    site = install_package(folder / "site")
    config, card = write_config(folder / "spine.json"), write_card_source(folder / "card.json")
    data = write_data(folder / "data" / "spine", {"title": "Made spines", "terms": "none", "citation": "none"})
    command(site, "train", config, "--data", data, "--output", folder / "run", "--threads", 1)
    weights = folder / "run" / "best.safetensors"
    command(site, "export", config, "--weights", weights, "--card", card, "--output", folder / "spine-ct-blob")
    return folder / "spine-ct-blob"


def command(site: Path | None, *arguments: object, code: int = 0, cwd: Path | None = None, **environment: str) -> str:
    """What a command wrote, of a process that finds the packages in ``site``."""
    paths = os.pathsep.join(str(path) for path in (MODULE_FOLDER, site) if path)
    done = subprocess.run(
        [sys.executable, "-m", "MedSegAttentionLib", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def a_scan(exported: Path) -> Path:
    return exported.parent / "data" / "spine" / "images" / "a.nii.gz"


def dice_of(found: np.ndarray, exported: Path) -> float:
    reference = sitk.GetArrayFromImage(sitk.ReadImage(str(exported.parent / "data" / "spine" / "labels" / "a.nii.gz")))
    return 2 * ((found > 0) & (reference > 0)).sum() / ((found > 0).sum() + (reference > 0).sum())


def test_a_new_task_goes_from_training_to_the_command_line(an_exported, tmp_path):
    site, own = an_exported.parent / "site", {USER_FOLDER_VARIABLE: str(tmp_path / "own")}
    told = command(site, "segment", a_scan(an_exported), "--task", "spine", "--output", tmp_path, code=2, **own)
    assert "task 'spine' is not known; expected one of prostate, skin, polyp, abdomen" in told
    told = command(site, "checkpoints", "add", an_exported, **own)
    assert "spine-ct-blob, version 1.0, was added" in told
    told = command(site, "checkpoints", "list", **own)
    assert (
        "spine-ct-blob  CT, version 1.0, default of its task, added by you: Vertebrae, CT (a test) (vertebra)" in told
    )
    out = tmp_path / "out"
    command(site, "segment", a_scan(an_exported), "--task", "spine", "--output", out, "--device", "cpu", **own)
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "a.seg.nrrd")))
    assert dice_of(found, an_exported) > 0.9
    assert json.loads((out / "a.json").read_text())["task"] == "spine"
    told = command(site, "segment", a_scan(an_exported), "--task", "heart", "--output", tmp_path, code=2, **own)
    assert "task 'heart' is not known; expected one of prostate, skin, polyp, abdomen, spine" in told


def test_the_panel_offers_the_task_and_runs_it_in_its_worker(
    an_exported, a_package, own, an_application, a_scene, monkeypatch
):
    """The module as Slicer loads it, with the real list of checkpoints and a real worker process."""
    from slicer_double.application import load_module

    module = load_module(monkeypatch)
    widget = module.MedSegAttentionWidget()
    widget.setup()
    try:
        ui = widget.ui
        entries = [ui.taskComboBox.itemText(n) for n in range(ui.taskComboBox.count)]
        assert entries == ["Prostate", "Skin", "Polyp", "Abdomen"]
        ui.checkpointSourceLineEdit.text = str(an_exported)
        ui.addCheckpointButton.click()
        assert ui.checkpointsStatusLabel.text == "Added spine-ct-blob, version 1.0."
        assert ui.taskComboBox.itemText(4) == "Spine"
        ui.taskComboBox.setCurrentIndex(4)
        assert "Made spines" in ui.modelCardBrowser.plainText
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(a_scan(an_exported))))
        node = slicer.util.addVolumeFromArray(image, name="scan")
        ui.inputVolumeSelector.setCurrentNode(node)
        ui.deviceComboBox.setCurrentIndex(3)
        ui.applyButton.click()
        deadline = time.monotonic() + 120
        while ui.applyButton.text == "Cancel" and time.monotonic() < deadline:
            an_application.processEvents()
            time.sleep(0.02)
        assert ui.statusLabel.text.startswith("Finished"), (ui.statusLabel.text, an_application.shown)
        result = widget.logic.getParameterNode().result
        (found,) = segments_at(result, node).values()
        assert dice_of(found, an_exported) > 0.9
    finally:
        widget.cleanup()
        widget.ui.inputVolumeSelector.setMRMLScene(None)


def test_the_card_says_what_the_task_and_the_network_are(an_exported, a_package):
    card = read_card(an_exported)
    assert (card.task, card.task_title, card.modality) == ("spine", "Spine", "CT")
    assert (card.network, card.network_package) == ("blob-net", f"{DISTRIBUTION} 1.2")
    assert card.labels[0].type.meaning == "Vertebra"
    assert card.labels[0].colour == (220, 210, 170)
    assert "blob-net" in network_names()
    assert load_checkpoint(an_exported).network.stride == 16


def test_without_the_package_the_error_names_it(an_exported, own):
    with pytest.raises(CheckpointError, match=f"package '{DISTRIBUTION} 1.2', which is not installed") as told:
        load_checkpoint(an_exported)
    assert "'blob-net' of the group 'medsegattention.networks' is missing" in str(told.value)
    with pytest.raises(CheckpointError, match="not installed here"):
        add_checkpoint(an_exported, check=load_checkpoint)
    assert not own.exists() or list(own.iterdir()) == []


def test_a_network_that_no_package_is_named_for_is_told_with_those_there_are(tmp_path):
    folder = write_checkpoint(tmp_path / "x")
    write_card(folder, read_card_values(folder) | {"network": "no-net"})
    with pytest.raises(CheckpointError, match=r"none of .*klo-net.*no installed package has an entry point 'no-net'"):
        load_checkpoint(folder)


def test_another_package_with_a_network_of_that_name_is_not_taken(an_exported, tmp_path, monkeypatch):
    site = install_package(tmp_path / "site", {"blob-net": f"{PACKAGE}:listener"}, distribution="other-networks")
    monkeypatch.syspath_prepend(site)
    with pytest.raises(CheckpointError, match=f"comes from the package '{DISTRIBUTION} 1.2', but here it is one of"):
        load_checkpoint(an_exported)
    assert not (site / "was-called").exists()
    both = install_package(tmp_path / "both")
    monkeypatch.syspath_prepend(both)
    with pytest.raises(CheckpointError, match=r"several packages.*(spine|other)-networks"):
        load_checkpoint(an_exported)


def test_a_checkpoint_cannot_bring_the_code_of_its_network(an_exported, own, tmp_path, monkeypatch):
    """A folder with a package in it runs nothing of it, not even when Python is started there."""
    evil = tmp_path / "spine-ct-blob"
    for path in (CARD_FILE, Path("models/model.safetensors")):
        (evil / path).parent.mkdir(parents=True, exist_ok=True)
        (evil / path).write_bytes((an_exported / path).read_bytes())
    install_package(evil, {"blob-net": f"{PACKAGE}:listener"})
    with pytest.raises(CheckpointError, match="not installed here"):
        load_checkpoint(evil)
    with pytest.raises(CheckpointError, match="no part of a checkpoint"):
        add_checkpoint(evil)
    told = command(None, "checkpoints", "verify", ".", code=1, cwd=evil)  # where Python finds what lies there
    assert "not installed here" in told
    assert not (evil / "was-called").exists()


def test_a_built_in_network_cannot_be_replaced(tmp_path, monkeypatch):
    site = install_package(tmp_path / "site", {"klo-net": f"{PACKAGE}:listener"})
    monkeypatch.syspath_prepend(site)
    assert type(build_network("klo-net", in_channels=1, out_channels=1, width=8)).__name__ == "KLONet"
    assert package_of("klo-net") == ""
    assert network_names() == [*built_in_networks()]
    assert not (site / "was-called").exists()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (f"{PACKAGE}:Bare", "is a Bare; expected a torch.nn.Module"),
        ("torch.nn:Conv2d", "does not take these options|lacks forward_with_attention, stride, cells"),
        ("nowhere_at_all:Net", r"cannot be loaded from 'nowhere_at_all:Net' \(ModuleNotFoundError"),
        (f"{PACKAGE}:missing", r"cannot be loaded from .*AttributeError"),
    ],
)
def test_a_package_that_does_not_keep_the_contract_is_told(tmp_path, monkeypatch, entry, words):
    monkeypatch.syspath_prepend(install_package(tmp_path / "site", {"odd-net": entry}))
    sys.modules.pop(PACKAGE, None)
    with pytest.raises(ValueError, match=words):
        build_network("odd-net", in_channels=1, out_channels=1)
    sys.modules.pop(PACKAGE, None)


def test_training_names_the_network_that_is_missing(tmp_path, capsys):
    data, config = write_data(tmp_path / "data" / "spine"), write_config(tmp_path / "spine.json")
    assert main(["train", str(config), "--data", str(data), "--output", str(tmp_path / "run")]) == 1
    assert "no installed package has an entry point 'blob-net'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_complexity_counts_a_network_of_a_package(a_package, capsys):
    assert main(["complexity", "blob-net", "--size", "64"]) == 0
    assert "| blob-net | 1, 1 | 193 |" in capsys.readouterr().out
    assert main(["complexity", "blub-net"]) == 2
    assert "'blub-net'" in capsys.readouterr().err
