"""What is done to the labels of a whole volume, as a MONAI transform."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type

from ..inference.postprocessing import postprocess
from .restoring import card_of_bundle


class LargestComponentd(MapTransform):
    """Keeps the largest face-connected piece of each class, where the card of the checkpoint asks for it.

    Args:
        keys: of label maps ``[1, I, J, K]`` in the data.
        bundle_root: folder of the checkpoint.
        card: its card as JSON text, instead of the folder.
    """

    def __init__(self, keys: KeysCollection, bundle_root: str | Path | None = None, card: str | None = None) -> None:
        super().__init__(keys)
        self.how = card_of_bundle(bundle_root, card).postprocessing

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The same data with other label maps."""
        changed = dict(data)
        for key in self.key_iterator(changed):
            labels = changed[key]
            array = np.array(torch.as_tensor(labels).cpu()[0].numpy().transpose(2, 1, 0), np.uint8, order="C")
            postprocess(array, self.how)
            changed[key] = convert_to_dst_type(np.ascontiguousarray(array.transpose(2, 1, 0))[None], labels)[0]
        return changed
