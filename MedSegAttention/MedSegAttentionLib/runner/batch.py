"""Many cases one after another: resumable, and no case that fails stops the rest."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from ..checkpoints.card_file import read_card
from ..checkpoints.catalogue import choose_checkpoint
from ..data.card import Card
from ..data.case import Case
from ..data.dicom_source import identity_entries
from ..data.errors import Cancelled, InputError, MedSegAttentionError, UsageError
from ..data.result import RunProgress, SliceResult, VolumeResult
from ..data.volume import VolumeImage
from ..inference.acceptance import accept
from ..inference.settings import RunSettings
from .records import is_whole, read_record, results_in, write_record, write_summary

logger = logging.getLogger(__name__)

SUMMARY_FILE = "summary.csv"
DECISIVE = ("attention", "attention_grid", "axis", "force", "test_time_flips", "slices", "box", "left_out")
"""Settings that change a result; on which device and how many slices at once it was computed does not."""


@dataclass(frozen=True)
class Request:
    """What to run on a case.

    Attributes:
        run: ``run`` of :mod:`.in_process`, or that of a :class:`~.background.BackgroundRunner`.
        task: see ``run``.
        checkpoint: see ``run``.
        settings: see ``run``.
        anonymous: leave out of the records what tells whose image it is.
    """

    run: Callable[..., VolumeResult]
    task: str | None = None
    checkpoint: str | Path | None = None
    settings: RunSettings = field(default_factory=RunSettings)
    anonymous: bool = False

    def check(self, volume: VolumeImage) -> None:
        """Raise what ``run`` would raise about volume and settings, before anything is loaded or computed."""
        card = read_card(choose_checkpoint(self.task, volume, self.checkpoint))
        self.settings.maps(card)
        self.settings.mirrors(card)
        accept(volume, card, self.settings.force)

    def result(
        self,
        volume: VolumeImage,
        on_slice: Callable[[RunProgress], None] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> VolumeResult:
        """Run; see ``run`` for the callbacks, the first of which gets how far it is."""

        def tell(finished: SliceResult | RunProgress) -> None:
            if on_slice:
                on_slice(finished.progress if isinstance(finished, SliceResult) else finished)

        choice = {"task": self.task, "checkpoint": self.checkpoint, "settings": self.settings}
        return self.run(volume, **choice, on_slice=tell, is_cancelled=is_cancelled)


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        case: its name.
        status: ``segmented``, ``skipped`` (the result is there already), ``failed`` or ``cancelled``.
        record: provenance and what was found; empty unless segmented or skipped.
        error: why it failed, or None.
    """

    case: str
    status: str
    record: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None


@dataclass(frozen=True)
class BatchProgress:
    """Where a batch is.

    Attributes:
        case: name of the case.
        index: its number, from 0.
        count: number of cases.
        slices: how far the case is, or None when it begins or ends.
        outcome: how the case ended, or None while it runs.
    """

    case: str
    index: int
    count: int
    slices: RunProgress | None = None
    outcome: Outcome | None = None


def run_batch(
    cases: Sequence[Case],
    request: Request,
    output: Path | None,
    *,
    overwrite: bool = False,
    on_progress: Callable[[BatchProgress], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> list[Outcome]:
    """Segment all cases; ``summary.csv`` in ``output`` is brought up to date after each.

    A case whose record in ``output`` tells of the same image, checkpoint and settings, with all files there, is
    skipped; one whose record tells of another image or task fails, so that names which patients share cost no result.
    A cancelled batch ends with the case it was at.

    Args:
        cases: each with a stem of its own.
        request: what to run.
        output: folder of the results; None leaves it to ``Case.save`` to keep them, and nothing is ever skipped.
        overwrite: skip nothing, and replace whatever result is there.
        on_progress: called before each case, after each slice and after each case.
        is_cancelled: asked before each case and after each slice.

    Raises:
        UsageError: an option that can never work.
    """
    outcomes: list[Outcome] = []
    for index, case in enumerate(cases):

        def tell(index: int = index, case: Case = case, **what: Any) -> None:
            if on_progress:
                on_progress(BatchProgress(case.name, index, len(cases), **what))

        tell()
        if is_cancelled and is_cancelled():
            outcomes.append(Outcome(case.name, "cancelled"))
        else:
            callbacks = {"on_slice": lambda finished, tell=tell: tell(slices=finished), "is_cancelled": is_cancelled}
            outcomes.append(_outcome(case, request, output, overwrite, callbacks))
        if output:
            write_summary(output / SUMMARY_FILE, [_row(outcome) for outcome in outcomes])
        tell(outcome=outcomes[-1])
        if outcomes[-1].status == "cancelled":
            break
    return outcomes


def segment_case(
    case: Case, request: Request, output: Path | None, *, seconds: dict[str, float] | None = None, **callbacks: Any
) -> dict[str, Any]:
    """Segment one case and keep its result; a failed run leaves nothing.

    Args:
        case: what to segment.
        request: what to run.
        output: folder of the results, made when missing; None as in :func:`run_batch`.
        seconds: by stage, spent before.
        callbacks: see ``run``.

    Returns:
        The record of the case: provenance, hash of the image, what was found, names of the files.
    """
    if output is None:
        return _read_run_save(case, request, Path(), seconds or {}, callbacks)
    with results_in(output, case.stem, case.endings) as folder:
        return write_record(folder, case.stem, _read_run_save(case, request, folder, seconds or {}, callbacks))


def _read_run_save(
    case: Case, request: Request, folder: Path, seconds: dict[str, float], callbacks: dict[str, Any]
) -> dict[str, Any]:
    begin = perf_counter()
    volume = case.read()
    seconds = {**seconds, "read": round(seconds.get("read", 0.0) + perf_counter() - begin, 4)}
    result = request.result(volume, **callbacks)
    seconds |= result.provenance.get("seconds", {})
    seconds |= case.save(volume, result, folder)
    return {
        **result.provenance,
        "seconds": seconds,
        "input_sha256": volume.sha256(),
        **case.kinds,
        **identity_entries(volume.source, request.anonymous),
        "segments": result.found(),
    }


def _outcome(case: Case, request: Request, output: Path | None, overwrite: bool, callbacks: dict[str, Any]) -> Outcome:
    try:
        if output and not overwrite and (record := _earlier_result(case, request, output)):
            return Outcome(case.name, "skipped", record)
        return Outcome(case.name, "segmented", segment_case(case, request, output, **callbacks))
    except UsageError:
        raise
    except Cancelled:
        return Outcome(case.name, "cancelled")
    except Exception as error:  # one case must not stop the rest, whatever happens to it
        if not isinstance(error, MedSegAttentionError):
            logger.debug("case '%s' failed", case.name, exc_info=True)
        _forget_variables(error)
        return Outcome(case.name, "failed", error=error)


def _forget_variables(error: BaseException | None) -> None:
    """Empty the frames of a traceback and of those behind it: they hold the image, and a batch has many."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _earlier_result(case: Case, request: Request, output: Path) -> dict[str, Any] | None:
    """The record of an earlier result that the request would give again; raises as :func:`earlier_record`."""
    record, card = earlier_record(case, request, output)
    settings = record.get("settings")
    unchosen, wanted = _decisive(RunSettings()), _decisive(request.settings)
    same = isinstance(settings, dict) and wanted == {name: settings.get(name, unchosen[name]) for name in DECISIVE}
    same = same and all(record.get(name) == kind for name, kind in case.kinds.items())
    same = same and card is not None and record.get("weights_sha256") == card.weights_sha256
    return record if same and is_whole(output, case.stem, record, case.endings) else None


def _decisive(settings: RunSettings) -> dict[str, Any]:
    """The settings that change a result, as a record in JSON gives them back."""
    return json.loads(json.dumps({name: getattr(settings, name) for name in DECISIVE}))


def earlier_record(case: Case, request: Request, output: Path) -> tuple[dict[str, Any], Card | None]:
    """The record of an earlier result for the same image and task, and the card that would be used now; or nothing.

    Raises:
        InputError: a result of another image or task is there under this name, and would be lost.
    """
    record = read_record(output, case.stem)
    if "input_sha256" not in record:
        return {}, None
    volume = case.read()
    card = read_card(choose_checkpoint(request.task, volume, request.checkpoint))
    now = {"image": volume.sha256(), "task": card.task}
    then = {"image": record["input_sha256"], "task": record.get("task")}
    if other := [what for what in now if now[what] != then[what]]:
        raise InputError(
            f"'{output}' holds a result for another {other[0]} under the name '{case.stem}'; choose another output "
            "folder, or have it replaced (overwrite)."
        )
    return record, card


def _row(outcome: Outcome) -> dict[str, Any]:
    error = " ".join(str(outcome.error).split()) if outcome.error else ""
    return {"case": outcome.case, "status": outcome.status, "error": error, "record": outcome.record}
