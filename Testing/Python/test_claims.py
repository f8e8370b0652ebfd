"""Several runs on one folder: no case is lost, none is done twice, and the table has them all."""

from __future__ import annotations

import csv
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from command_tools import names
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.data.errors import InputError, RunError
from MedSegAttentionLib.runner import batch, summary
from MedSegAttentionLib.runner.batch import run_batch
from MedSegAttentionLib.runner.claims import CLAIMS_FOLDER, Claims
from MedSegAttentionLib.runner.one_case import Request, segment_case
from MedSegAttentionLib.runner.records import WORKSHOPS
from MedSegAttentionLib.runner.summary import rebuild_summary, write_summary
from test_batch import a_case, a_run, statuses

pytest_plugins = ["command_fixtures"]


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "summary.csv").open(newline="", encoding="utf-8") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def age(folder: Path, seconds: float) -> None:
    """As if nobody had touched the claims for so long."""
    for path in (folder / CLAIMS_FOLDER).iterdir():
        past = path.stat().st_mtime - seconds
        os.utime(path, (past, past))


def test_a_case_is_held_by_one_and_by_the_next_after_it(tmp_path):
    first = Claims(tmp_path).take("Ünï case")
    assert Claims(tmp_path).take("Ünï case") is None
    other = Claims(tmp_path).take("other")
    first.release()
    again = Claims(tmp_path).take("Ünï case")
    for claim in (other, again):
        claim.check()
        claim.release()
    assert names(tmp_path) == []


def test_a_claim_that_nobody_touches_is_taken_over_once(tmp_path):
    lost = Claims(tmp_path, lease=1000).take("a")
    assert Claims(tmp_path, lease=1000).take("a") is None
    age(tmp_path, 2000)
    taken = [claim for _ in range(3) if (claim := Claims(tmp_path, lease=1000).take("a"))]
    assert len(taken) == 1
    with pytest.raises(RunError, match="another run took this case over"):
        lost.check()
    lost.release()
    taken[0].check()
    taken[0].release()
    assert names(tmp_path) == []


def test_a_holder_at_work_keeps_its_claim_longer_than_a_lease(tmp_path):
    claim = Claims(tmp_path, lease=0.6).take("a")
    for _ in range(8):
        time.sleep(0.2)
        assert Claims(tmp_path, lease=0.6).take("a") is None
    claim.release()


def test_the_clock_of_the_machine_does_not_matter(tmp_path, monkeypatch):
    claim = Claims(tmp_path).take("a")
    for clock in (0.0, 4e9):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        assert Claims(tmp_path).take("a") is None
    claim.release()


def test_of_many_that_take_over_at_once_one_wins(tmp_path):
    for _ in range(20):
        Claims(tmp_path, lease=1000).take("a")
        age(tmp_path, 2000)
        barrier, won = threading.Barrier(8), []

        def take(barrier=barrier, won=won) -> None:
            barrier.wait()
            if claim := Claims(tmp_path, lease=1000).take("a"):
                won.append(claim)

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        won[0].release()


def test_a_run_does_the_others_first_and_then_what_another_run_left(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(batch, "HELD_SECONDS", 0.01)
    claim, seen = Claims(tmp_path).take("a"), []

    def on_progress(progress) -> None:
        if progress.outcome:
            seen.append(progress.case)
            if progress.case == "c":
                claim.release()

    outcomes = run_batch([a_case(name) for name in "abc"], Request(a_run), tmp_path, on_progress=on_progress)
    assert seen == ["b", "c", "a"]
    assert [outcome.case for outcome in outcomes] == ["a", "b", "c"]
    assert statuses(outcomes) == ["segmented"] * 3
    assert caplog.text.count("another run is at it") == 1


def test_a_cancel_is_heard_while_another_run_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "HELD_SECONDS", 0.01)
    claim, asked = Claims(tmp_path).take("a"), []

    def is_cancelled() -> bool:
        asked.append(1)
        return len(asked) > 5

    assert statuses(run_batch([a_case("a")], Request(a_run), tmp_path, is_cancelled=is_cancelled)) == ["cancelled"]
    claim.release()


def test_a_run_that_lost_its_case_keeps_nothing(tmp_path):
    def slow(volume, **callbacks):
        age(tmp_path, 2000)
        Claims(tmp_path, lease=1000).take("a")
        return a_run(volume, **callbacks)

    with pytest.raises(RunError, match="its result is kept instead"):
        segment_case(a_case("a"), Request(slow), tmp_path, claim=Claims(tmp_path, lease=1000).take("a"))
    assert names(tmp_path) == [CLAIMS_FOLDER]


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_batch import *
def run(volume, **callbacks):
    with open({log!r}, "a") as file:
        file.write("x")
    return a_run(volume, **callbacks)
run_batch([a_case(f"case {{number}}") for number in {cases}], Request(run), Path({output!r}))
"""


def test_three_processes_on_one_folder_lose_and_repeat_nothing(tmp_path):
    count, output, started = 20, tmp_path / "out", []
    for number in range(3):  # which share cases with their neighbours
        cases = range(number * count // 2, number * count // 2 + count)
        words = {"tests": str(Path(__file__).parent), "log": str(tmp_path / f"log{number}"), "output": str(output)}
        script = WORKER.format(cases=cases, **words)
        started.append(subprocess.Popen([sys.executable, "-c", script], cwd=Path(batch.__file__).parents[2]))
    assert [process.wait(120) for process in started] == [0] * 3
    assert sum(path.stat().st_size for path in tmp_path.glob("log*")) == 2 * count
    assert len(table(output)) == len(list(output.glob("*.json"))) == 2 * count
    assert not (output / CLAIMS_FOLDER).exists()


def test_a_folder_that_another_run_removes_meanwhile_loses_no_case(tmp_path, monkeypatch):
    """As ``mkdir`` and a search meet it once in some thousand times: the folder is there, and gone at the next look."""
    mkdir, glob, gone = Path.mkdir, Path.glob, []

    def mkdir_beside_another(self, *words, **options):
        if self.name.startswith(".") and self.name not in gone:
            gone.append(self.name)
            raise FileExistsError(17, "File exists", str(self))
        return mkdir(self, *words, **options)

    def glob_beside_another(self, pattern):
        if self.name == WORKSHOPS:
            raise FileNotFoundError(2, "No such file or directory", str(self))
        return glob(self, pattern)

    monkeypatch.setattr(Path, "mkdir", mkdir_beside_another)
    monkeypatch.setattr(Path, "glob", glob_beside_another)
    outcomes = run_batch([a_case("a"), a_case("b")], Request(a_run), tmp_path / "out")
    assert [outcome.status for outcome in outcomes] == ["segmented"] * 2
    assert set(gone) == {CLAIMS_FOLDER, WORKSHOPS}


def test_a_file_in_the_place_of_the_claims_is_told(tmp_path):
    (tmp_path / CLAIMS_FOLDER).write_text("a file")
    (outcome,) = run_batch([a_case("a")], Request(a_run), tmp_path)
    assert outcome.status == "failed"
    assert "cannot be written to" in str(outcome.error)


def test_a_table_is_made_anew_from_the_records(tmp_path, capfd):
    def broken():
        raise InputError("no image")

    run_batch([a_case("a"), a_case("b"), a_case("c", broken)], Request(a_run), tmp_path)
    whole = table(tmp_path)
    for damage in ("", whole):
        if not damage:  # another program's files beside the records
            (tmp_path / "other.json").write_text("[1]")
            (tmp_path / "half.json").write_text('{"files": [], "input_sha256": "", "segments": 5}')
        else:
            (tmp_path / "summary.csv").unlink()
        assert main(["summary", str(tmp_path)]) == 0
        made = table(tmp_path)
        assert made == {name: row for name, row in whole.items() if not damage or name != "c"}
    (tmp_path / "a.txt").unlink()
    assert rebuild_summary(tmp_path) == {"incomplete": 1, "segmented": 1}
    assert "missing: a.txt" in table(tmp_path)["a"]["error"]
    (tmp_path / "empty").mkdir()
    for folder in ("absent", "empty"):
        assert main(["summary", str(tmp_path / folder)]) == 1
    assert names(tmp_path / "empty") == []
    assert "holds no record" in capfd.readouterr().err


def test_a_table_that_another_run_is_writing_is_left_to_it(tmp_path, caplog):
    claim = Claims(tmp_path).take("summary.csv")
    write_summary(tmp_path / "summary.csv", [], patience=0.2)
    assert "another run is writing" in caplog.text
    assert CLAIMS_FOLDER in names(tmp_path)
    claim.release()


def test_the_table_is_written_seldom_where_it_takes_long(tmp_path, monkeypatch):
    written, now = [], [0.0]
    monkeypatch.setattr(summary, "monotonic", lambda: now[0])

    def write(_path, rows, _patience) -> None:
        written.append(len(rows))
        now[0] += 1.0

    monkeypatch.setattr(summary, "write_summary", write)
    kept = summary.Summary(tmp_path / "summary.csv")
    for count in range(60):
        kept.update(lambda count=count: [{}] * count, last=count == 59)
        now[0] += 1.0
    assert written == [0, 20, 40, 59]
