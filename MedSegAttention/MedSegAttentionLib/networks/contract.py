"""What every network promises, those of other packages too.

* ``network(x)`` gives logits ``[B, K, H, W]`` of a picture ``[B, in_channels, H, W]``;
* ``network.forward_with_attention(x)`` gives the same with its maps, a :class:`SegmentationOutput`;
* ``network.stride``: pixels of the picture to one position of its deepest stage; a canvas has a multiple of it;
* ``network.cells``: stage with a row of attention -> pixels to one of its positions, ``{}`` for none. With any, also
  ``attention_grid`` and ``attention_row``;
* ``network.describe(x)``, of those that have it: ``[B, F]`` numbers that tell kinds of pictures apart, from which it is
  judged whether an image is like those of the training (see :mod:`~..inference.familiarity`).

:class:`~.picture_network.PictureNetwork` has all of them but ``segment``: a network that is derived from it keeps the
contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

from torch import Tensor


@dataclass(frozen=True)
class SegmentationOutput:
    """Logits with the attention maps of the same pass.

    Attributes:
        logits: ``[B, K, H, W]``.
        attention: name of the map -> ``[B, 1, h, w]`` in [0, 1], on the grid of the layer it comes from.
        heads: logits ``[B, K, h, w]`` of the decoder's levels, the coarsest first, of a network that has such heads and
            is being trained; else empty.
        presence: ``[B, classes, h, w]``, of a network that judges whether a class is in the picture at all: logits of
            its being there, place by place on the deepest grid (see :func:`in_picture`).
    """

    logits: Tensor
    attention: dict[str, Tensor]
    heads: tuple[Tensor, ...] = ()
    presence: Tensor | None = None


def in_picture(presence: Tensor) -> Tensor:
    """``[B, classes, h, w]`` logits place by place to ``[B, classes]`` logits of the picture: a smooth maximum."""
    places = presence.shape[-2] * presence.shape[-1]
    return presence.flatten(2).logsumexp(-1) - log(places) / 2
