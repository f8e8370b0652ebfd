"""Every ablation runs, on small made data; tables are exact; finished runs are not repeated."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import set_track_meta
from monai.utils import set_determinism

from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.networks import build_network
from MedSegAttentionTraining.ablations import running
from MedSegAttentionTraining.ablations.comparison import Ablation, Row
from MedSegAttentionTraining.ablations.definitions import ABLATIONS
from MedSegAttentionTraining.ablations.peers import build
from MedSegAttentionTraining.ablations.report import COLUMNS, page_text, read_runs, write_page
from MedSegAttentionTraining.data.cases import DataFolder, read_folder
from MedSegAttentionTraining.fitting import loop
from MedSegAttentionTraining.fitting.config import Stage
from MedSegAttentionTraining.fitting.loop import Options
from MedSegAttentionTraining.publishing.results import ABLATION_RESULTS

torch.set_num_threads(1)
ROWS = [(name, row) for name, ablation in ABLATIONS.items() for row in ablation.rows]
SIDE = 48


SCAN = {"width": 8, "depths": [1, 1, 1, 1], "decoder_depths": [1, 1, 1, 1]}
NARROW = {
    **{name: {"width": 8} for name in ("unet", "csp-unet", "knn-unet", "klo-net", "klo-lite", "km-unet", "setr-cvt")},
    "vm-unet": SCAN,
    "vmkla-unet": SCAN,
    **{name: {"width": 32, "depth": 2} for name in ("setr", "setr-conv")},
    "monai-basic-unet": {"features": [8] * 6},
    "monai-dyn-unet": {"filters": [8] * 5},
}


def small(name: str) -> Ablation:
    """The ablation with its first and last row, narrow networks, one epoch of two steps, 64 x 64 pixels."""
    ablation = ABLATIONS[name]
    rows = (ablation.rows[0], ablation.rows[-1])
    fit = ablation.base.stages[0].fit | {"size": 64}
    base = replace(ablation.base, stages=[Stage(fit, 1)], batch_size=2, epoch_slices=4, augmentation={})
    return replace(ablation, base=base, rows=tuple(_narrow(row) for row in rows), seeds=1)


def _narrow(row: Row) -> Row:
    """Narrower, unless it starts from a checkpoint; there are two cases to learn from."""
    network = row.network if row.start else row.network | NARROW[row.network["name"]]
    return replace(
        row,
        network=network,
        training=row.training | ({"training_cases": 1} if "training_cases" in row.training else {}),
    )


def write_data(folder: Path, ablation: Ablation) -> DataFolder:
    """Three cases of noise with a bright square for each class: volumes of two slices, or colour pictures."""
    classes, colour, rng = ablation.base.classes, ablation.base.in_channels == 3, np.random.default_rng(0)
    for name in "abc":
        labels = np.zeros((2, SIDE, SIDE), np.uint8)
        for value in range(1, len(classes) + 1):
            labels[:, 8 * value : 8 * value + 8, 10:30] = value
        image = rng.normal(60, 5, labels.shape) + 30 * labels
        arrays = {"images": image.astype(np.float32), "masks": labels}
        if colour:
            arrays = {"images": np.stack([image[0]] * 3, -1).astype(np.uint8), "masks": labels[0]}
        for sub, array in arrays.items():
            (folder / sub).mkdir(parents=True, exist_ok=True)
            picture = sitk.GetImageFromArray(array, isVector=colour and sub == "images")
            if not colour:
                picture.SetSpacing((1.5, 1.5, 3.0))
            sitk.WriteImage(picture, str(folder / sub / f"{name}.{'png' if colour else 'nii.gz'}"))
    about = {"labels": {name: value for value, name in enumerate(classes, 1)}, "spacing_is_real": not colour}
    (folder / "dataset.json").write_text(json.dumps(about))
    return read_folder(folder)


@pytest.fixture(autouse=True)
def quiet_globals(monkeypatch):
    """MONAI's switches are global: put them back. Learning curves are drawn in the tests of training."""
    monkeypatch.setattr(running, "ROUNDS", 1)
    monkeypatch.setattr(loop, "draw_learning_curve", lambda *_: None)
    yield
    set_determinism(None)
    set_track_meta(True)


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name}: {row.label}" for name, row in ROWS])
def test_every_row_is_a_network_for_its_data(name, row):
    base = ABLATIONS[name].config(row, 0)
    options = {"in_channels": base.network_channels, "out_channels": base.out_channels}
    network = build(row.network["name"], **options, **base.network_options).eval()
    with torch.no_grad():
        logits = network.forward_with_attention(torch.rand(1, base.network_channels, 64, 64)).logits
    assert logits.shape == (1, base.out_channels, 64, 64)
    assert logits.isfinite().all()


def test_rows_of_an_ablation_differ_in_name_and_network():
    for name, ablation in ABLATIONS.items():
        for values in ([row.label for row in ablation.rows], [row.definition for row in ablation.rows]):
            assert len(set(values)) == len(values), name


@pytest.mark.parametrize("name", list(ABLATIONS))
def test_two_steps_of_two_rows_fill_table_and_figure(name, tmp_path):
    ablation = small(name)
    data = write_data(tmp_path / "data" / "made", ablation)
    running.run_ablation(name, ablation, data, tmp_path / "runs", tmp_path / "results", Options(threads=1))
    runs = read_runs(tmp_path / "results" / f"{name}.csv")
    assert [run["row"] for run in runs] == [row.label for row in ablation.rows]
    for run, row in zip(runs, ablation.rows, strict=True):
        config = ablation.config(row, 0)
        options = {"in_channels": config.network_channels, "out_channels": config.out_channels}
        network = build(row.network["name"], **options, **config.network_options)
        assert int(run["parameters"]) == sum(value.numel() for value in network.parameters())
        assert int(run["mac"]) > 1e6
        learned = str(row.training.get("training_cases", 2))
        assert (run["steps"], run["training_cases"], run["cases"], run["data"]) == ("2", learned, "1", "data/made")
        assert all(0 <= float(run[figure]) <= 1 for figure in ("dice", "jaccard", "weighted_jaccard"))
        # Two slices: the middle third has none.
        filled = [bool(run[f"dice_{third}"]) for third in ("base", "mid", "apex")]
        assert sum(filled) == (2 if ablation.base.task == "prostate" else 0)
        tau = json.loads(run["tau"] or "{}")
        assert {f"tau_{stage}" for stage in getattr(network, "attention", ())} == set(tau)
        assert all(sum(stage["histogram"]) == stage["positions"] > 0 for stage in tau.values())
        assert all(1 <= stage["mean_k"] <= stage["k_max"] for stage in tau.values())
    page = write_page(name, ablation, tmp_path / "results", 2)
    assert "not run" not in page.read_text(encoding="utf-8")
    assert (tmp_path / "results" / f"{name}.png").stat().st_size > 5000
    assert not list((tmp_path / "runs").rglob("last.pt"))
    origins = [json.loads(path.read_text())["pretrained"] for path in (tmp_path / "runs").rglob("run.json")]
    starts = {origin["name"] for origin in origins if origin and origin.get("kind")}
    assert starts == {row.start for row in ablation.rows if row.start}


def test_what_is_finished_is_not_done_again(tmp_path, monkeypatch):
    ablation = small("klo-rows")
    data, runs, results = write_data(tmp_path / "made", ablation), tmp_path / "runs", tmp_path / "results"

    def go(labels: list[str] | None = None) -> list[tuple[str, str]]:
        running.run_ablation("klo-rows", ablation, data, runs, results, Options(threads=1), 2, labels)
        return [(run["row"], run["seed"]) for run in read_runs(results / "klo-rows.csv")]

    first, last = (row.label for row in ablation.rows)
    with monkeypatch.context() as patch:  # interrupted between training and measuring
        patch.setattr(running, "measure", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            go([first])
    assert go([first]) == [(first, "0"), (first, "1")]
    assert all(len(log.read_text().splitlines()) == 2 for log in runs.rglob("log.csv"))  # names and one epoch
    assert go() == [(first, "0"), (first, "1"), (last, "0"), (last, "1")]
    with monkeypatch.context() as patch:
        patch.setattr(running, "train_and_measure", lambda *_: pytest.fail("trained again"))
        assert len(go()) == 4


def test_the_command_makes_a_trial_and_says_what_was_not_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(ABLATIONS, "peer", small("peer"))
    folder = tmp_path / "made" / "discs"
    write_data(folder, ABLATIONS["peer"])
    with open(tmp_path / "splits.csv", "w", newline="") as file:
        rows = [["made/discs", name, "test" if name == "c" else "train"] for name in "abc"]
        csv.writer(file).writerows([["dataset", "case", "split"], *rows])
    command = ["ablate", "peer", "--data", str(folder), "--splits", str(tmp_path / "splits.csv")]
    command += ["--output", str(tmp_path / "runs"), "--steps", "1", "--threads", "1"]
    assert main([*command, "--rows", "nobody"]) == 2
    assert "nobody" in capsys.readouterr().err
    assert main([*command, "--rows", "MONAI DynUNet"]) == 0
    (run,) = read_runs(tmp_path / "runs" / "peer.csv")
    assert (run["steps"], run["training_cases"], run["cases"]) == ("1", "1", "1")  # the test case is not among them
    page = (tmp_path / "runs" / "peer.md").read_text()
    assert "| KLO-Net, width 16 (as shipped) | not run |" in page
    assert f"| MONAI DynUNet | 1 | {int(run['parameters']):,} | " in page
    assert main(["ablate", "nothing"]) == 2
    assert main(["ablate", "peer", "--data", str(folder)]) == 2


def a_run(row: str, seed: int, dice: float, tau: str = "", hd95: str = "7.25", network: str = "unet") -> dict[str, str]:
    figures = {"dice": str(dice), "jaccard": str(dice / 2), "weighted_jaccard": "0.5", "hd95": hd95, "hd95_unit": "mm"}
    figures |= {"dice_base": str(dice - 0.1), "dice_apex": ""}
    counts = {"training_cases": "24", "cases": "8", "parameters": "1963809", "mac": "868000000", "steps": "4"}
    machine = {"ms_per_slice": "12.4", "training_seconds": "60", "device": "cpu, 1 threads", "data": "a/b"}
    return (
        figures
        | counts
        | machine
        | {"row": row, "seed": str(seed), "network": json.dumps({"name": network}), "tau": tau}
    )


def test_the_table_is_exact(tmp_path):
    rows = tuple(Row(label, {"name": name}) for label, name in (("U", "unet"), ("KLO", "klo-net"), ("new", "km-unet")))
    ablation = replace(
        ABLATIONS["klo-rows"], title="Title", question="Why?", rows=rows, seeds=2, finding="What came out."
    )
    stage = {"mean": 0.5, "mean_k": 32.25, "share_k_min": 0.011, "share_k_max": 0.2, "histogram": [1, 3]}
    runs = [
        a_run("U", 0, 0.8),
        a_run("U", 1, 0.9, hd95=""),
        a_run("KLO", 0, 0.7, json.dumps({"tau_stage4": stage}), network="klo-net"),
        a_run("new", 0, 0.7, network="vm-unet"),  # defined otherwise in the meantime
    ]
    with open(tmp_path / "two.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(runs)
    page = write_page("two", ablation, tmp_path, 4).read_text(encoding="utf-8").splitlines()
    assert page[:5] == [
        *("# Title", "", "Why?", ""),
        "Data: `a/b`, training split (24 cases trained on, 8 measured on). 96 x 96 pixels of "
        "2 mm, 4 steps of 8 slices, learning rate 0.001, 2 seeds.",
    ]
    assert page[6:11] == [
        "|  | seeds | parameters | G MAC | Dice | Jaccard | weighted Jaccard | HD95, mm | ms a slice | Dice, base | "
        "tau: mean; neighbours (share at k_min, at k_max) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| U | 2 | 1,963,809 | 0.868 | 0.850 ± 0.071 | 0.425 ± 0.035 | 0.500 ± 0.000 | 7.2 | 12 ± 0 | "
        "0.750 ± 0.071 |  |",
        "| KLO | 1 | 1,963,809 | 0.868 | 0.700 | 0.350 | 0.500 | 7.2 | 12 | 0.600 | stage4 0.50; 32.2 (1%, 20%) |",
        "| new | not run |  |  |  |  |  |  |  |  |  |",
    ]
    command = "python -m MedSegAttentionLib ablate two --data DATA/a/b --splits DATA/splits.csv"
    assert f"{command} --output RUNS" in page
    assert "What came out." not in page  # not every row has its two seeds
    (tmp_path / "two.csv").write_text((tmp_path / "two.csv").read_text().replace("vm-unet", "km-unet"))
    for seeds, said in ((2, 0), (1, 1)):
        whole = replace(ablation, rows=rows[1:], seeds=seeds)
        assert write_page("two", whole, tmp_path, 4).read_text(encoding="utf-8").count("What came out.") == said
    assert (tmp_path / "two.png").stat().st_size > 5000


@pytest.mark.parametrize("name", list(ABLATIONS))
def test_the_published_page_is_that_of_its_runs(name, tmp_path):
    """A definition that changed makes its rows 'not run'; ``ablate`` without data writes the pages anew."""
    ablation, source = ABLATIONS[name], ABLATION_RESULTS / f"{name}.csv"
    if source.is_file():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    wanted = write_page(name, ablation, tmp_path, ablation.steps).read_text(encoding="utf-8")
    assert (ABLATION_RESULTS / f"{name}.md").read_text(encoding="utf-8") == wanted


def test_attention_goes_where_it_is_asked_for():
    network = build_network("klo-net", in_channels=1, out_channels=1, width=8, attention_stages=["stage3", "stage2"])
    maps = network.eval().forward_with_attention(torch.rand(1, 1, 64, 64)).attention
    assert {name: tuple(value.shape[-2:]) for name, value in maps.items() if name.startswith("tau")} == {
        "tau_stage2": (32, 32),
        "tau_stage3": (16, 16),
    }
    row = network.attention_row(torch.rand(1, 1, 64, 64), "stage2", (31, 3))
    assert row.shape == (1, 1, 32, 32)
    assert row.sum().item() == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="stage1"):
        build_network("klo-net", in_channels=1, out_channels=1, attention_stages=["stage1"])


def test_a_convolution_sees_seven_pixels_where_a_scan_sees_all():
    for scan, far in (("convolution", False), ("cross", True)):
        torch.manual_seed(0)
        sem = build_network("km-unet", in_channels=1, out_channels=1, width=8, scan=scan).skip_sem[0]
        x = torch.rand(1, 24, 24, 8, requires_grad=True)
        sem.ss2d(x)[0, 2, 2].sum().backward()
        assert bool(x.grad[0, 12:, 12:].abs().sum() > 0) is far
        assert float(x.grad[0, 2, 5].abs().sum()) > 0


def test_page_of_nothing_has_no_figure():
    text = page_text("kv", ABLATIONS["kv"], {row.label: [] for row in ABLATIONS["kv"].rows}, 7)
    assert text.count("not run") == 3
    assert ".png" not in text
