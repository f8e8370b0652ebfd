"""Cohorts on a Ray cluster of several nodes on this machine: nothing lost, the same files as by one process."""

from __future__ import annotations

import errno
import logging
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import cohort_workers
import test_evaluation
import test_preparation
from command_tools import a_series, bright, names
from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.cohort import run
from MedSegAttentionLib.cohort.cluster import ClusterChoice, Share, share_of
from MedSegAttentionLib.cohort.each import each
from MedSegAttentionLib.cohort.pool import Failure, Pool
from MedSegAttentionLib.cohort.run import Done, Job, start_worker
from MedSegAttentionLib.cohort.sizes import size_of
from MedSegAttentionLib.commands.cohort import tell_failures
from MedSegAttentionLib.data.errors import InputError, RunError, UsageError
from MedSegAttentionLib.files.cases import ImageSource
from MedSegAttentionLib.files.study import find_series
from MedSegAttentionLib.inference.settings import RunSettings
from MedSegAttentionLib.runner.one_case import Outcome
from MedSegAttentionTraining.data.preparation.writing import prepare
from MedSegAttentionTraining.measuring.cohort import parts_table
from MedSegAttentionTraining.measuring.evaluation import evaluate
from small_checkpoint import write_checkpoint
from test_claims import table

ray = pytest.importorskip("ray")
pytest_plugins = ["command_fixtures"]
ONE_CPU = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80_000_000}


@pytest.fixture(scope="module")
def cluster():
    """A head without CPUs and two nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ |= {
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), *filter(None, [before]))),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_memory_monitor_refresh_ms": "0",  # the machine of the tests may be full
        "OMP_NUM_THREADS": "1",
    }
    made = Cluster(initialize_head=True, head_node_args={**ONE_CPU, "num_cpus": 0})
    made.nodes = [made.add_node(**ONE_CPU) for _ in range(2)]
    made.wait_for_nodes()
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def a_pool(start, workers: int = 2) -> Pool:
    return Pool(ray, start, Share(workers, 1, 0))


def test_items_are_handed_out_in_order_and_failures_are_answers(cluster):
    results = dict(a_pool(cohort_workers.start_simple).results([1, 2, "three", 4]))
    assert {index: value for index, value in results.items() if index != 2} == {0: 2, 1: 4, 3: 8}
    assert isinstance(results[2], Failure)
    assert isinstance(results[2].error, ValueError)


def test_an_item_whose_worker_dies_is_done_again_and_set_aside_after_twice(cluster, tmp_path, caplog):
    items, repeated = ["a", "once", "fatal", "b", "c"], []
    pool = a_pool(partial(cohort_workers.start_dying, str(tmp_path)))
    results = dict(pool.results(items, again=repeated.append))
    assert [results[index] for index in (0, 1, 3, 4)] == ["a done", "once done", "b done", "c done"]
    assert results[2].crashed
    assert "crashed its worker twice and is set aside" in str(results[2].error)
    assert {name: (tmp_path / name).stat().st_size for name in items} == {"a": 1, "once": 2, "fatal": 2, "b": 1, "c": 1}
    assert sorted(repeated) == [1, 2, 2]


def test_a_machine_that_dies_costs_no_item(cluster, tmp_path, caplog):
    node = cluster.add_node(**ONE_CPU)
    cluster.wait_for_nodes()
    results, killed = {}, False
    for index, value in a_pool(partial(cohort_workers.start_slow, str(tmp_path)), 3).results(list(range(12))):
        results[index] = value
        if not killed and any(node.node_id in name for name in names(tmp_path)):
            cluster.remove_node(node, allow_graceful=False)
            killed = True
    assert killed
    assert results == {index: index for index in range(12)}
    assert "a machine died; its case is handed out again" in caplog.text


def test_what_is_put_off_comes_last(cluster):
    asked = []

    def begin(index: int) -> bool:
        asked.append(index)
        return index or asked.count(0) > 2

    order = [index for index, _ in a_pool(cohort_workers.start_simple, 1).results([5, 6, 7], begin)]
    assert order == [1, 2, 0]


def test_evaluate_gives_on_a_cluster_what_it_gives_here(cluster, tmp_path):
    masks = {
        name: np.roll(test_evaluation._cube(1, 2), shift, axis=2) for name, shift in zip("abc", range(3), strict=False)
    }
    data = test_evaluation._data(tmp_path / "set", masks, {"prostate": 1})
    card = {"intensity": {"method": "window", "low": 0, "high": 100}, "fit": {"fit": "spacing", "mm": 0.5, "size": 32}}
    folder = write_checkpoint(tmp_path / "checkpoint", **card)
    torch.set_num_threads(1)
    here, there = (
        evaluate(folder, data, device="cpu", json_path=tmp_path / f"{name}.json", cluster=where)
        for name, where in (("here", None), ("there", ClusterChoice("auto", 2)))
    )
    assert [case["case"] for case in there["cases"]] == ["a", "b", "c"]
    assert there["mean"]["dice"] > 0
    assert there["tau"]
    assert there == here
    assert (tmp_path / "there.json").read_bytes() == (tmp_path / "here.json").read_bytes()


def test_a_case_that_fails_ends_what_it_is_part_of(cluster):
    with pytest.raises(ValueError, match="three"):
        list(each(partial(cohort_workers.start_simple, 1), [1, "three", 2], ClusterChoice("auto", 2)))


def test_prepare_writes_the_same_files_on_a_cluster(cluster, tmp_path):
    source = test_preparation._made(tmp_path, "promise12")
    for name, where in (("here", None), ("there", ClusterChoice("auto", 2))):
        prepare("promise12", source, tmp_path / name / "set", cluster=where)
    here, there = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("here", "there")
    )
    assert len(here) > 4
    assert there == here


def test_workers_that_do_not_start_end_the_run(cluster):
    with pytest.raises(RunError, match=r"workers do not start.*no network here"):
        list(a_pool(cohort_workers.start_never).results([1]))


def test_the_benchmark_measures_each_part(cluster):
    lines = parts_table(40, 2).splitlines()
    assert lines[0].endswith("40 empty cases, 2 workers")
    assert [float(line.split("|")[2]) > 0 for line in lines[4:7]] == [True] * 3


def nodes(*resources: dict[str, float]) -> list[dict]:
    return [{"Alive": True, "Resources": values} for values in resources]


@pytest.mark.parametrize(
    ("resources", "workers", "gpus", "expected"),
    [
        ([{"CPU": 4.0}], None, None, Share(4, 1, 0)),
        ([{"CPU": 8.0}], 2, None, Share(2, 4, 0)),
        ([{"CPU": 3.0}, {"CPU": 3.0}, {}], 3, None, Share(3, 1, 0)),
        ([{"CPU": 16.0, "GPU": 4.0}], None, None, Share(4, 4, 1.0)),
        ([{"CPU": 16.0, "GPU": 4.0}], None, 0.5, Share(8, 2, 0.5)),
        ([{"CPU": 16.0, "GPU": 3.0}], None, 2, Share(1, 16, 2)),
        ([{"CPU": 2.0, "GPU": 4.0}], 2, 0, Share(2, 1, 0)),
    ],
)
def test_workers_share_machines(resources, workers, gpus, expected):
    assert share_of(nodes(*resources), ClusterChoice(workers=workers, gpus=gpus), True) == expected


@pytest.mark.parametrize(("workers", "gpus"), [(5, None), (1, 1.0), (0, None), (None, -1), (None, 1.5)])
def test_what_does_not_fit_says_so(workers, gpus):
    with pytest.raises(UsageError, match=r"do not fit|not possible"):
        share_of(nodes({"CPU": 4.0}), ClusterChoice(workers=workers, gpus=gpus), True)


@pytest.fixture
def cohort(tmp_path) -> Path:
    """Five images of different size, one of which is none."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(4):
        array = np.tile(sitk.GetArrayFromImage(bright()), (number + 1, 1, 1))
        sitk.WriteImage(sitk.GetImageFromArray(array + np.float32(number / 100)), str(folder / f"{number}.nrrd"))
    (folder / "broken.nrrd").write_text("no image")
    return folder


@pytest.fixture
def segment_to(a_checkpoint):
    def run(output: Path, *words: Path | str) -> int:
        where = ["--checkpoint", str(a_checkpoint), "--output", str(output), "--device", "cpu"]
        return main(["segment", *map(str, words), *where])

    return run


def test_a_cohort_gives_the_files_of_a_serial_run_bit_for_bit(cluster, cohort, segment_to, tmp_path, capfd):
    serial, spread = tmp_path / "serial", tmp_path / "spread"
    assert segment_to(serial, cohort) == 1
    capfd.readouterr()
    assert segment_to(spread, cohort, "--cluster", "auto", "--workers", "2") == 1
    told = capfd.readouterr()
    assert "2 workers, each with 1 CPU and 0 GPU" in told.out
    assert "case 5 of 5 (30 slices, 1 failed" in told.out
    assert "broken.nrrd: '" in told.err
    assert "     1  '...' could not be read" in told.out
    files = [name for name in names(serial) if name.endswith((".nrrd", ".png"))]
    assert len(files) > 8
    assert names(spread) == names(serial)
    for name in files:
        one, other = (sitk.GetArrayFromImage(sitk.ReadImage(str(folder / name))) for folder in (serial, spread))
        np.testing.assert_array_equal(one, other, err_msg=name)
    kept = ("status", "checkpoint", "weights_sha256", "prostate mL", "error", "findings", "warnings")
    rows = [{case: [row[name] for name in kept] for case, row in table(folder).items()} for folder in (serial, spread)]
    assert rows[0] == rows[1]
    _goes_on_where_it_stopped(spread, cohort, segment_to, capfd)


def _goes_on_where_it_stopped(spread: Path, cohort: Path, segment_to, capfd) -> None:
    """What is missing alone is done; a case that another run holds is waited for."""
    (spread / "2.seg.nrrd").unlink()
    times = {name: (spread / f"{name}.seg.nrrd").stat().st_mtime_ns for name in "013"}
    sitk.WriteImage(bright(), str(cohort / "broken.nrrd"))
    assert segment_to(spread, cohort, "--cluster", "auto", "--workers", "1") == 0
    assert "2 of 5 segmented, 3 skipped" in capfd.readouterr().out
    assert {name: (spread / f"{name}.seg.nrrd").stat().st_mtime_ns for name in "013"} == times
    assert [row["status"] for row in table(spread).values()].count("skipped") == 3
    assert not [name for name in names(spread) if name.startswith(".")]


def test_the_time_left_is_by_what_was_segmented_now(cluster, cohort, tmp_path, monkeypatch):
    output, told = tmp_path / "out", []
    output.mkdir()

    class Answers:
        """Of a pool: three cases have a result, and each other takes ten seconds."""

        def __init__(self, *_given) -> None:
            pass

        def results(self, items, begin, _again):
            for number, item in enumerate(items):
                begin(number)
                (output / f"{item.stem}.json").write_text("{}")
                yield number, Done("skipped") if number < 3 else Done("segmented", None, 1, 10.0)

    monkeypatch.setattr(run, "Pool", Answers)
    images = [ImageSource(cohort / "0.nrrd", str(number), str(number)) for number in range(8)]
    run.run_cohort(images, Job(output), ClusterChoice("auto", 2), told.append)
    assert [one.left for one in told] == [None, None, None, 20.0, 15.0, 10.0, 5.0, 0.0]


def test_a_dry_run_writes_nothing_and_tells_how_long(cluster, cohort, segment_to, tmp_path, capfd):
    (cohort / "broken.nrrd").unlink()
    for words in ((), ("--cluster", "auto", "--workers", "1")):
        assert segment_to(tmp_path / "out", cohort, "--dry-run", *words) == 0
        out = capfd.readouterr().out
        assert "4 of 4 images would be segmented" in out
        assert out.count("tried ") == 3
        assert "with 1 worker" in out
        assert names(tmp_path) == ["in"]


def test_a_full_disk_of_a_worker_fails_the_case_and_leaves_nothing(cohort, a_checkpoint, tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    from MedSegAttentionLib.output import case_files

    job = Job(tmp_path / "out", checkpoint=str(a_checkpoint), settings=RunSettings("cpu"))
    work, image = start_worker(job, 1), ImageSource(cohort / "0.nrrd", "0")
    with monkeypatch.context() as patched:
        patched.setattr(case_files, "write_figure", full)
        done = work(image)
    assert (done.status, done.slices) == ("failed", 0)
    assert "No space left" in str(done.error)
    assert names(tmp_path / "out") == []
    assert work(image).status == "segmented"


def test_the_largest_goes_first_and_each_file_of_an_image_counts(tmp_path):
    (tmp_path / "a.mhd").write_text("x")
    (tmp_path / "a.raw").write_bytes(b"x" * 50)
    (tmp_path / "b.nrrd").write_bytes(b"x" * 20)
    a_series(tmp_path / "series", "p")
    sizes = {path.name: size_of(ImageSource(path, "s")) for path in (tmp_path / "a.mhd", tmp_path / "b.nrrd")}
    assert sizes == {"a.mhd": 51, "b.nrrd": 20}
    folder = tmp_path / "series"
    assert size_of(ImageSource(folder, "s")) == sum(path.stat().st_size for path in folder.iterdir())
    (found,) = find_series(folder)
    assert size_of(ImageSource(folder, "s", dicom=found)) == pytest.approx(size_of(ImageSource(folder, "s")), rel=0.01)
    assert size_of(ImageSource(tmp_path / "lost.nrrd", "s")) == 1


def test_failures_are_counted_by_reason(caplog):
    caplog.set_level(logging.INFO)
    failed = [
        Outcome(f"{n}.nrrd", "failed", error=InputError(f"'{n}.nrrd' has {n} slices; take more.")) for n in "1234"
    ]
    tell_failures([*failed, Outcome("x", "failed", error=RunError("out of luck")), Outcome("y", "segmented")])
    assert [record.getMessage() for record in caplog.records][1:] == [
        "     4  '...' has N slices (1.nrrd, 2.nrrd, 3.nrrd, ...)",
        "     1  out of luck (x)",
    ]


def test_wrong_use_is_told_before_anything_runs(segment_to, cohort, tmp_path, capfd, monkeypatch):
    assert segment_to(tmp_path / "out", cohort, "--workers", "2") == 2
    assert "--workers was given without --cluster" in capfd.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert segment_to(tmp_path / "out", cohort, "--cluster", "local") == 1
    assert 'pip install "medsegattention[cohort]"' in capfd.readouterr().err
