"""``segment`` of several inputs and of lists of paths."""

from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK as sitk

from command_tools import a_series, bright, names
from MedSegAttentionLib.__main__ import main
from test_claims import table

pytest_plugins = ["command_fixtures"]


@pytest.fixture
def images(tmp_path) -> Path:
    """``one/a.nrrd``, ``two/a.nrrd`` and ``two/b.nrrd``, each another image."""
    for number, name in enumerate(("one/a", "two/a", "two/b"), start=1):
        path = tmp_path / "in" / f"{name}.nrrd"
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(bright() * (1 - number / 10), str(path))
    return tmp_path / "in"


@pytest.fixture
def run(a_checkpoint, tmp_path):
    def run(*inputs: Path | str, checkpoint: Path = a_checkpoint) -> int:
        words = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), "--device", "cpu"]
        return main(["segment", *map(str, inputs), *words, "--attention", "none"])

    return run


def stems(folder: Path) -> set[str]:
    return {name.removesuffix(".seg.nrrd") for name in names(folder) if name.endswith(".seg.nrrd")}


def test_several_files_and_folders_are_one_batch_with_names_told_apart(run, images, tmp_path, capfd):
    inputs = images / "one" / "a.nrrd", images / "two", images / "two" / "b.nrrd"
    for status in ("segmented", "skipped"):
        assert run(*inputs) == 0
        assert stems(tmp_path / "out") == {"one_a", "two_a", "b"}
        assert {name: row["status"] for name, row in table(tmp_path / "out").items()} == {
            "one_a": status,
            "two_a": status,
            "b.nrrd": status,
        }
    assert "1 of 4 images were given before" in capfd.readouterr().out


LISTS = {
    "paths.txt": "# mine\n\none/a.nrrd\n  'two/b.nrrd'  \n",
    "one column.csv": "one/a.nrrd\ntwo/b.nrrd\n",
    "table.csv": "patient;Path;age\n1;one/a.nrrd;50\n2;two/b.nrrd;60\n",
    "windows.csv": "\ufeffpath\r\none/a.nrrd\r\ntwo/b.nrrd\r\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_a_batch_of_what_it_names(name, run, images, tmp_path):
    (images / name).write_text(LISTS[name], encoding="utf-8", newline="")
    assert run(images / name) == 0
    assert stems(tmp_path / "out") == {"a", "b"}


def test_what_a_list_names_and_is_not_there_fails_as_a_case(run, images, tmp_path, capfd):
    (images / "list.txt").write_text("one/a.nrrd\nlost.nrrd\n")
    (images / "empty").mkdir()
    assert run(images / "list.txt", images / "empty") == 1
    assert {name: row["status"] for name, row in table(tmp_path / "out").items()} == {
        "a.nrrd": "segmented",
        "lost.nrrd": "failed",
        "empty": "failed",
    }
    error = capfd.readouterr().err
    assert f"line 2 of '{images / 'list.txt'}'" in error
    assert "lost.nrrd' cannot be found" in error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no path"),
        ("name;age\nx;1\n", "has the columns name, age; expected one named path"),
        ("path\nlost.nrrd\nlost too.nrrd\n", "none of the 2 paths"),
        ("path\n\x00\ud800", "cannot be read as a list"),
    ],
)
def test_a_list_that_is_none_says_what_was_expected(text, words, run, images, tmp_path, capfd):
    (images / "list.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert run(images / "list.csv") == 1
    assert words in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_input_that_is_not_there_stops_before_anything_is_done(run, images, tmp_path, capfd):
    assert run(images / "one", images / "lost", images / "lost too") == 1
    error = capfd.readouterr().err
    assert f"'{images / 'lost'}', '{images / 'lost too'}' cannot be found" in error
    assert not (tmp_path / "out").exists()


def test_studies_and_files_together(run, ct, images, tmp_path):
    for patient in ("p1", "p2"):
        a_series(images / patient / "series", patient)
    assert run(images / "p1", images / "p2", checkpoint=ct) == 0
    assert stems(tmp_path / "out") == {"p1_series", "p2_series"}
    assert set(table(tmp_path / "out")) == {"p1_series", "p2_series"}
