"""What a user can choose about a run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from ..data.card import UNCERTAINTY, AttentionMap, Card
from ..data.errors import InputError, UsageError

DEVICES = ("auto", "cuda", "mps", "cpu")
ATTENTION_GRIDS = ("native", "input")


@dataclass(frozen=True)
class RunSettings:
    """Choices of a run.

    Attributes:
        device: ``auto`` (CUDA, else MPS, else CPU), ``cuda``, ``mps`` or ``cpu``.
        batch_size: slices at once; None lets the device decide.
        attention: True for the uncertainty and all attention maps of the checkpoint, False for none, or the names of
            some; ``probability_CLASS`` by name alone, since each is as large as the image.
        attention_grid: ``native`` keeps each map's own in-plane grid, ``input`` resamples to that of the volume.
        axis: ``auto``, ``i``, ``j`` or ``k``: index axis that slices are cut along.
        force: run although the volume lies outside what the checkpoint was trained on.
        test_time_flips: average the probabilities over each slice and the mirror images that the card allows.
        slices: (first, last) number along the slice axis, from 0; None for all. Others are left out.
        box: ((first, last) index along i, j and k); what lies outside is left out. None for all.
        left_out: names of classes that are not made.
    """

    device: str = "auto"
    batch_size: int | None = None
    attention: bool | tuple[str, ...] = True
    attention_grid: str = "native"
    axis: str = "auto"
    force: bool = False
    test_time_flips: bool = False
    slices: tuple[int, int] | None = None
    box: tuple[tuple[int, int], ...] | None = None
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value, known in (
            ("device", self.device, DEVICES),
            ("attention_grid", self.attention_grid, ATTENTION_GRIDS),
        ):
            if value not in known:
                raise UsageError(f"{name} '{value}' is not known; expected one of {', '.join(known)}.")
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"batch size {self.batch_size} is not possible; expected 1 or more.")
        for what, pair in (("slices", self.slices), *(("box", pair) for pair in self.box or ())):
            if pair is not None and not 0 <= pair[0] <= pair[1]:
                raise UsageError(f"{what} {pair[0]} to {pair[1]} are none; expected 0 <= first <= last.")

    def left_out_values(self, card: Card) -> list[int]:
        """Label values of the classes that are not made; raises :class:`InputError` for a class the card lacks."""
        known = {label.name: label.value for label in card.labels}
        for name in self.left_out:
            if name not in known:
                raise InputError(f"class '{name}' is not known; '{card.id}' has: {', '.join(known)}.")
        if known and len(set(self.left_out)) == len(known):
            raise InputError(f"every class of '{card.id}' is left out; expected at least one to segment.")
        return [known[name] for name in self.left_out]

    def mirrors(self, card: Card) -> tuple[tuple[str, ...], ...]:
        """The flips of each picture to average over, the slice itself (no flip) first.

        Raises:
            InputError: flips are asked for, and the card allows none.
        """
        if not self.test_time_flips:
            return ((),)
        if not card.flips:
            raise InputError(
                f"test-time flips cannot be used with '{card.id}': it was not trained on mirror images. Run without "
                "them (no --flips, testTimeFlips=False)."
            )
        return tuple(chosen for count in range(len(card.flips) + 1) for chosen in combinations(card.flips, count))

    def maps(self, card: Card) -> tuple[AttentionMap, ...]:
        """The maps to give, the uncertainty first; raises :class:`InputError` for an unknown name."""
        if isinstance(self.attention, bool):
            return (UNCERTAINTY, *card.attention) if self.attention else ()
        known = {item.name: item for item in card.maps}
        for name in self.attention:
            if name not in known:
                raise InputError(f"attention map '{name}' is not known; '{card.id}' has: {', '.join(known)}.")
        return tuple(item for name, item in known.items() if name in self.attention)
