"""What every network promises, those of other packages too.

* ``network(x)`` gives logits ``[B, K, H, W]`` of a picture ``[B, in_channels, H, W]``;
* ``network.forward_with_attention(x)`` gives the same with its maps, a :class:`SegmentationOutput`;
* ``network.stride``: pixels of the picture to one position of its deepest stage; a canvas has a multiple of it;
* ``network.cells``: stage with a row of attention -> pixels to one of its positions, ``{}`` for none. With any, also
  ``attention_grid`` and ``attention_row``.

:class:`~.picture_network.PictureNetwork` has all of them but ``segment``: a network that is derived from it keeps the
contract.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SegmentationOutput:
    """Logits with the attention maps of the same pass.

    Attributes:
        logits: ``[B, K, H, W]``.
        attention: name of the map -> ``[B, 1, h, w]`` in [0, 1], on the grid of the layer it comes from.
    """

    logits: Tensor
    attention: dict[str, Tensor]
