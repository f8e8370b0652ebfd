"""Which series of a study a checkpoint takes, which of them fits it best, and why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..data.card import Card
from ..data.errors import InputError
from .study import FoundSeries

FEW_SLICES = 8
"""Fewer slices than these seldom show an organ as a whole."""
LONG_ECHO, LONG_REPETITION, SHORT_ECHO, SHORT_REPETITION = 60, 1500, 30, 1000
"""ms; of T2-weighted images from, of T1-weighted ones up to."""
WEIGHTINGS = (
    ("diffusion", r"dwi|diff|adc|trace|ep2d|b[ _=]?\d{2,4}"),
    ("perfusion", r"dce|perf|dynamic|twist"),
    ("FLAIR", r"flair"),
    ("T2", r"t2"),
    ("T1", r"t1|vibe|lava|thrive|mprage"),
    ("proton density", r"(?<![a-z])pd(?![a-z])"),
)
"""Weighting and what it is called in the names of sequences, the most telling first."""
ELSEWHERE = {
    "prostate": "HEAD BRAIN SKULL FACE NECK CSPINE TSPINE CHEST THORAX HEART BREAST SHOULDER ARM ELBOW WRIST HAND KNEE "
    "ANKLE FOOT LEG",
    "abdomen": "HEAD BRAIN SKULL FACE NECK CSPINE HEART BREAST SHOULDER ARM ELBOW WRIST HAND HIP KNEE ANKLE FOOT LEG",
}
"""Task -> values of BodyPartExamined where its organs are not."""


@dataclass(frozen=True)
class Verdict:
    """Whether a series is taken.

    Attributes:
        series: which.
        card: of the checkpoint that takes it; None where none does.
        reason: why not; empty where it is taken.
        is_fault: whether it is an image that would be taken if it were a volume: to leave it out is a failure.
        merits: what speaks for it and against it, (points, words), the most important first.
    """

    series: FoundSeries
    card: Card | None = None
    reason: str = ""
    is_fault: bool = False
    merits: tuple[tuple[int, str], ...] = ()

    @property
    def points(self) -> tuple[int, ...]:
        """The larger, the better it fits."""
        return tuple(points for points, _ in self.merits)

    @property
    def words(self) -> str:
        """Its merits for a user."""
        return ", ".join(words for _, words in self.merits)


def judge(series: FoundSeries, cards: Sequence[Card]) -> Verdict:
    """What the header of a series says about it for these checkpoints; without any, whether it is an image at all."""
    if series.no_image:
        return Verdict(series, reason=series.no_image)
    if not cards:
        return Verdict(series, reason=series.no_stack, is_fault=bool(series.no_stack))
    reasons = [_unfit(series, card) for card in cards]
    fitting = [card for card, reason in zip(cards, reasons, strict=True) if not reason]
    if not fitting:
        return Verdict(series, reason="; ".join(dict.fromkeys(reasons)))
    if series.no_stack:
        return Verdict(series, reason=series.no_stack, is_fault=True)
    card = fitting[0]
    return Verdict(series, card, merits=(_plane(series, card), _weighting(series, card), *_extent(series)))


def _unfit(series: FoundSeries, card: Card) -> str:
    if not card.takes_modality(series.modality):
        return f"modality {series.modality}, '{card.id}' takes {card.modality}"
    if series.channels != card.in_channels:
        return f"{series.channels} value(s) a pixel, '{card.id}' takes {card.in_channels}"
    if series.body_part in ELSEWHERE.get(card.task, "").split():
        return f"it shows {series.body_part} by its header"
    return ""


def _plane(series: FoundSeries, card: Card) -> tuple[int, str]:
    if not series.plane:
        return 1, "without a plane"
    return (2 if series.plane == card.orientation else 0), series.plane


def weighting_of(series: FoundSeries) -> tuple[str, str]:
    """Weighting of an MR series and what tells it; empty where nothing does."""
    if series.modality != "MR":
        return "", ""
    for weighting, pattern in WEIGHTINGS:
        if re.search(pattern, series.names.lower()):
            return weighting, "by its name"
    if series.diffusion:
        return "diffusion", "by its b-value"
    echo, repetition, found = series.echo_time, series.repetition_time, ""
    if echo is not None and repetition is not None:
        if echo >= LONG_ECHO and repetition >= LONG_REPETITION:
            found = "T2"
        elif echo <= SHORT_ECHO and repetition <= SHORT_REPETITION:
            found = "T1"
    return found, f"by its echo time of {echo:g} ms" if found else ""


def _weighting(series: FoundSeries, card: Card) -> tuple[int, str]:
    """That of the card stands in its title or description."""
    wanted = next(iter(re.findall(r"\b(T1|T2)\b", f"{card.title} {card.description}")), "")
    found, how = weighting_of(series)
    if not found:
        return 1, "of unknown weighting" if series.modality == "MR" else series.modality or "of unknown modality"
    points = 1 if not wanted else 2 if found == wanted else 0
    return points, f"{found}-weighted {how}" if found in ("T1", "T2") else f"{found} {how}"


def _extent(series: FoundSeries) -> tuple[tuple[int, str], ...]:
    kind = (0, "computed from other images") if series.derived else (1, "as acquired")
    few = int(series.slices >= FEW_SLICES)
    return (few, "few slices" if not few else "enough slices"), kind, (series.slices, f"{series.slices} slices")


def best(verdicts: Sequence[Verdict]) -> tuple[Verdict, str]:
    """The series of a study that fits best, and a sentence that says why it and what the others are.

    Raises:
        InputError: none is taken, or two fit equally.
    """
    taken = sorted((one for one in verdicts if one.card), key=lambda one: one.points, reverse=True)
    if not taken:
        raise InputError(f"no series can be taken: {listed(verdicts) or 'there is none'}.")
    first, *others = taken
    if equal := [one for one in others if one.points == first.points]:
        raise InputError(
            f"{1 + len(equal)} series fit equally well ({first.words}): "
            f"{listed([first, *equal], with_words=False)}. Choose one with --series UID or NUMBER, or --series all."
        )
    rest = listed([one for one in verdicts if one is not first])
    return first, f"took {first.series.title} ({first.words})" + (f"; not {rest}" if rest else "")


def listed(verdicts: Sequence[Verdict], with_words: bool = True) -> str:
    """Series in one line: each with its UID, or with why it is not taken or what it is."""
    return "; ".join(
        f"{one.series.title} ({(one.reason or one.words) if with_words else one.series.key})" for one in verdicts
    )


def named(verdicts: Sequence[Verdict], wanted: str) -> list[Verdict]:
    """The series with this UID or number, of every study one at the most; a photograph also by its SOPInstanceUID.

    Raises:
        InputError: none has it, what has it is no image, or several of one study have it.
    """
    by_uid = [one for one in verdicts if wanted in (one.series.uid, one.series.key)]
    found = by_uid or [one for one in verdicts if wanted.isdigit() and one.series.number == int(wanted)]
    if not found:
        raise InputError(f"there is no series '{wanted}'; there are: {listed(verdicts)}.")
    images = [one for one in found if not one.series.no_image]
    if not images:
        raise InputError(f"{found[0].series.title} cannot be segmented: {found[0].series.no_image}.")
    if len({one.series.study for one in images}) < len({(one.series.study, one.series.uid) for one in images}):
        raise InputError(
            f"{len(images)} series have the number {wanted}; choose one by its UID: {listed(images, with_words=False)}."
        )
    return images
