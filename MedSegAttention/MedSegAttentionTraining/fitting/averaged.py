"""The averaged weights of a run, which are what ships."""

from __future__ import annotations

from collections.abc import Callable

import torch


def ramped_average(decay: float) -> Callable[[list[torch.Tensor], list[torch.Tensor], torch.Tensor], None]:
    """Exponential moving average for :class:`AveragedModel` that soon forgets the weights it began with.

    Its decay is ``min(decay, (1 + n) / (10 + n))`` at step n.
    """

    @torch.no_grad()
    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], count: torch.Tensor | int) -> None:
        if averaged[0].is_floating_point():
            step = int(count)
            torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + step) / (10 + step)))
        else:
            torch._foreach_copy_(averaged, current)  # counters of batch normalisation

    return update
