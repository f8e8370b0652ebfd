"""Training from a folder to a checkpoint that segments, on small made volumes."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.utils import set_determinism

from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.checkpoints.loading import load_checkpoint
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionLib.networks import build_network
from MedSegAttentionTraining.data.cases import read_folder
from MedSegAttentionTraining.fitting.config import read_config
from MedSegAttentionTraining.fitting.loop import Options, Trainer
from MedSegAttentionTraining.fitting.parts import balanced, parts_of, split_cases
from MedSegAttentionTraining.publishing.bundle import OF_ITS_WEIGHTS

TRAINING = Path(__file__).resolve().parents[2] / "MedSegAttention" / "MedSegAttentionTraining"
CONFIGS, CARDS = TRAINING / "configs", TRAINING / "cards"
CASES = ("a", "b", "c", "d")


@pytest.fixture
def a_data_folder(tmp_path: Path) -> Path:
    """Four volumes of noise with a bright disc, case d in the test split."""
    folder = tmp_path / "made" / "discs"
    rows, columns = np.mgrid[:40, :40]
    rng = np.random.default_rng(0)
    for number, name in enumerate(CASES):
        disc = ((rows - 18 - number) ** 2 + (columns - 20) ** 2 < 64).astype(np.uint8)
        labels = np.stack([disc * 0, disc, disc])
        image = rng.normal(100, 10, labels.shape) + 80 * labels
        for sub, array in (("images", image.astype(np.float32)), ("labels", labels)):
            (folder / sub).mkdir(parents=True, exist_ok=True)
            picture = sitk.GetImageFromArray(array)
            picture.SetSpacing((1.5, 1.5, 3.0))
            sitk.WriteImage(picture, str(folder / sub / f"{name}.nii.gz"))
    (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "Prostate": 1}}))
    with open(tmp_path / "splits.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["dataset", "case", "split"])
        writer.writerows(["made/discs", name, "test" if name == "d" else "train"] for name in CASES)
    return folder


@pytest.fixture
def a_config(tmp_path: Path) -> Path:
    """The shipped prostate configuration, made small: two resolutions of two epochs and one."""
    values = json.loads((CONFIGS / "prostate-klo-net.json").read_text())
    values |= {
        "network": {"name": "klo-net", "width": 8},
        "stages": [
            {"fit": {"fit": "spacing", "mm": 2.0, "size": 32}, "epochs": 2},
            {"fit": {"fit": "spacing", "mm": 1.5, "size": 48}, "epochs": 1},
        ],
        "epoch_slices": 8,
        "batch_size": 4,
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values))
    return path


@pytest.fixture
def a_card_source(tmp_path: Path) -> Path:
    """What a person says of a checkpoint of one's own: the shipped source without what it says of its own weights."""
    text = json.loads((CARDS / "prostate-klo-net.json").read_text())
    path = tmp_path / "card.json"
    path.write_text(json.dumps({key: value for key, value in text.items() if key not in OF_ITS_WEIGHTS}))
    return path


@pytest.fixture(autouse=True)
def quiet_globals():
    """MONAI's seeding and metadata switches are global: put them back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    set_determinism(None)
    torch.set_num_threads(threads)


def _train(config: Path, folder: Path, output: Path, max_steps: int | None = None) -> Trainer:
    data = [read_folder(folder, "train", folder.parents[1] / "splits.csv")]
    trainer = Trainer(read_config(config), data, output, Options(max_steps=max_steps))
    trainer.run()
    return trainer


def _log(output: Path) -> list[dict[str, str]]:
    with open(output / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_train_export_segment_evaluate_by_the_commands_of_the_readme(
    tmp_path, a_data_folder, a_config, a_card_source, capsys
):
    splits, run, checkpoint = tmp_path / "splits.csv", tmp_path / "run", tmp_path / "checkpoint"
    data = ["--data", str(a_data_folder), "--splits", str(splits)]
    assert main(["train", str(a_config), *data, "--output", str(run), "--threads", "1"]) == 0
    log = _log(run)
    assert [row["epoch"] for row in log] == ["1", "2", "3"]
    assert [row["size"] for row in log] == ["32", "32", "48"]
    assert all(0 < float(row["tau_mean"]) < 1 for row in log)
    assert (run / "learning_curve.png").stat().st_size > 5000

    weights = ["--weights", str(run / "best.safetensors")]
    export = ["export", str(a_config), *weights, "--output", str(checkpoint), "--card", str(a_card_source)]
    assert main(export) == 0
    report = tmp_path / "test.json"
    evaluate = ["evaluate", "--checkpoint", str(checkpoint), *data, "--split", "test", "--json", str(report)]
    assert main(evaluate) == 0
    assert [case["case"] for case in json.loads(report.read_text())["cases"]] == ["d"]

    assert main([*export, "--metrics", str(report)]) == 0
    card = load_checkpoint(checkpoint).card
    dice = json.loads(report.read_text())["mean"]["dice"]
    assert card.metrics["made/discs, test"]["dice"] == dice
    assert f"{dice:.3f}" in (checkpoint / "docs" / "README.md").read_text()
    assert card.flips == ("horizontal",)
    assert "made/discs" in (checkpoint / "LICENSE").read_text()
    assert "PROMISE12" not in (checkpoint / "LICENSE").read_text()
    assert main([*export[:-1], str(tmp_path / "none.json")]) == 1
    assert "write one for 'prostate-klo-net' as Resources/docs/own.md says" in capsys.readouterr().err

    aside = ["--split", "selection", "--config", str(a_config), "--flips", "--json", str(report)]
    assert main(["evaluate", "--checkpoint", str(checkpoint), *data, *aside]) == 0
    told = json.loads(report.read_text())
    (kept,) = split_cases(read_folder(a_data_folder, "train", splits), 0.15, 0)[1].cases
    assert [case["case"] for case in told["cases"]] == [kept.name]
    assert (told["split"], told["test_time_flips"]) == ("selection", True)

    learned = ["--split", "fitted", "--config", str(a_config), "--json", str(report)]
    assert main(["evaluate", "--checkpoint", str(checkpoint), *data, *learned]) == 0
    fitted = {case["case"] for case in json.loads(report.read_text())["cases"]}
    assert fitted == {case.name for case in read_folder(a_data_folder, "train", splits).cases} - {kept.name}


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path, a_data_folder, a_config):
    whole = _train(a_config, a_data_folder, tmp_path / "whole")
    _train(a_config, a_data_folder, tmp_path / "broken", max_steps=2)  # one epoch
    resumed = _train(a_config, a_data_folder, tmp_path / "broken")
    for name, weights in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], weights, rtol=0, atol=0)
    assert [row["dice"] for row in _log(tmp_path / "whole")] == [row["dice"] for row in _log(tmp_path / "broken")]


def test_another_configuration_or_other_data_stop_unless_that_is_wanted(tmp_path, a_data_folder, a_config, capsys):
    values, run = json.loads(a_config.read_text()), tmp_path / "run"
    splits = tmp_path / "splits.csv"
    words = ["train", str(a_config), "--data", str(a_data_folder), "--splits", str(splits), "--output", str(run)]
    assert main([*words, "--max-steps", "2"]) == 0
    before = {path.name: path.read_bytes() for path in run.iterdir()}

    a_config.write_text(json.dumps(values | {"learning_rate": 0.5, "network": {"name": "klo-net", "width": 16}}))
    assert main(words) == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "learning_rate was 0.001 and is 0.5" in told
    assert "network.width was 8 and is 16" in told
    assert "another --output" in told
    assert "--force" in told

    a_config.write_text(json.dumps(values))
    rows = splits.read_text()
    splits.write_text(rows.replace("a,train", "a,test").replace("d,test", "d,train"))
    assert main(words) == 1
    assert re.search(r"data 'made/discs' are without '[abcd]'.* and with the new '[abcd]'", capsys.readouterr().err)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before

    assert main([*words, "--force", "--max-steps", "3"]) == 0
    assert "it goes on with the new ones" in capsys.readouterr().err
    assert len(_log(run)) == 2


def test_a_run_may_be_made_longer_and_one_of_an_earlier_version_goes_on(tmp_path, a_data_folder, a_config, capsys):
    _train(a_config, a_data_folder, tmp_path / "run", max_steps=2)
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert ", boundary=0.0" in state["config"]
    state["config"] = state["config"].replace(", boundary=0.0", "")  # a version that did not know it yet
    torch.save(state, tmp_path / "run" / "last.pt")
    values = json.loads(a_config.read_text())
    values["stages"][1]["epochs"] = 2
    a_config.write_text(json.dumps(values))
    _train(a_config, a_data_folder, tmp_path / "run")
    assert [row["epoch"] for row in _log(tmp_path / "run")] == ["1", "2", "3", "4"]
    (tmp_path / "run" / "run.json").unlink()  # older still
    values["seed"] = 3
    a_config.write_text(json.dumps(values))
    with pytest.raises(InputError, match="seed was 0 and is 3"):
        _train(a_config, a_data_folder, tmp_path / "run")


def test_the_gate_learns(tmp_path, a_data_folder, a_config):
    trainer = _train(a_config, a_data_folder, tmp_path / "run", max_steps=1)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items() if "gate" in name}
    trainer.options.max_steps = None
    trainer.run()
    after = trainer.network.state_dict()
    assert before
    assert all(not torch.equal(after[name], value) for name, value in before.items())


def test_selection_cases_are_not_trained_on(a_data_folder, tmp_path):
    data = read_folder(a_data_folder, "train", tmp_path / "splits.csv")
    training, selection = split_cases(data, share=0.3, seed=0)
    names = [[case.name for case in part.cases] for part in (training, selection)]
    assert sorted(names[0] + names[1]) == ["a", "b", "c"]
    assert names[0]
    assert names[1]
    assert split_cases(data, share=0.3, seed=0)[1] == selection


def test_no_case_is_kept_aside_of_a_folder_for_training_only(a_data_folder, a_config):
    config = replace(read_config(a_config), training_only=["discs"])
    ((training, selection),) = parts_of([read_folder(a_data_folder)], config)
    assert [len(part.cases) for part in (training, selection)] == [4, 0]
    ((training, selection),) = parts_of([read_folder(a_data_folder)], replace(config, training_only=["elsewhere"]))
    assert len(selection.cases) == 1


def test_some_of_the_training_cases_are_drawn_fewer_out_of_more(a_data_folder, a_config):
    config, data = read_config(a_config), [read_folder(a_data_folder)]

    def learned(cases: int, seed: int = 0) -> set[str]:
        ((training, selection),) = parts_of(data, replace(config, training_cases=cases, seed=seed))
        assert len(selection.cases) == 1
        return {case.name for case in training.cases}

    assert [len(learned(cases)) for cases in (1, 2, 3, 0)] == [1, 2, 3, 3]
    assert learned(1) < learned(2) < learned(3)
    assert len({tuple(learned(1, seed)) for seed in range(8)}) > 1
    with pytest.raises(InputError, match=r"training_cases 4 is not possible.*has 3 cases"):
        learned(4)


@pytest.mark.parametrize(("balance", "shares"), [(1.0, [0.8, 0.2]), (0.0, [0.5, 0.5]), (0.5, [2 / 3, 1 / 3])])
def test_data_sets_share_an_epoch_as_the_balance_says(balance, shares):
    weights = balanced([torch.ones(8), torch.ones(2)], balance)
    assert [part.sum() / torch.cat(weights).sum() for part in weights] == pytest.approx(shares)


def test_selection_of_video_frames_takes_whole_ends_of_the_film(a_data_folder):
    training, selection = split_cases(read_folder(a_data_folder), share=0.5, seed=0, selection="last")
    assert [[case.name for case in part.cases] for part in (training, selection)] == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.json")))
def test_shipped_configurations_are_whole(name):
    config = read_config(CONFIGS / f"{name}.json")
    assert config.checkpoint == name
    build_network(
        config.network["name"],
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        **config.network_options,
    )


def test_an_unknown_setting_is_named(tmp_path, a_config):
    values = json.loads(a_config.read_text()) | {"learningrate": 1}
    a_config.write_text(json.dumps(values))
    with pytest.raises(InputError, match="learningrate"):
        read_config(a_config)
    a_config.write_text(
        json.dumps({key: values[key] for key in values if key != "learningrate"} | {"selection": "first"})
    )
    with pytest.raises(InputError, match="first"):
        read_config(a_config)
    with pytest.raises(InputError, match="does not exist"):
        read_config(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"stages": []}, "no epoch to train"),
        ({"stages": [{"fit": {"fit": "stretch", "size": 32}, "epochs": 0}]}, "no epoch to train"),
        ({"stages": [{"size": 32, "epochs": 1}]}, "size"),
        ({"epoch_slices": 3}, "epoch_slices 3.*batch_size 4"),
        ({"batch_size": 0}, "batch_size 0"),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_a_configuration_that_trains_nothing_is_refused(change, told, a_config):
    a_config.write_text(json.dumps(json.loads(a_config.read_text()) | change))
    with pytest.raises(InputError, match=told):
        read_config(a_config)


def test_a_configuration_that_is_no_json_is_refused(a_config):
    a_config.write_text("{")
    with pytest.raises(InputError, match=r"config\.json' is no JSON"):
        read_config(a_config)


def test_slices_that_the_network_would_have_to_pad_are_refused(tmp_path, a_data_folder, a_config):
    stages = [{"fit": {"fit": "stretch", "size": 40}, "epochs": 1}]
    a_config.write_text(json.dumps(json.loads(a_config.read_text()) | {"stages": stages}))
    with pytest.raises(InputError, match=r"stages of \[40\] pixels: 'klo-net' needs multiples of 16"):
        _train(a_config, a_data_folder, tmp_path / "run")


def test_data_that_cannot_be_trained_on_is_refused(tmp_path, a_data_folder, a_config, capsys):
    about = a_data_folder / "dataset.json"
    command = ["train", str(a_config), "--data", str(a_data_folder), "--output", str(tmp_path / "run")]
    about.write_text(json.dumps({"labels": {"liver": 1}}))
    assert main(command) == 1
    assert "has no class ['prostate'], it has ['liver']" in capsys.readouterr().err
    about.write_text(json.dumps({"labels": {"prostate": 255}}))
    assert main(command) == 1
    assert "hold the values [1], and dataset.json knows [255]" in capsys.readouterr().err
    about.write_text(json.dumps({"labels": {"prostate": 2, "other": 1}}))
    assert main(command) == 1
    assert "cases kept aside shows ['prostate']" in capsys.readouterr().err
    for name in CASES[1:]:
        (a_data_folder / "images" / f"{name}.nii.gz").unlink()
    assert main(command) == 1
    assert "has 1 training case; expected 2 or more" in capsys.readouterr().err
    assert not (tmp_path / "run" / "best.safetensors").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_told_in_plain_words(tmp_path, a_data_folder, a_config, capsys):
    words = ["train", str(a_config), "--data", str(a_data_folder), "--output", str(tmp_path / "run")]
    assert main([*words, "--device", "cuda"]) == 2
    assert "device 'cuda' is not there: PyTorch sees none" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_another_network_in_the_folder_of_a_run_is_refused(tmp_path, a_data_folder, a_config):
    _train(a_config, a_data_folder, tmp_path / "run", max_steps=1)
    values = json.loads(a_config.read_text()) | {"network": {"name": "unet", "width": 8}}
    a_config.write_text(json.dumps(values))
    with pytest.raises(InputError, match=r'network\.name was "klo-net" and is "unet"'):
        _train(a_config, a_data_folder, tmp_path / "run")
    data = [read_folder(a_data_folder, "train", tmp_path / "splits.csv")]
    with pytest.raises(InputError, match=r"run' holds a run of another network than 'unet'"):
        Trainer(read_config(a_config), data, tmp_path / "run", Options(go_on_anyway=True))


def test_a_colour_picture_among_grey_ones_is_named(tmp_path, a_data_folder, a_config):
    path = a_data_folder / "images" / "b.nii.gz"
    image = sitk.ReadImage(str(path))
    sitk.WriteImage(sitk.Compose(image, image, image), str(path))
    with pytest.raises(InputError, match=r"b.nii.gz' has 3 channel\(s\), the configuration 1"):
        _train(a_config, a_data_folder, tmp_path / "run")
