"""Which other checkpoint's images an image looks like, once it is not of the kind that the chosen one knows.

Only what can be told is told: an image is *like* the training images of another checkpoint where that one's own measure
says so (see :mod:`.familiarity`). For which others it may be, channels, modality and intensities say.
"""

from __future__ import annotations

import logging

import torch

from ..checkpoints.catalogue import find_checkpoint
from ..checkpoints.loading import load_checkpoint
from ..data.card import Card
from ..data.errors import MedSegAttentionError
from ..data.volume import VolumeImage
from .acceptance import may_be_for, others_that_take
from .familiarity import description, distance
from .prediction import Predictor
from .preparation import prepare
from .settings import RunSettings

logger = logging.getLogger(__name__)


def nearest_kind(volume: VolumeImage, card: Card, device: torch.device) -> str:
    """A sentence, and a space after it, about what an image looks like that ``card``'s checkpoint does not know.

    Networks of others are loaded for it: only for an image that was found to be unlike.
    """
    others = others_that_take(volume, card)
    shares = {}
    for other in (one for one in others if one.familiar):
        try:
            shares[other.id] = _distance(volume, other, device) / other.familiar["threshold"]
        except MedSegAttentionError as error:  # a checkpoint that cannot be loaded is no reason to say less than that
            logger.debug("'%s' could not be asked: %s", other.id, error)
    if shares and min(shares.values()) <= 1:
        nearest = next(one for one in others if one.id == min(shares, key=shares.__getitem__))
        return f"It looks more like the images of '{nearest.id}' ({nearest.title}). "
    return may_be_for([one for one in others if one.id not in shares])


def _distance(volume: VolumeImage, card: Card, device: torch.device) -> float:
    checkpoint = load_checkpoint(find_checkpoint(card.id))
    predictor = Predictor(checkpoint.network, device.type, 1, int(card.fit["size"]))
    prepared = prepare(volume, checkpoint, RunSettings(force=True))
    return distance(description(predictor.network, prepared, predictor.device), checkpoint.familiar)
