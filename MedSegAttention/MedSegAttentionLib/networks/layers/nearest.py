"""Exact selection of the k largest scores of each row, where k differs from row to row."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def nearest_mask(scores: Tensor, k: Tensor, most: int) -> Tensor:
    """Mark the k largest scores of each row, without gradient, on the CPU.

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
