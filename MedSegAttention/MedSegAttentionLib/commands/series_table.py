"""The table that ``inspect`` prints: a line for each series, and which tasks take it."""

from __future__ import annotations

from collections.abc import Sequence

from ..checkpoints.catalogue import list_checkpoints, possible_cards
from ..data.card import Card
from ..data.errors import InputError
from ..data.task import task_names
from ..files.series_choice import Verdict, best, judge, weighting_of
from ..files.study import FoundSeries

COLUMNS = ("study", "series", "modality", "plane", "weighting", "images", "mm", "description", "taken")


def series_table(series: Sequence[FoundSeries], cards: Sequence[Card]) -> list[str]:
    """Lines of aligned columns, their names first.

    Args:
        series: of one or more studies.
        cards: of the checkpoints that may take them; without any the last column names the tasks that do.
    """
    rows = [(*_looks(one), verdict) for one, verdict in zip(series, _verdicts(series, cards), strict=True)]
    return _aligned([COLUMNS, *rows])


def _looks(series: FoundSeries) -> tuple[str, ...]:
    return (
        str(series.study),
        "" if series.number is None else str(series.number),
        series.modality,
        series.plane,
        weighting_of(series)[0],
        str(series.slices or ""),
        " x ".join(f"{value:.3g}" for value in series.spacing),
        series.description,
    )


def _verdicts(series: Sequence[FoundSeries], cards: Sequence[Card]) -> list[str]:
    """The last column: of one task the best of each study and why not the others, else the tasks that take it."""
    if not cards:
        return [_tasks_for(one) for one in series]
    verdicts = [judge(one, cards) for one in series]
    chosen = {
        study: _best([one for one in verdicts if one.series.study == study]) for study in {s.study for s in series}
    }
    return [_word(one, chosen[one.series.study]) for one in verdicts]


def _best(verdicts: Sequence[Verdict]) -> Verdict | None:
    try:
        return best(verdicts)[0]
    except InputError:  # none, or several: their words say so
        return None


def _word(verdict: Verdict, chosen: Verdict | None) -> str:
    if verdict.series.fault is not None:
        return f"no: {verdict.series.fault}"
    if verdict.card is None:
        return f"no: {verdict.reason}"
    return f"{'best' if verdict is chosen else 'yes'}, by {verdict.card.id}: {verdict.words}"


def _tasks_for(series: FoundSeries) -> str:
    if reason := series.no_image or series.no_stack or series.fault:
        return f"no: {reason}"
    cards = list_checkpoints()
    tasks = [task for task in task_names(cards) if judge(series, possible_cards(task)).card]
    return f"by {', '.join(tasks)}" if tasks else "no: no task takes such images"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
