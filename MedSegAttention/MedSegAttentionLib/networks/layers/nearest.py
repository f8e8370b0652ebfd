"""Exact selection of the k largest scores of each row, without gradient, on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

GROUP = 8
"""Scores of a group: near the square root of 4096 / 64, which makes the two selections about equally long."""


def nearest_mask(scores: Tensor, k: Tensor, most: int) -> Tensor:
    """Mark the k largest scores of each row, where k differs from row to row.

    ``torch.topk`` takes most of the time of a k-nearest-neighbour attention on a CPU. A partial sort of the values
    alone (vectorised in NumPy) is several times faster and gives the smallest score kept; a comparison gives the mask.
    Scores that tie at the edge are kept from the first index on, so that a row never keeps more than k.

    Args:
        scores: ``[..., N]`` float32 on the CPU.
        k: int64, broadcasts to ``[..., 1]``; 1 to ``most``, and at most N.
        most: upper bound of ``k``.

    Returns:
        bool, the shape of ``scores``, exactly k True in each row.
    """
    positions = scores.shape[-1]
    looked_at = min(most + 1, positions)
    largest = np.partition(scores.numpy(), positions - looked_at, axis=-1)[..., positions - looked_at :]
    ascending = torch.from_numpy(np.sort(largest, axis=-1))
    k = k.expand(*scores.shape[:-1], 1)
    last = ascending.gather(-1, looked_at - k)
    kept = scores >= last
    after = ascending.gather(-1, (looked_at - k - 1).clamp(min=0))
    tied = ((after == last) & (k < looked_at)).squeeze(-1)
    if tied.any():
        kept[tied] = _first_of_ties(scores[tied], last[tied], k[tied])
    return kept


def _first_of_ties(scores: Tensor, last: Tensor, k: Tensor) -> Tensor:
    """``[rows, N]`` bool: all scores above ``last`` and, of those equal to it, the first that fill up ``k``."""
    above, equal = scores > last, scores == last
    room = k - above.sum(dim=-1, keepdim=True)
    return above | (equal & (equal.cumsum(dim=-1) <= room))


def nearest_of_many(scores: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The ``most`` largest scores of each of a few long rows, largest first, with their places.

    What ``torch.topk`` gives, in half the time. Scores are put in groups of :data:`GROUP`. A score among the ``most``
    largest lies in one of the ``most`` groups with the largest maxima, because each group before those has a larger
    one; so only their members are looked at.

    Args:
        scores: ``[rows, N]`` float32 on the CPU, ``N >= GROUP * most``.
        most: how many.

    Returns:
        Values and int64 places, each ``[rows, most]``.
    """
    groups = scores.shape[-1] // GROUP
    maxima = scores[:, : groups * GROUP].unflatten(-1, (GROUP, groups)).amax(dim=1)
    first = _places_of_largest(maxima, most)
    members = (first.unsqueeze(1) + groups * torch.arange(GROUP).unsqueeze(-1)).flatten(1)
    rest = torch.arange(groups * GROUP, scores.shape[-1]).expand(len(scores), -1)  # fills no group: always looked at
    members = torch.cat((members, rest), dim=1)
    candidates = scores.gather(1, members)
    chosen = _places_of_largest(candidates, most)
    values, order = candidates.gather(1, chosen).sort(dim=-1, descending=True)
    return values, members.gather(1, chosen).gather(1, order)


def _places_of_largest(values: Tensor, most: int) -> Tensor:
    """``[rows, N] -> [rows, most]``, in no order."""
    last = values.shape[-1] - most
    return torch.from_numpy(np.argpartition(values.numpy(), last, axis=-1)[:, last:])
