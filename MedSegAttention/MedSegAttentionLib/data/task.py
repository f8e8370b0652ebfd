"""Tasks: what can be segmented. A task is what the cards of its checkpoints say: its name, title, classes, modality."""

from __future__ import annotations

from collections.abc import Iterable

from .card import Card

BUILT_IN_TASKS = ("prostate", "skin", "polyp", "abdomen")
"""Of the checkpoints that ship, in the order in which they are offered."""


def task_names(cards: Iterable[Card]) -> list[str]:
    """The built-in tasks in their order, then those that other ``cards`` bring, by name."""
    return list(dict.fromkeys([*BUILT_IN_TASKS, *sorted({card.task for card in cards})]))


def task_title(task: str, cards: Iterable[Card]) -> str:
    """What a user reads for ``task``: the first title that one of its ``cards`` gives it, else its name in words."""
    titles = (card.task_title for card in cards if card.task == task and card.task_title)
    return next(titles, task.replace("-", " ").capitalize())


def names_modality(card: Card) -> bool:
    """Whether the ID is ``TASK-MODALITY-NETWORK``: a volume of its task says by its modality what it needs."""
    return card.id.startswith(f"{card.task}-{card.modality.lower()}-")
