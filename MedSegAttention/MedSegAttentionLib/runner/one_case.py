"""One case: what to run on it, whether its result is there already, how it ends."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
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
from .claims import Claim, Claims
from .records import is_whole, read_record, remove_unfinished, results_in, write_record

logger = logging.getLogger(__name__)

DECISIVE = ("attention", "attention_grid", "axis", "force", "test_time_flips", "slices", "box", "left_out")
"""Settings that change a result; on which device and how many slices at once it was computed does not."""


@dataclass(frozen=True)
class Request:
    """What to run on a case.

    Attributes:
        run: ``run`` of :mod:`.in_process`, that of a :class:`~.background.BackgroundRunner`, or
            :func:`~.once.run_once`.
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
        stem: start of the names of its files.
    """

    case: str
    status: str
    record: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None
    stem: str = ""

    def row(self) -> dict[str, Any]:
        """What the table of the batch says of it, see :func:`~.summary.write_summary`."""
        error = " ".join(str(self.error).split()) if self.error else ""
        what = {"case": self.case, "stem": self.stem, "status": self.status}
        return {**what, "error": error, "record": self.record}


def segment_case(
    case: Case,
    request: Request,
    output: Path | None,
    *,
    seconds: dict[str, float] | None = None,
    claim: Claim | None = None,
    **callbacks: Any,
) -> dict[str, Any]:
    """Segment one case and keep its result; a failed run leaves nothing.

    Args:
        case: what to segment.
        request: what to run.
        output: folder of the results, made when missing; None as in :func:`run_batch`.
        seconds: by stage, spent before.
        claim: on the case; a run that lost it keeps nothing.
        callbacks: see ``run``.

    Returns:
        The record of the case: provenance, hash of the image, what was found, names of the files.
    """
    if output is None:
        return _read_run_save(case, request, Path(), seconds or {}, callbacks)
    with results_in(output, case.stem, case.endings) as folder:
        record = write_record(folder, case.stem, _read_run_save(case, request, folder, seconds or {}, callbacks))
        if claim:
            claim.check()
        return record


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
        "case": case.name,
        "seconds": seconds,
        "input_sha256": volume.sha256(),
        **case.kinds,
        **identity_entries(volume.source, request.anonymous),
        "segments": result.found(),
    }


def claimed_outcome(
    case: Case, request: Request, output: Path | None, overwrite: bool = False, **callbacks: Any
) -> Outcome | None:
    """How a case ends; None, at once, where another run is at it: in that folder one works on a case at a time.

    Args:
        case: as in :func:`run_batch`, as are request, output and overwrite.
        request: what to run.
        output: folder of the results.
        overwrite: whether to replace whatever is there.
        callbacks: see ``run``.

    Raises:
        UsageError: an option that can never work.
    """
    if output is None:
        return outcome_of(case, request, None, overwrite, **callbacks)
    try:
        claim = Claims(output).take(case.stem)
    except InputError as error:
        return Outcome(case.name, "failed", error=error, stem=case.stem)
    if claim is None:
        return None
    try:
        remove_unfinished(output, case.stem)
        return outcome_of(case, request, output, overwrite, claim=claim, **callbacks)
    finally:
        claim.release()


def outcome_of(case: Case, request: Request, output: Path | None, overwrite: bool = False, **options: Any) -> Outcome:
    """How a case that is nobody else's ends.

    Args:
        case: as in :func:`claimed_outcome`, as are all but the last.
        request: what to run.
        output: folder of the results.
        overwrite: whether to replace whatever is there.
        options: of :func:`segment_case`.
    """
    try:
        if output and not overwrite and (record := _earlier_result(case, request, output)):
            return Outcome(case.name, "skipped", record, stem=case.stem)
        return Outcome(case.name, "segmented", segment_case(case, request, output, **options), stem=case.stem)
    except UsageError:
        raise
    except Cancelled:
        return Outcome(case.name, "cancelled", stem=case.stem)
    except Exception as error:  # one case must not stop the rest, whatever happens to it
        if not isinstance(error, MedSegAttentionError):
            logger.debug("case '%s' failed", case.name, exc_info=True)
        _forget_variables(error)
        return Outcome(case.name, "failed", error=error, stem=case.stem)


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
