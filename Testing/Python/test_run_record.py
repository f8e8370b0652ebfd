"""What a card says of its training comes from the run's own record, and of no other."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from monai.data import set_track_meta
from monai.utils import set_determinism
from safetensors.torch import load_file, save_file

from MedSegAttentionLib import __version__
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.checkpoints.card_file import CARD_FILE, read_card
from MedSegAttentionLib.checkpoints.catalogue import WEIGHTS_FILE, find_checkpoint, list_checkpoints
from MedSegAttentionLib.data.card import Card
from MedSegAttentionLib.data.errors import InputError
from MedSegAttentionTraining.data.cases import read_folder
from MedSegAttentionTraining.fitting import record
from MedSegAttentionTraining.fitting.config import read_config
from MedSegAttentionTraining.fitting.loop import Options, Trainer
from MedSegAttentionTraining.fitting.record import RunRecord, record_beside
from MedSegAttentionTraining.publishing.bundle import CARDS, Training, write_bundle
from MedSegAttentionTraining.publishing.model_card import licence, model_card
from spine_task import write_card_source, write_config, write_data

pytest_plugins = ["slicer_double.fixtures", "command_fixtures"]

ABOUT = {"title": "Spines of one hospital", "licence": "vote 12/34", "reference": "unpublished"}
ORIGIN = {"name": "some-encoder", "sha256": "ab" * 32, "terms": "Apache-2.0", "source": "ImageNet, its authors"}
OURS = ("PROMISE12", "Kvasir", "ISIC", "CHAOS", "BTCV")


@pytest.fixture(autouse=True)
def quiet_globals():
    """MONAI's seeding and metadata switches are global: put them back."""
    yield
    set_determinism(None)
    set_track_meta(True)


@pytest.fixture
def a_config(tmp_path) -> Path:
    """Of a network of ours, three epochs of two steps."""
    network = {"name": "klo-net", "width": 8}
    return write_config(tmp_path / "spine.json", network=network, epoch_slices=8)


@pytest.fixture
def a_source(tmp_path) -> Path:
    return write_card_source(tmp_path / "card.json")


@pytest.fixture
def a_data_folder(tmp_path) -> Path:
    return write_data(tmp_path / "made" / "spine", ABOUT)


def train(
    config: Path, folders: list[Path], output: Path, max_steps: int | None = None, anyway: bool = False, **changes
) -> dict:
    """Train, in this process, and give the record."""
    data = [read_folder(folder) for folder in folders]
    options = Options(max_steps=max_steps, go_on_anyway=anyway)
    Trainer(replace(read_config(config), **changes), data, output, options).run()
    return json.loads((output / "run.json").read_text())


def export(config: Path, source: Path, run: Path, output: Path, *more: str) -> Card:
    weights = ["--weights", str(run / "best.safetensors"), "--output", str(output), "--card", str(source)]
    assert main(["export", str(config), *weights, *more]) == 0
    return read_card(output)


def texts(folder: Path) -> tuple[str, str]:
    return (folder / "docs" / "README.md").read_text(), (folder / "LICENSE").read_text()


def panel_text(card: Card) -> str:
    from MedSegAttentionLib.panel.model_card import cardHtml

    return " ".join(unescape(re.sub("<[^>]*>", " ", cardHtml(card))).split())


def test_the_card_of_a_run_on_other_data_names_that_data_and_not_ours(
    tmp_path, a_config, a_source, a_data_folder, an_application
):
    second = write_data(tmp_path / "other" / "necks", names=("x", "y"))
    told = train(a_config, [a_data_folder, second], tmp_path / "run")
    card = export(a_config, a_source, tmp_path / "run", tmp_path / "out")
    assert [
        {key: data[key] for key in ("name", "cases", "kept_aside", "terms", "citation")} for data in card.training_data
    ] == [
        {
            "name": ABOUT["title"],
            "cases": 2,
            "kept_aside": 1,
            "terms": ABOUT["licence"],
            "citation": ABOUT["reference"],
        },
        {"name": "other/necks", "cases": 1, "kept_aside": 1, "terms": "not stated", "citation": "not stated"},
    ]
    assert card.license == "Research use only; trained on Spines of one hospital and other/necks (see LICENSE)."
    everything = [*texts(tmp_path / "out"), panel_text(card), (tmp_path / "out" / CARD_FILE).read_text()]
    for text in everything:
        assert ABOUT["title"] in text
        assert ABOUT["licence"] in text
        assert "other/necks" in text
        assert not [name for name in OURS if name in text]
    assert "Spines of one hospital, 2 cases learned from, 1 kept aside" in panel_text(card)
    assert card.training["configuration"] == told["parts"][0]["configuration"]
    assert (card.training["epochs"], card.training["chosen_epoch"]) == (3, told["chosen_epoch"])
    assert card.training["project_version"] == __version__
    assert f"Trained for 3 epochs, of which the weights are of epoch {told['chosen_epoch']}" in everything[0]
    assert f"Epoch {told['chosen_epoch']} of 3" in panel_text(card)
    assert "trained from scratch" in everything[1]


def test_a_person_adds_terms_of_the_data_that_were_used_and_of_no_others(tmp_path, a_config, a_data_folder):
    second = write_data(tmp_path / "other" / "necks")
    train(a_config, [a_data_folder, second], tmp_path / "run", max_steps=1)
    known = {
        "other/necks": {"name": "Necks", "terms": "free", "citation": "Neck et al. 2020"},
        "made/spine": {"terms": "not what the folder says"},
        "polyp/kvasir_seg": {"name": "Kvasir-SEG", "terms": "research", "citation": "Jha et al."},
    }
    source = write_card_source(tmp_path / "card.json", data_sets=known)
    card = export(a_config, source, tmp_path / "run", tmp_path / "out")
    assert [(data["name"], data["terms"], data["citation"]) for data in card.training_data] == [
        (ABOUT["title"], ABOUT["licence"], ABOUT["reference"]),
        ("Necks", "free", "Neck et al. 2020"),
    ]
    assert "Kvasir" not in (tmp_path / "out" / CARD_FILE).read_text()


def test_sentences_about_other_data_are_refused(tmp_path, a_config, a_data_folder, capsys, monkeypatch):
    run, output = tmp_path / "run", tmp_path / "out"
    train(a_config, [a_data_folder], run, max_steps=1)
    about_others = {"polyp/kvasir_seg": {"name": "Kvasir-SEG"}}
    source = write_card_source(tmp_path / "spine-ct-blob.json", data_sets=about_others)
    command = ["export", str(a_config), "--weights", str(run / "best.safetensors"), "--output", str(output)]
    assert main([*command, "--card", str(source)]) == 1
    told = "is about a network trained on polyp/kvasir_seg; this run was trained on made/spine too"
    assert told in capsys.readouterr().err

    monkeypatch.setattr("MedSegAttentionTraining.publishing.bundle.CARDS", tmp_path)  # where that name is looked for
    assert main(command) == 1
    assert told in capsys.readouterr().err
    write_card_source(source)
    assert main(command) == 1
    assert "nothing says that" in capsys.readouterr().err
    write_card_source(source, data_sets={"made/spine": {}})
    assert main(command) == 0
    assert read_card(output).training_data[0]["name"] == ABOUT["title"]
    (run / "run.json").unlink()
    assert main(command) == 1
    assert "nothing says that" in capsys.readouterr().err


def test_without_a_record_the_card_says_that_the_origin_is_not_recorded(
    tmp_path, a_config, a_source, a_data_folder, an_application, capsys
):
    train(a_config, [a_data_folder], tmp_path / "run", max_steps=1)
    (tmp_path / "run" / "run.json").unlink()
    card = export(a_config, a_source, tmp_path / "run", tmp_path / "out")
    assert "no run.json beside" in capsys.readouterr().err
    assert (card.training_data, card.training) == ((), {"recorded": False})
    assert "is not recorded" in card.license
    for text in (*texts(tmp_path / "out"), panel_text(card)):
        assert re.search("is not recorded|Not recorded", text)
        assert ABOUT["title"] not in text
    assert "trained from scratch" not in texts(tmp_path / "out")[1]


def test_a_record_of_other_weights_is_refused(tmp_path, a_config, a_source, a_data_folder, capsys):
    run, output = tmp_path / "run", tmp_path / "out"
    train(a_config, [a_data_folder], run, max_steps=1)
    weights = load_file(run / "best.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, run / "best.safetensors")
    command = ["export", str(a_config), "--weights", str(run / "best.safetensors"), "--output", str(output)]
    assert main([*command, "--card", str(a_source)]) == 1
    assert "is the record of other weights" in capsys.readouterr().err
    (run / "run.json").write_text("{}")
    assert main([*command, "--card", str(a_source)]) == 1
    assert "is no record of a training run" in capsys.readouterr().err
    assert not output.exists()


def test_another_configuration_than_the_runs_is_refused(tmp_path, a_config, a_source, a_data_folder, capsys):
    train(a_config, [a_data_folder], tmp_path / "run", max_steps=1)
    network = {"name": "klo-net", "width": 8}
    write_config(a_config, network=network, intensity={"method": "window", "low": 0, "high": 1})
    command = ["export", str(a_config), "--weights", str(tmp_path / "run" / "best.safetensors")]
    assert main([*command, "--output", str(tmp_path / "out"), "--card", str(a_source)]) == 1
    assert "differs from that of the run in intensity" in capsys.readouterr().err


def test_figures_are_listed_by_data_set_and_split(tmp_path, a_config, a_source, a_data_folder, an_application, capsys):
    run, out = tmp_path / "run", tmp_path / "out"
    train(a_config, [a_data_folder], run, max_steps=1)
    export(a_config, a_source, run, out)
    elsewhere = write_data(tmp_path / "other" / "necks", names=("x", "y"))
    reports = []
    for name, where in (
        ("selection", [a_data_folder, "--split", "selection", "--config", a_config]),
        ("fitted", [a_data_folder, "--split", "fitted", "--config", a_config]),
        ("all", [a_data_folder]),
        ("elsewhere", [elsewhere]),
    ):
        reports.append(str(tmp_path / f"{name}.json"))
        evaluate = ["evaluate", "--checkpoint", out, "--data", *where, "--json", reports[-1], "--device", "cpu"]
        assert main([*map(str, evaluate)]) == 0
    card = export(a_config, a_source, run, out, "--metrics", *reports)
    assert {
        name: (figures["data"], figures["split"], figures["cases"], figures["learned_from"])
        for name, figures in card.metrics.items()
    } == {
        "made/spine, selection": ("made/spine", "selection", 1, False),
        "made/spine, fitted": ("made/spine", "fitted", 2, True),
        "made/spine, all cases": ("made/spine", "all cases", 3, True),
        "other/necks, all cases": ("other/necks", "all cases", 2, False),
    }
    page, shown = texts(out)[0], panel_text(card)
    assert "- made/spine, selection (1 cases): mean Dice by case" in page
    assert page.count("It learned from these cases, or may have.") == 2
    new, learned = shown.split("Measured on images it was trained on, or may have been")
    assert "made/spine, selection, 1 cases" in new
    assert "other/necks, all cases, 2 cases" in new
    assert "made/spine, fitted, 2 cases" in learned
    assert "ot measured" not in shown.replace("not measured on this machine", "") + page

    command = ["export", str(a_config), "--weights", str(run / "best.safetensors"), "--output", str(out)]
    command += ["--card", str(a_source), "--metrics"]
    assert main([*command, reports[0], reports[0]]) == 1
    assert "two reports of evaluate are about 'made/spine, selection'" in capsys.readouterr().err
    altered = json.loads(Path(reports[0]).read_text()) | {"weights_sha256": "0" * 64}
    Path(reports[0]).write_text(json.dumps(altered))
    assert main([*command, reports[0]]) == 1
    assert "a report on 'made/spine' was measured with other weights" in capsys.readouterr().err


def test_a_card_without_figures_says_so(tmp_path, a_config, a_source, a_data_folder, an_application):
    train(a_config, [a_data_folder], tmp_path / "run", max_steps=1)
    card = export(a_config, a_source, tmp_path / "run", tmp_path / "out")
    assert card.metrics == {}
    assert card.limits[0].startswith("Not measured")
    assert re.search(r"## Measured\n\nNot measured", texts(tmp_path / "out")[0])
    assert "Measured on images it was not trained on Not measured." in panel_text(card)


def test_a_source_may_not_say_what_the_run_knows(tmp_path, a_config, a_data_folder, capsys):
    train(a_config, [a_data_folder], tmp_path / "run", max_steps=1)
    command = ["export", str(a_config), "--weights", str(tmp_path / "run" / "best.safetensors")]
    command += ["--output", str(tmp_path / "out"), "--card", str(tmp_path / "card.json")]
    write_card_source(tmp_path / "card.json", training_data=[], license="free", network="unet")
    assert main(command) == 1
    assert "says license, network, training_data, which come from" in capsys.readouterr().err
    write_card_source(tmp_path / "card.json", weights_sha256="0" * 64)
    assert main(command) == 1
    assert "is true of other weights alone" in capsys.readouterr().err
    (tmp_path / "card.json").write_text(json.dumps({"title": "x"}))
    assert main(command) == 1
    assert "lacks description, labels, limits, modality" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "checkpoint", sorted(path.stem for path in CARDS.glob("*.json") if "weights_sha256" in json.loads(path.read_text()))
)
def test_a_shipped_source_is_of_the_shipped_weights_and_gives_the_shipped_texts(checkpoint, tmp_path):
    """The cards that ship are older than the records of runs; each source names the weights it is true of."""
    folder = find_checkpoint(checkpoint)
    shipped = read_card(folder)
    config = read_config(CARDS.parent / "configs" / f"{checkpoint}.json")
    made = write_bundle(Training(config, folder / WEIGHTS_FILE, []), tmp_path / checkpoint)
    assert made.weights_sha256 == shipped.weights_sha256
    assert replace(made, metrics=shipped.metrics, limits=shipped.limits) == shipped
    assert licence(json.loads((folder / CARD_FILE).read_text())["medsegattention"]) == (folder / "LICENSE").read_text()
    assert model_card(json.loads((folder / CARD_FILE).read_text())["medsegattention"]) == texts(folder)[0]
    other = {name: value + 1 for name, value in load_file(folder / WEIGHTS_FILE).items()}
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="is true of other weights alone"):
        write_bundle(Training(config, tmp_path / "other.safetensors", []), tmp_path / "other")


def test_every_shipped_card_says_where_it_comes_from():
    for card in list_checkpoints():
        assert card.training_data
        assert not card.training or card.training["recorded"]


def test_a_run_that_goes_on_with_other_data_names_both(tmp_path, a_config, a_source, a_data_folder):
    first = train(a_config, [a_data_folder], tmp_path / "run", max_steps=1)
    again = train(a_config, [a_data_folder], tmp_path / "run", max_steps=3)
    assert first["epochs"] == 1
    assert [(part["first_epoch"], part["last_epoch"]) for part in again["parts"]] == [(1, 2)]
    assert again["started"] == first["started"]
    necks = write_data(tmp_path / "other" / "necks")
    last = train(a_config, [necks], tmp_path / "run", anyway=True)
    assert [(part["first_epoch"], part["last_epoch"]) for part in last["parts"]] == [(1, 2), (3, 3)]
    last |= {"chosen_epoch": 3}
    (tmp_path / "run" / "run.json").write_text(json.dumps(last))
    card = export(a_config, a_source, tmp_path / "run", tmp_path / "out")
    assert [data["name"] for data in card.training_data] == [ABOUT["title"], "other/necks"]
    last |= {"chosen_epoch": 2}
    (tmp_path / "run" / "run.json").write_text(json.dumps(last))
    card = export(a_config, a_source, tmp_path / "run", tmp_path / "out")
    assert [data["name"] for data in card.training_data] == [ABOUT["title"]]


def test_epochs_before_the_record_are_told(tmp_path, a_config, a_source, a_data_folder, an_application):
    train(a_config, [a_data_folder], tmp_path / "run", max_steps=1)
    (tmp_path / "run" / "run.json").unlink()
    told = train(a_config, [a_data_folder], tmp_path / "run", max_steps=3)
    assert told["unrecorded_epochs"] == 1
    told |= {"chosen_epoch": None}  # where no later epoch is better
    (tmp_path / "run" / "run.json").write_text(json.dumps(told))
    assert export(a_config, a_source, tmp_path / "run", tmp_path / "out").training == {"recorded": False}
    told |= {"chosen_epoch": 2}
    (tmp_path / "run" / "run.json").write_text(json.dumps(told))
    card = export(a_config, a_source, tmp_path / "run", tmp_path / "out")
    for text in texts(tmp_path / "out"):
        assert "The first 1 epochs ran without a record" in text
    assert "What the first 1 epochs learned from is not recorded." in panel_text(card)


def test_a_new_run_in_the_folder_of_another_forgets_it(tmp_path, a_config, a_data_folder):
    train(a_config, [a_data_folder], tmp_path / "run", max_steps=1)
    (tmp_path / "run" / "last.pt").unlink()
    necks = write_data(tmp_path / "other" / "necks")
    told = train(a_config, [necks], tmp_path / "run", max_steps=1)
    assert [data["folder"] for part in told["parts"] for data in part["data"]] == ["other/necks"]


def test_the_weights_a_run_started_from_are_told_with_their_terms(
    tmp_path, a_config, a_source, a_data_folder, an_application
):
    run = tmp_path / "run"
    train(a_config, [a_data_folder], run, max_steps=1)
    config, data = read_config(a_config), read_folder(a_data_folder)
    written = RunRecord(run, config, [(data, replace(data, cases=()))], 0, ORIGIN)
    written.chosen(1, run / "best.safetensors")
    written.finished(1)
    assert record_beside(run / "best.safetensors")["pretrained"] == ORIGIN
    card = export(a_config, a_source, run, tmp_path / "out")
    assert card.training["pretrained"] == ORIGIN
    assert "starting from some-encoder" in card.license
    page, terms = texts(tmp_path / "out")
    for text in (page, terms):
        assert all(value in text for value in ORIGIN.values())
    assert "from scratch" not in terms
    assert "It started from some-encoder (ImageNet, its authors). Terms: Apache-2.0." in panel_text(card)


def test_the_program_is_told_by_version_and_commit(monkeypatch):
    here = Path(record.__file__).parent
    done = subprocess.run(["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    known = record.project_state()
    assert known["version"] == __version__
    tracked = subprocess.run(["git", "-C", here, "ls-files", "record.py"], capture_output=True, text=True, check=False)
    assert known["commit"] == (done.stdout.strip() if tracked.stdout.strip() else None)
    monkeypatch.setenv("PATH", "")
    assert record.project_state() == {"version": __version__, "commit": None, "changed": None}


def test_a_program_in_the_work_tree_of_another_project_has_no_commit(monkeypatch, tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "record.py").touch()
    monkeypatch.setattr(record, "__file__", str(tmp_path / "a" / "b" / "record.py"))
    assert record.project_state()["commit"] is None


def test_only_the_first_process_writes_the_record(tmp_path, a_config, a_data_folder):
    from MedSegAttentionTraining.fitting.processes import Processes

    class Second(Processes):
        is_first = False

    Trainer(read_config(a_config), [read_folder(a_data_folder)], tmp_path / "run", Options(processes=Second()))
    assert not (tmp_path / "run" / "run.json").exists()
