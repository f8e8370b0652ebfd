"""The evaluate command with predictors whose figures are known beforehand; and the learning curve."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from MedSegAttentionLib.data.card import AttentionMap
from MedSegAttentionLib.data.errors import CheckpointError, InputError, UsageError
from MedSegAttentionLib.data.result import AttentionVolume, VolumeResult
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionTraining.data.cases import read_case, read_folder
from MedSegAttentionTraining.fitting.curves import draw_learning_curve
from MedSegAttentionTraining.measuring.evaluation import evaluate
from MedSegAttentionTraining.measuring.metrics import FIGURES

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
CODE = ["SCT", "123037004", "Anatomical structure"]


def _checkpoint(folder: Path, names: list[str], **network_config: int) -> Path:
    """A checkpoint folder with a card but no weights: enough where the test predicts."""
    codes = {"category": CODE, "type": CODE}
    card = {
        **dict.fromkeys(("id", "version", "title", "description", "license", "weights_sha256"), "test"),
        "intensity": {"method": "window", "low": 0, "high": 1},
        "fit": {"fit": "spacing", "mm": 1.0, "size": 32},
        "expects": {"minimum": [None, None], "maximum": [None, None]},
        "postprocessing": {},
        **{key: [] for key in ("attention", "training_data", "limits")},
        "task": "abdomen",
        "modality": "CT",
        "network": "klo-net",
        "network_config": network_config,
        "in_channels": 1,
        "activation": "softmax",
        "labels": [{"name": name, "colour": [1, 2, 3], "codes": codes} for name in names],
        "orientation": "axial",
    }
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps({"medsegattention": card}))
    return folder


def _data(folder: Path, masks: dict[str, np.ndarray], labels: dict, spacing_is_real: bool = True) -> Path:
    """A data folder; the image of a case has the shape of its mask and voxels of 0.5 x 0.5 x 4 mm."""
    for sub in ("images", "labels"):
        (folder / sub).mkdir(parents=True)
        for name, mask in masks.items():
            image = SimpleITK.GetImageFromArray(mask if sub == "labels" else mask.astype(np.int16) * 100)
            image.SetSpacing((0.5, 0.5, 4.0))
            SimpleITK.WriteImage(image, str(folder / sub / f"{name}.nrrd"))
    about = {"labels": {"background": 0, **labels}, "spacing_is_real": spacing_is_real}
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


class _Predictor:
    """Answers with given labels, by name of the volume."""

    def __init__(self, labels: dict[str, np.ndarray], attention: dict[str, np.ndarray] | None = None) -> None:
        self.labels, self.attention = labels, attention or {}

    def __call__(self, volume: VolumeImage) -> VolumeResult:
        maps = {
            name: AttentionVolume(AttentionMap(name, name, ""), array, np.eye(4))
            for name, array in self.attention.items()
        }
        positions = {"attention_positions": {name: array[0].size for name, array in self.attention.items()}}
        return VolumeResult(volume.name, self.labels[volume.name], volume.ijk_to_ras, (), maps, positions)


def _cube(value: int, *corners: int) -> np.ndarray:
    """``[6, 10, 10]`` uint8, 0 but for cubes of side 2 at ``corners`` (the same along all axes), value by value."""
    array = np.zeros((6, 10, 10), np.uint8)
    for number, corner in enumerate(corners):
        array[corner : corner + 2, corner : corner + 2, corner : corner + 2] = value + number
    return array


@pytest.fixture
def report(tmp_path: Path) -> dict:
    """Checkpoint: aorta 1, spleen 2, liver 3. Data: Liver 5, spleen 6, esophagus 7; two real cases and an empty one."""
    checkpoint = _checkpoint(tmp_path / "model", ["aorta", "spleen", "liver"])
    masks = {"both": _cube(5, 0, 3), "liver only": _cube(5, 0), "empty": _cube(5)}
    data = _data(tmp_path / "set" / "small", masks, {"Liver": 5, "spleen": 6, "esophagus": 7})
    shifted = np.roll(_cube(3, 0), 1, axis=0)  # the liver one slice off; no spleen; 4 of 8 voxels shared
    found = {"both": shifted, "liver only": _cube(3, 0) + _cube(2, 3), "empty": _cube(1, 1)}
    paths = {"json_path": tmp_path / "out" / "report.json", "csv_path": tmp_path / "out" / "report.csv"}
    return {**evaluate(checkpoint, data, **paths, predict=_Predictor(found)), "paths": paths}


def test_a_case_is_the_mean_over_the_classes_of_its_reference(report):
    both, empty, liver_only = report["cases"]
    assert [case["case"] for case in report["cases"]] == ["both", "empty", "liver only"]
    assert both["per_class"]["liver"]["dice"] == pytest.approx(0.5)
    assert both["per_class"]["spleen"]["dice"] == 0
    assert both["dice"] == pytest.approx(0.25)
    assert liver_only["dice"] == 1
    assert empty["dice"] == 1
    assert report["mean"]["dice"] == pytest.approx((0.25 + 1 + 1) / 3)


def test_distances_are_in_mm_where_the_spacing_is_real(report):
    assert report["hd95_unit"] == "mm"
    assert report["cases"][0]["per_class"]["liver"]["hd95"] == pytest.approx(4.0)
    assert report["cases"][0]["hd95"] == pytest.approx(4.0)
    assert report["mean"]["hd95"] == pytest.approx(2.0)


def test_distances_are_in_pixels_where_it_is_not(tmp_path):
    checkpoint = _checkpoint(tmp_path / "model", ["liver"])
    data = _data(tmp_path / "set", {"a": _cube(1, 0)}, {"liver": 1}, spacing_is_real=False)
    report = evaluate(checkpoint, data, predict=_Predictor({"a": np.roll(_cube(1, 0), 1, axis=0)}))
    assert report["hd95_unit"] == "pixels"
    assert report["mean"]["hd95"] == pytest.approx(1.0)


def test_means_of_a_class_are_over_the_cases_where_it_counts(report):
    assert list(report["per_class"]) == ["spleen", "liver"]
    assert report["per_class"]["liver"]["dice"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert report["per_class"]["liver"]["cases"] == 3
    assert report["per_class"]["spleen"]["dice"] == pytest.approx((0 + 1) / 2)


def test_the_papers_averages_and_intervals_stand_beside_ours(report):
    low, high = report["interval"]["dice"]
    assert 0.25 <= low < report["mean"]["dice"] < high <= 1
    liver = report["averages"]["pooled"]["liver"]  # 4 + 8 + 0 of 8 + 8 + 0 voxels found, no voxel too many elsewhere
    assert liver["dice"] == pytest.approx(2 * 12 / (16 + 16))
    assert report["averages"]["per_slice"]["liver"]["slices"] == 5
    assert {"interval", "per_slice", "pooled"} <= set(report["rules"])


def test_exceptions_are_counted_and_listed(report):
    rules = report["rules"]
    assert rules["left_out"] == ["esophagus"]
    assert rules["not_in_data"] == ["aorta"]
    assert rules["nothing_to_find_and_nothing_found"] == {
        "count": 2,
        "list": [{"case": "empty", "class": name, "counts": True} for name in ("spleen", "liver")],
    }
    assert rules["found_but_not_in_reference"]["list"] == [{"case": "liver only", "class": "spleen", "counts": False}]
    assert rules["in_reference_but_not_found"]["list"] == [{"case": "both", "class": "spleen", "counts": True}]
    assert rules["hd95_undefined"]["count"] == 4


def test_an_invented_class_in_an_empty_case_is_zero(tmp_path):
    checkpoint = _checkpoint(tmp_path / "model", ["liver", "spleen"])
    data = _data(tmp_path / "set", {"a": _cube(1)}, {"liver": 1, "spleen": 2})
    report = evaluate(checkpoint, data, predict=_Predictor({"a": _cube(1, 1)}))
    assert report["mean"]["dice"] == 0
    assert report["mean"]["hd95"] is None


def test_json_is_what_was_returned_and_strict(report):
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = report["paths"]["json_path"].read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse) == {key: report[key] for key in report if key != "paths"}
    assert {"checkpoint", "data", "cases", "mean", "per_class", "tau", "rules"} <= set(report)
    assert (report["checkpoint"], report["data"]) == ("test", "set/small")
    assert set(FIGURES) <= set(report["mean"]) & set(report["cases"][0]) & set(report["per_class"]["liver"])


def test_csv_has_a_row_for_each_case_and_class_and_the_mean(report):
    with open(report["paths"]["csv_path"], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["class"]) for row in rows[:2]] == [("both", "spleen"), ("both", "liver")]
    assert len(rows) == 3 * 2 + 1
    assert rows[0]["hd95"] == ""
    assert rows[-1]["case"] == "mean"
    assert float(rows[-1]["dice"]) == pytest.approx(report["mean"]["dice"])


def test_no_class_in_common_is_refused(tmp_path):
    checkpoint = _checkpoint(tmp_path / "model", ["polyp"])
    data = _data(tmp_path / "set", {"a": _cube(1, 0)}, {"liver": 1})
    with pytest.raises(InputError, match=r"\['polyp'\].*\['liver'\]"):
        evaluate(checkpoint, data, predict=_Predictor({}))


@pytest.mark.parametrize("part", ["selection", "fitted"])
def test_a_part_of_the_training_cases_needs_the_configuration_that_divides_them(tmp_path, part):
    data = _data(tmp_path / "set", {"a": _cube(1, 0)}, {"liver": 1})
    with pytest.raises(UsageError, match=rf"'{part}' needs --config"):
        evaluate(tmp_path / "model", data, part, predict=_Predictor({}))


def test_a_missing_checkpoint_is_refused(tmp_path):
    data = _data(tmp_path / "set", {"a": _cube(1, 0)}, {"liver": 1})
    with pytest.raises(CheckpointError, match="nowhere"):
        evaluate(tmp_path / "nowhere", data, predict=_Predictor({}))


def test_a_failing_case_ends_the_evaluation_and_writes_nothing(tmp_path):
    def fail(volume: VolumeImage) -> VolumeResult:
        raise InputError(f"'{volume.name}' cannot be used")

    checkpoint = _checkpoint(tmp_path / "model", ["liver"])
    data = _data(tmp_path / "set", {"a": _cube(1, 0)}, {"liver": 1})
    with pytest.raises(InputError, match="'a' cannot be used"):
        evaluate(checkpoint, data, json_path=tmp_path / "report.json", predict=fail)
    assert not (tmp_path / "report.json").exists()


def test_masks_with_other_values_than_the_description_score_nothing(tmp_path):
    checkpoint = _checkpoint(tmp_path / "model", ["liver"])
    data = _data(tmp_path / "set", {"a": _cube(255, 0)}, {"liver": 1})
    with pytest.raises(InputError, match=r"hold the values \[255\]"):
        evaluate(checkpoint, data, predict=_Predictor({"a": _cube(1, 0)}))


def test_tau_is_counted_over_all_cases_with_the_bounds_of_the_card(tmp_path):
    checkpoint = _checkpoint(tmp_path / "model", ["liver"], k_min=4, k_max=16)
    data = _data(tmp_path / "set", {"a": _cube(1, 0), "b": _cube(1, 0)}, {"liver": 1})
    tau = np.tile(np.array([[0.1, 0.5], [0.96, 0.96]], np.float32), (1, 2, 2))
    k_share = np.tile(np.array([[4, 8], [15, 15]], np.float32) / 16, (1, 2, 2))
    attention = {"tau_stage4": tau, "k_stage4": k_share, "tau_bottleneck": tau}
    report = evaluate(checkpoint, data, predict=_Predictor(dict.fromkeys("ab", _cube(1, 0)), attention))
    assert set(report["tau"]) == {"tau_stage4", "tau_bottleneck"}
    for statistics in report["tau"].values():
        assert statistics["positions"] == 32
        assert statistics["share_k_min"] == 0.25
        assert statistics["share_k_max"] == 0.5
        assert (len(statistics["histogram"]), statistics["histogram"][19]) == (20, 16)


def test_bounds_of_k_default_to_those_of_the_layer_and_case_of_names_is_ignored(tmp_path):
    checkpoint = _checkpoint(tmp_path / "model", ["Liver"])
    data = _data(tmp_path / "set", {"a": _cube(1, 0)}, {"liver": 1})
    predict = _Predictor({"a": _cube(1, 0)}, {"tau_stage4": np.full((1, 2, 2), 0.5, np.float32)})
    statistics = evaluate(checkpoint, data, predict=predict)["tau"]["tau_stage4"]
    assert (statistics["k_min"], statistics["k_max"]) == (8, 64)


@pytest.mark.parametrize(
    ("dataset", "split", "name", "unit"),
    [("prostate/prostate158_sample", None, "prostate", "mm"), ("polyp/etis_larib", "test", "polyp", "pixels")],
)
def test_the_reference_itself_is_perfect_on_real_data(tmp_path, dataset, split, name, unit):
    """Zones that make up one gland, and pictures with masks of 0 and 255."""
    if not (SHARED / dataset / "dataset.json").is_file():
        pytest.skip(f"the data set {dataset} is not on this machine")
    data = read_folder(SHARED / dataset, split, SHARED / "splits.csv")
    masks = {case.name: read_case(data, case, [name])[1] for case in data.cases}
    checkpoint = _checkpoint(tmp_path / "model", [name.upper()])
    report = evaluate(checkpoint, data.path, split, SHARED / "splits.csv", predict=_Predictor(masks))
    assert len(report["cases"]) == len(masks) >= 2
    assert all(mask.any() for mask in masks.values())
    assert report["mean"] == {**dict.fromkeys(FIGURES, 1.0), "hd95": 0.0}
    assert report["hd95_unit"] == unit


def _log(path: Path, taus: str) -> Path:
    rows = [
        f"{epoch},{epoch // 4},{128 + 64 * (epoch // 4)},0.001,{1 / epoch},0.5,0.5,{taus},1" for epoch in range(1, 7)
    ]
    path.write_text("\n".join(["epoch,stage,size,learning_rate,loss,dice,best,tau_mean,seconds", *rows]) + "\n")
    return path


def test_the_learning_curve_is_a_picture_with_a_tau_panel_where_there_is_tau(tmp_path):
    draw_learning_curve(_log(tmp_path / "log.csv", "0.5"), tmp_path / "curve.png")
    draw_learning_curve(_log(tmp_path / "without.csv", "nan"), tmp_path / "without.png")
    with Image.open(tmp_path / "curve.png") as curve, Image.open(tmp_path / "without.png") as without:
        assert curve.size == (900, 1000)
        assert without.size == (900, 700)
        colours = {tuple(colour) for colour in np.asarray(curve.convert("RGB")).reshape(-1, 3).tolist()}
    assert {(31, 119, 180), (255, 127, 14), (148, 103, 189)} <= colours  # loss, best Dice and tau are drawn


def test_a_learning_curve_needs_an_epoch(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,stage\n")
    with pytest.raises(InputError, match="no epoch yet"):
        draw_learning_curve(tmp_path / "log.csv", tmp_path / "curve.png")
    (tmp_path / "log.csv").write_text("epoch,stage\n1,0\n")
    with pytest.raises(InputError, match="lacks the columns"):
        draw_learning_curve(tmp_path / "log.csv", tmp_path / "curve.png")
    with pytest.raises(InputError, match="does not exist"):
        draw_learning_curve(tmp_path / "other.csv", tmp_path / "curve.png")
