"""A MONAI inferer that segments a volume slice by slice as the card of a checkpoint asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor, nn

from ..checkpoints.loading import Checkpoint, familiar_of
from ..inference.engine import SegmentationRun
from ..inference.settings import RunSettings
from .reading import volume_of
from .restoring import card_of_bundle
from .scripted import ScriptedNetwork


class VolumeInferer(Inferer):
    """Cuts, fits and normalises the slices, runs the network on them, and brings the labels back.

    It runs where its input lies. Attention maps are not made: that is what ``segment`` is for.

    Args:
        bundle_root: folder of the checkpoint.
        card: its card as JSON text, instead of the folder; whether an image is like those of the training is then not
            judged.
        force: segment also what lies outside what the checkpoint was trained on.
        test_time_flips: average over the mirror images that the card allows.
    """

    def __init__(
        self,
        bundle_root: str | Path | None = None,
        card: str | None = None,
        force: bool = False,
        test_time_flips: bool = False,
    ) -> None:
        super().__init__()
        self.card = card_of_bundle(bundle_root, card)
        self.familiar = {} if card else familiar_of(Path(bundle_root or "."), self.card)
        self.force, self.test_time_flips = force, test_time_flips

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Label values ``[B, 1, I, J, K]`` uint8 on the grid of the images, before any postprocessing.

        Args:
            inputs: ``[B, C, I, J, K]``, images as :class:`~.reading.LoadImageVolumed` reads them.
            network: of the bundle, or its TorchScript.
            args: none are taken.
            kwargs: likewise.

        Raises:
            InputError: an image cannot be used.
            ContractWarning: an image lies outside what the checkpoint was trained on.
        """
        if not hasattr(network, "forward_with_attention"):
            network = ScriptedNetwork(network, inputs.device)
        checkpoint = Checkpoint(self.card, network, self.familiar)
        settings = RunSettings(
            device=inputs.device.type, attention=False, force=self.force, test_time_flips=self.test_time_flips
        )
        found = []
        for number in range(len(inputs)):
            image = _single(inputs, number)
            with torch.cuda.device_of(inputs.as_subclass(Tensor)):  # "cuda" below is the one of several that it is on
                run = SegmentationRun(volume_of(image, number), checkpoint, settings)
                for _ in run:
                    pass
            found.append(torch.from_numpy(np.ascontiguousarray(run.labels.transpose(2, 1, 0))[None]))
        labels = torch.stack(found).to(inputs.device)
        return MetaTensor(labels).copy_meta_from(inputs) if isinstance(inputs, MetaTensor) else labels


def _single(inputs: Tensor, number: int) -> Tensor:
    """One image of a batch with the metadata of the whole batch, which MONAI keeps as lists, or of one alone."""
    if not isinstance(inputs, MetaTensor):
        return inputs[number]
    image = MetaTensor(inputs.as_tensor()[number])
    image.meta = inputs.meta
    return image
