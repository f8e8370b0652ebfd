"""Runs in a worker process whose engine is a fake, so that it starts at once: what can go wrong, and what is left."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import psutil
import pytest

import fake_worker
from conftest import geometry
from MedSegAttentionLib.data.errors import Cancelled, CheckpointError, ContractWarning, RunError, UsageError
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.runner.background import BackgroundRunner, Patience
from MedSegAttentionLib.runner.process import MODULE_FOLDER, WORKER, WorkerKeeper
from small_checkpoint import card_values, write_card

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the stand-in for a Python executable is a shell script"
)


def a_volume(name: str = "case 1", slices: int = 9, kind: str = "oblique") -> VolumeImage:
    values = np.random.default_rng(1).integers(-3, 4, (slices, 6, 5)).astype(np.int16)
    return VolumeImage(values, geometry(kind), name, "CT")


@pytest.fixture
def a_checkpoint(tmp_path):
    write_card(tmp_path / "checkpoint", card_values())
    return tmp_path / "checkpoint"


@pytest.fixture
def runs(tmp_path):
    """The folder that the temporary folders of runs are made in."""
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


@pytest.fixture
def make_runner(tmp_path, runs):
    """Call it for a runner; all are closed at the end, and nothing may be left."""
    made = []

    def make(launcher: bool = False, before: str = "", **keywords) -> BackgroundRunner:
        python = keywords.pop("python", None) or fake_worker.executable(tmp_path, launcher, before)
        made.append(BackgroundRunner(python, folder=runs, **keywords))
        return made[-1]

    yield make
    for runner in made:
        runner.close()
    assert workers_of(tmp_path) == []
    assert eventually(lambda: list(runs.iterdir()) == [])


@pytest.fixture
def a_background_runner(make_runner):
    return make_runner()


def workers_of(tmp_path) -> list[psutil.Process]:
    """Every process below this one, launchers too."""
    return [process for process in psutil.Process().children(recursive=True) if process.status() != "zombie"]


def eventually(condition, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def finish(run, until=lambda _run: False):
    """Poll until the run has an outcome, or ``until`` holds; gives the run back."""
    assert eventually(lambda: not run.poll() or until(run), 30)
    return run


def test_a_result_comes_back_bit_for_bit(a_background_runner, a_checkpoint):
    volume = a_volume()
    run = finish(a_background_runner.start(volume, checkpoint=a_checkpoint))
    result = run.result()
    assert (result.labels == (volume.array > 0)).all()
    assert result.labels.dtype == np.uint8
    assert not isinstance(result.labels, np.memmap)  # the files are gone
    assert (result.ijk_to_ras == volume.ijk_to_ras).all()
    (tau,) = result.attention.values()
    assert (tau.array == volume.array.astype(np.float32)).all()
    assert (tau.ijk_to_ras == volume.ijk_to_ras).all()
    assert (result.name, result.slice_range, tau.map.range) == ("case 1", None, (0.0, 1.0))
    assert result.classes == run.started.classes
    assert result.classes[1].type_modifier.meaning == "Liver"
    assert (run.progress.finished, run.progress.count, run.is_running, run.labels) == (9, 9, False, None)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint32", "float32", "float64", ">i2"])
def test_every_type_of_voxel_and_any_order_in_memory_arrives(a_background_runner, a_checkpoint, dtype):
    values = np.asfortranarray(np.random.default_rng(0).integers(0, 2, (3, 5, 4)).astype(dtype))[:, ::-1]
    run = finish(a_background_runner.start(VolumeImage(values, np.eye(4)), checkpoint=a_checkpoint))
    assert (run.result().labels == (values > 0)).all()


def test_finished_slices_are_seen_while_the_run_goes_on(a_background_runner, a_checkpoint):
    volume = a_volume("slow")
    run = finish(a_background_runner.start(volume, checkpoint=a_checkpoint), lambda run: run.finished >= 3)
    assert run.is_running
    assert (run.labels[: run.finished] == (volume.array[: run.finished] > 0)).all()
    with pytest.raises(UsageError, match="not finished"):
        run.result()
    assert eventually(lambda: run.poll() and run.progress.seconds_left is not None)
    assert 0 < run.progress.seconds_left < 60
    finish(run)


def test_runs_use_the_same_worker_one_after_the_other(a_background_runner, a_checkpoint):
    first, second = (a_background_runner.start(a_volume("slow", 4), checkpoint=a_checkpoint) for _ in range(2))
    first, second = finish(first).result(), finish(second).result()
    assert first.provenance["pid"] == second.provenance["pid"]
    assert sorted((first.provenance["loaded"], second.provenance["loaded"])) == [1, 2]


def test_the_worker_unloads_when_idle(make_runner, a_checkpoint):
    runner = make_runner(idle_seconds=0.2)
    first = finish(runner.start(a_volume(), checkpoint=a_checkpoint)).result()
    time.sleep(0.6)
    second = finish(runner.start(a_volume(), checkpoint=a_checkpoint)).result()
    assert first.provenance["pid"] == second.provenance["pid"]
    assert second.provenance["loaded"] == 1


def test_prints_in_the_worker_do_no_harm(a_background_runner, a_checkpoint):
    volume = a_volume("print")
    result = finish(a_background_runner.start(volume, checkpoint=a_checkpoint)).result()
    assert (result.labels == (volume.array > 0)).all()


def test_errors_come_back_as_they_were(a_background_runner, a_checkpoint, tmp_path):
    with pytest.raises(ContractWarning, match=r"^'refuse' looks like MR\.$"):
        finish(a_background_runner.start(a_volume("refuse"), checkpoint=a_checkpoint)).result()
    with pytest.raises(CheckpointError, match="was not found"):
        finish(a_background_runner.start(a_volume(), checkpoint="nowhere")).result()
    with pytest.raises(RunError, match="ZeroDivisionError: by zero") as caught:
        finish(a_background_runner.start(a_volume("bug"), checkpoint=a_checkpoint)).result()
    assert "Traceback" in caught.value.details
    assert finish(a_background_runner.start(a_volume(), checkpoint=a_checkpoint)).result().provenance["loaded"] == 3


def test_discard_is_over_at_once_and_keep_gives_the_finished_slices(a_background_runner, a_checkpoint, runs):
    volume = a_volume("slow", 60)
    run = finish(a_background_runner.start(volume, checkpoint=a_checkpoint), lambda run: run.finished >= 2)
    run.cancel()
    assert not run.is_running
    with pytest.raises(Cancelled):
        run.result()
    kept = finish(a_background_runner.start(volume, checkpoint=a_checkpoint), lambda run: run.finished >= 2)
    assert run.join(0)  # the second waited for the first
    kept.cancel(keep=True)
    result = finish(kept).result()
    first, last = result.slice_range
    assert (first, 1 <= last < 59) == (0, True)
    assert (result.labels[: last + 1] == (volume.array[: last + 1] > 0)).all()
    assert not result.labels[last + 1 :].any()


@pytest.mark.parametrize("keep", [True, False])
def test_cancel_before_the_worker_is_there(a_background_runner, a_checkpoint, keep):
    run = a_background_runner.start(a_volume("slow", 60), checkpoint=a_checkpoint)
    run.cancel(keep)
    assert finish(run).join(10)
    if keep:
        assert run.result().slice_range[1] < 59
    else:
        with pytest.raises(Cancelled):
            run.result()


def test_a_worker_killed_at_any_slice_is_an_error_and_the_next_run_works(a_background_runner, a_checkpoint, runs):
    rng = random.Random(3)
    for _ in range(20):
        until = rng.randrange(12)
        run = a_background_runner.start(a_volume("slow", 12), checkpoint=a_checkpoint)
        finish(run, lambda run, until=until: run.started and run.finished >= until)
        for process in psutil.Process().children(recursive=True):
            os.kill(process.pid, signal.SIGKILL)
        finish(run)
        if until < 11:  # after the last slice it may have been too late
            with pytest.raises(RunError, match=r"ended unexpectedly \(killed by signal 9\)"):
                run.result()
        assert eventually(lambda: list(runs.iterdir()) == [])
    assert finish(a_background_runner.start(a_volume(), checkpoint=a_checkpoint)).result().slice_range is None


def test_a_hung_worker_is_ended(make_runner, a_checkpoint, tmp_path):
    runner = make_runner(patience=Patience(silence=4.0, stop=2.0))
    run = finish(runner.start(a_volume("hang"), checkpoint=a_checkpoint))
    with pytest.raises(RunError, match="has not answered for 4 seconds"):
        run.result()
    assert run.finished == 3
    assert workers_of(tmp_path) == []
    run = finish(runner.start(a_volume("hang"), checkpoint=a_checkpoint), lambda run: run.finished == 3)
    run.cancel()
    assert run.join(20)  # it hung, so it was ended
    assert finish(runner.start(a_volume(), checkpoint=a_checkpoint)).result().provenance["loaded"] == 1


def test_labels_that_cannot_be_opened_end_their_run_alone(a_background_runner, a_checkpoint, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("MedSegAttentionLib.runner.exchange.open_labels", lambda folder: (folder / "none").open())
        with pytest.raises(FileNotFoundError):
            finish(a_background_runner.start(a_volume("slow"), checkpoint=a_checkpoint)).result()
    volume = a_volume()
    result = finish(a_background_runner.start(volume, checkpoint=a_checkpoint)).result()
    assert (result.labels == (volume.array > 0)).all()
    assert result.provenance["loaded"] == 1  # nothing was asked of the worker before


def test_a_worker_that_cannot_start_says_why(make_runner, a_checkpoint):
    runner = make_runner(before="echo the library is broken >&2; exit 3")
    with pytest.raises(RunError, match="exit status 3") as caught:
        finish(runner.start(a_volume(), checkpoint=a_checkpoint)).result()
    assert "the library is broken" in caught.value.details
    with pytest.raises(RunError, match="could not be started with '/nowhere/python'"):
        finish(make_runner(python="/nowhere/python").start(a_volume(), checkpoint=a_checkpoint)).result()


@pytest.mark.parametrize("dies", ["nobody", "launcher"])
def test_a_launcher_and_its_python_end_together(make_runner, a_checkpoint, tmp_path, dies):
    runner = make_runner(launcher=True)
    run = finish(runner.start(a_volume("busy"), checkpoint=a_checkpoint), lambda run: run.started)
    (launcher,) = psutil.Process().children()
    (python,) = launcher.children()
    if dies == "launcher":
        launcher.kill()  # its Python goes on, with the pipes open
        with pytest.raises(RunError, match="killed by signal 9"):
            finish(run).result()
    else:
        runner.close()
        with pytest.raises(RunError):
            finish(run).result()
    assert eventually(lambda: not python.is_running() or python.status() == "zombie")


def test_the_worker_ends_when_its_stdin_does_whatever_it_computes(tmp_path, a_checkpoint, runs):
    """As when the process that started it is killed: nobody is left to end it or to remove its files."""
    script = (
        "import sys, time; from pathlib import Path; import numpy as np\n"
        "from MedSegAttentionLib.data.volume import VolumeImage\n"
        "from MedSegAttentionLib.runner.background import BackgroundRunner\n"
        "volume = VolumeImage(np.zeros((3, 4, 5)), np.eye(4), 'busy')\n"
        "run = BackgroundRunner(sys.argv[1], folder=Path(sys.argv[2])).start(volume, checkpoint=sys.argv[3])\n"
        "while run.poll() and not run.started: time.sleep(0.01)\n"
        "print('started', flush=True); time.sleep(1000)"
    )
    arguments = [sys.executable, "-c", script, str(fake_worker.executable(tmp_path)), str(runs), str(a_checkpoint)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=MODULE_FOLDER) as parent:
        try:
            assert parent.stdout.readline() == b"started\n"
            (worker,) = psutil.Process(parent.pid).children()
            assert len(list(runs.iterdir())) == 1
        finally:
            parent.kill()
    assert eventually(lambda: not worker.is_running() or worker.status() == "zombie", 5)
    assert list(runs.iterdir()) == []


def test_a_full_disk_is_an_error_on_either_side(make_runner, a_checkpoint):
    """A limit on the size of files stands for the full disk."""
    volume = a_volume(slices=400)  # 24 kB, its labels 12 kB, its map 48 kB
    with file_size_limit(8000), pytest.raises(RunError, match=r"could not write 0.0 MB .* Free some space"):
        finish(make_runner().start(volume, checkpoint=a_checkpoint)).result()
    runner = make_runner(before="ulimit -f 64")
    with pytest.raises(RunError, match=r"could not write 0\.1 MB"):
        finish(runner.start(a_volume(slices=700), checkpoint=a_checkpoint)).result()


@contextmanager
def file_size_limit(size: int):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_room_for_a_folder_is_an_error(make_runner, a_checkpoint, runs, tmp_path):
    runner = BackgroundRunner(fake_worker.executable(tmp_path), folder=runs / "missing")
    with pytest.raises(RunError, match="no temporary folder can be made"):
        finish(runner.start(a_volume(), checkpoint=a_checkpoint)).result()
    runner.close()


def test_fifty_runs_leave_no_file_no_thread_and_no_memory(a_background_runner, a_checkpoint, runs):
    import threading

    volume = VolumeImage(np.zeros((8, 256, 256), np.float32), np.eye(4))  # 2 MB, and 2 MB of attention
    process, memory = psutil.Process(), []
    for n in range(50):
        run = a_background_runner.start(volume, checkpoint=a_checkpoint, settings=RunSettings())
        if n % 5 == 1:
            run.cancel()
        finish(run)
        run.join()
        memory.append(process.memory_info().rss)
    assert list(runs.iterdir()) == []
    assert max(memory[30:]) - max(memory[:20]) < 20e6  # what fifty runs would keep is 225 MB
    assert len([thread for thread in threading.enumerate() if thread.name == "MedSegAttention run"]) == 0
    assert len(psutil.Process().children()) == 1


def test_the_worker_module_is_quick_to_start_and_knows_no_slicer():
    script = (
        f"import sys; import {WORKER}; print(sorted({{'torch', 'slicer', 'vtk', 'qt', 'monai'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=MODULE_FOLDER, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_caller_that_waits_is_told_how_far_the_run_is_and_may_stop_it(a_background_runner, a_checkpoint):
    """As a batch of the panel does, which keeps the window alive meanwhile."""
    told, waits = [], []
    choice = {"checkpoint": a_checkpoint, "while_waiting": lambda: waits.append(True)}
    result = a_background_runner.run(a_volume(), **choice, on_slice=told.append)
    assert result.labels.shape == (9, 6, 5)
    assert [progress.count for progress in told] == [9] * len(told)
    assert waits
    with pytest.raises(Cancelled, match="nothing was kept"):
        a_background_runner.run(a_volume(), **choice, is_cancelled=lambda: True)


def test_what_a_callback_raises_stops_the_run(a_background_runner, a_checkpoint, runs):
    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        a_background_runner.run(a_volume(), checkpoint=a_checkpoint, while_waiting=fail)
    assert a_background_runner.run(a_volume(), checkpoint=a_checkpoint).labels.any()
    assert eventually(lambda: list(runs.iterdir()) == [])


def test_the_attention_of_a_position_comes_back(a_background_runner, a_checkpoint, runs):
    waited = []
    row, provenance = a_background_runner.attention_row(
        a_volume(), (1.5, 2, 3), checkpoint=a_checkpoint, map="stage4", while_waiting=lambda: waited.append(1)
    )
    assert (row.map.name, row.map.title, row.map.range) == ("../row", "stage4", (0.0, 0.125))
    assert (row.array == 1.5).all()
    assert (row.ijk_to_ras == a_volume().ijk_to_ras).all()
    assert provenance["pid"] != os.getpid()
    assert waited
    assert eventually(lambda: list(runs.iterdir()) == [])


def test_a_position_is_given_up_when_its_volume_is_gone_and_when_the_worker_dies(make_runner, a_checkpoint):
    runner = make_runner(patience=Patience(stop=0.5))
    with pytest.raises(Cancelled):
        runner.attention_row(a_volume("hang"), (0, 0, 0), checkpoint=a_checkpoint, is_cancelled=lambda: True)

    def kill():
        for worker in psutil.Process().children():
            worker.kill()

    with pytest.raises(RunError, match="unexpectedly"):
        runner.attention_row(a_volume("hang"), (0, 0, 0), checkpoint=a_checkpoint, while_waiting=kill)
    assert runner.attention_row(a_volume(), (0, 0, 0), checkpoint=a_checkpoint)[0].array.shape == (1, 2, 2)


def test_the_worker_of_an_application_in_the_background_runs_at_the_usual_priority(make_runner, a_checkpoint):
    if os.geteuid() != 0 and resource.getrlimit(resource.RLIMIT_NICE)[1] < 20:
        pytest.skip("this user may not raise a priority")
    runner = make_runner(before="renice -n 19 -p $$ >/dev/null")
    result = runner.run(a_volume(), checkpoint=a_checkpoint)
    assert psutil.Process(result.provenance["pid"]).nice() == 0


def test_a_panel_that_closes_while_its_worker_is_looked_at_gets_none():
    """Another thread starts workers: it is told that the panel is closed, and nothing breaks."""
    keeper = WorkerKeeper()

    class Worker:
        ended = False

        @property
        def alive(self) -> bool:
            keeper.close()  # at this very moment, by the thread of the panel
            return True

        def forget_events(self) -> None:
            pass

        def end(self) -> None:
            self.ended = True

    keeper._worker = worker = Worker()
    with pytest.raises(RunError):
        keeper.worker()
    assert worker.ended
