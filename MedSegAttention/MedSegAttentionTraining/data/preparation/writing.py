"""Writing all cases of a download with their description and split. A case is there whole or not at all."""

from __future__ import annotations

import csv
import json
import logging
import random
import shutil
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from MedSegAttentionLib.cohort.cluster import ClusterChoice
from MedSegAttentionLib.cohort.each import each
from MedSegAttentionLib.data.errors import InputError, UsageError
from MedSegAttentionLib.files.reading import stem_of

from .chaos import find_chaos
from .pictures import find_cvc_clinicdb, find_isic, find_kvasir_seg, find_ph2
from .prostatex import find_prostatex
from .source_case import SourceCase
from .sources import SOURCES, DataSource
from .uw_madison import find_uw_madison
from .volumes import find_btcv, find_promise12, find_prostate158

logger = logging.getLogger(__name__)
FINDERS = {
    "promise12": find_promise12,
    "prostatex": find_prostatex,
    "prostate158": find_prostate158,
    "isic2017": partial(find_isic, year="2017"),
    "isic2018": partial(find_isic, year="2018"),
    "ph2": find_ph2,
    "kvasir-seg": find_kvasir_seg,
    "cvc-clinicdb": find_cvc_clinicdb,
    "btcv": find_btcv,
    "chaos": find_chaos,
    "chaos-t1dual": partial(find_chaos, sequence="T1DUAL"),
    "uw-madison": find_uw_madison,
}
UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Split:
    """How cases are divided: ``published``, or drawn with ``seed`` until ``test_share`` of the units is test."""

    published: bool
    seed: int
    test_share: float


def prepare(
    dataset: str,
    source: str | Path,
    out: str | Path,
    seed: int = 0,
    test_share: float | None = None,
    cluster: ClusterChoice | None = None,
) -> dict[str, int]:
    """Turn the download ``source`` into the folder ``out``; goes on where an earlier run stopped.

    Args:
        dataset: a name of :data:`~.sources.SOURCES`.
        source: folder of the unpacked download; left as it is.
        out: folder to write: ``images/``, ``labels/`` or ``masks/``, ``dataset.json``, ``splits.csv``, ``README.md``.
        seed: of the draw.
        test_share: share of the patients (sequences, pictures) drawn for test, 0 to 1. None takes the published split,
            and where there is none the data set's own share.
        cluster: whose workers write the cases; None for this process.

    Returns:
        Number of cases in each part of the split.

    Raises:
        InputError: the layout is not the data set's, or ``out`` holds something else.
    """
    if dataset not in SOURCES:
        raise UsageError(f"data set '{dataset}' is not known; expected one of {', '.join(SOURCES)}.")
    if test_share is not None and not 0 <= test_share <= 1:
        raise UsageError(f"test share {test_share} is out of range; expected 0 to 1.")
    about, source, out = SOURCES[dataset], Path(source).resolve(), Path(out).resolve()
    if not source.is_dir():
        raise InputError(f"'{source}' is no folder; expected the unpacked download of {about.title}: {about.layout}.")
    if out.is_relative_to(source):
        raise InputError(f"'{out}' lies in the download '{source}'; expected a folder outside of it.")
    cases = _checked(FINDERS[dataset](source), about, source)
    _open(out, dataset)
    _write_cases(cases, out, cluster)
    split, parts = divide(cases, seed, test_share, about.test_share)
    _describe(dataset, about, split, cases, parts, out)
    shutil.rmtree(out / UNFINISHED)
    return {part: list(parts.values()).count(part) for part in sorted(set(parts.values()))}


def divide(
    cases: list[SourceCase], seed: int, test_share: float | None, usual_share: float
) -> tuple[Split, dict[str, str]]:
    """Case name -> ``train``, ``validation`` or ``test``; cases of one group stay together."""
    if test_share is None and all(case.part for case in cases) and any(case.part == "test" for case in cases):
        return Split(True, seed, 0.0), {case.name: str(case.part) for case in cases}
    share = usual_share if test_share is None else test_share
    groups = sorted({case.group for case in cases})
    random.Random(seed).shuffle(groups)
    count = round(share * len(groups))
    if 0 < share < 1 and len(groups) > 1:
        count = min(max(count, 1), len(groups) - 1)
    test = set(groups[:count])
    return Split(False, seed, share), {case.name: "test" if case.group in test else "train" for case in cases}


def _checked(cases: list[SourceCase], about: DataSource, source: Path) -> list[SourceCase]:
    if not cases:
        raise InputError(f"'{source}' holds no case of {about.title}; expected {about.layout}.")
    names = [case.name for case in cases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"'{source}' holds {twice[:3]} more than once; expected one copy of each case of {about.title}."
        )
    return cases


def _open(out: Path, dataset: str) -> None:
    """Make ``out``, or see that it holds the same data set, and clear what a stopped run left half done."""
    description, marker = out / "dataset.json", out / UNFINISHED / dataset
    if description.is_file():
        known = json.loads(description.read_text(encoding="utf-8")).get("name") == dataset
    else:
        known = marker.is_file() or not (out.is_dir() and any(out.iterdir()))
    if not known:
        raise InputError(f"'{out}' holds something else than '{dataset}'; expected an empty or a new folder.")
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()


def _write_cases(cases: list[SourceCase], out: Path, cluster: ClusterChoice | None) -> None:
    """Write the cases that are not there yet; each is moved to its place when it is whole, the image last."""
    there = {stem_of(path) for path in (out / "images").glob("*")}
    missing = [case for case in cases if case.name not in there]
    where = cluster and replace(cluster, gpus=0)
    written = each(partial(partial, _write_case, out), missing, where)
    for _done in tqdm(written, desc="cases", total=len(missing), mininterval=5):
        pass
    logger.info("%d cases written, %d were there", len(missing), len(cases) - len(missing))


def _write_case(out: Path, case: SourceCase) -> None:
    work = out / UNFINISHED / f"case {case.name}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    case.write(work)
    for path in sorted(work.glob("*/*"), reverse=True):  # masks, labels, images
        (out / path.parent.name).mkdir(exist_ok=True)
        path.replace(out / path.parent.name / path.name)


def _describe(
    dataset: str, about: DataSource, split: Split, cases: list[SourceCase], parts: dict[str, str], out: Path
) -> None:
    """``splits.csv``, ``README.md`` and, last, ``dataset.json``."""
    with open(out / "splits.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("dataset", "case", "split", about.unit))
        writer.writerows((out.name, case.name, parts[case.name], case.group) for case in cases)
    how = "as published" if split.published else f"drawn with seed {split.seed}, test share {split.test_share:g}"
    lines = [
        f"# {about.title}",
        f"Where it is had: {about.home}",
        f"Terms: {about.terms}. The terms shown at the download count; this folder is under the same.",
        f"Cite: {about.citation}",
        f"Split by {about.unit}: {how}.",
        *([f"To know: {about.doubts}."] if about.doubts else []),
    ]
    (out / "README.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    description = {
        "name": dataset,
        "title": about.title,
        "channel_names": {"0": about.channel},
        "labels": about.labels,
        "spacing_is_real": about.spacing_is_real,
        "home": about.home,
        "terms": about.terms,
        "citation": about.citation,
        "doubts": about.doubts,
        "split": {"unit": about.unit, **asdict(split)},
    }
    (out / "dataset.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
