"""Running the network on canvases: device, precision, tiles, and what happens when memory runs out."""

from __future__ import annotations

import copy
import logging
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..data.errors import MedSegAttentionError
from ..networks.contract import SegmentationOutput
from .devices import batch_size_on, choose_device, free_memory, is_out_of_memory, precision
from .lanes import Lanes

logger = logging.getLogger(__name__)

PRESENCE = "presence"
"""Name of the presence logits among the maps of a tile."""
FLIP_AXES = {"horizontal": -1, "vertical": -2}
"""Mirror image of :data:`~..data.card.FLIPS` -> axis of ``[B, C, H, W]`` that it turns round."""


class Predictor:
    """A network ready to predict.

    When the device runs out of memory the batch is halved, down to one slice; then the network moves to the CPU. What
    happened is kept in :attr:`warnings`.

    Args:
        network: in evaluation mode; a copy is made, with batch normalisation folded into the convolutions.
        device: see :func:`~.devices.choose_device`.
        batch_size: slices at once; None takes the device's default.
        tile: side of the largest canvas predicted in one piece; a larger one is predicted in overlapping tiles of it.
        mirrors: flips of each picture to average over, see :meth:`~.settings.RunSettings.mirrors`; the first is none.
    """

    def __init__(
        self,
        network: nn.Module,
        device: str,
        batch_size: int | None,
        tile: int,
        mirrors: tuple[tuple[str, ...], ...] = ((),),
    ) -> None:
        self.device = choose_device(device)
        self.batch_size = batch_size or batch_size_on(self.device)
        self._lanes: Lanes | None = None
        self.tile = tile
        self.mirrored = [[FLIP_AXES[flip] for flip in mirror] for mirror in mirrors[1:]]
        self.warnings: list[str] = []
        # Channels last: a fifth to a quarter faster for these networks on a CPU, and what tensor cores want.
        self.network = folded(network).to(memory_format=torch.channels_last)
        self._move_to_device()

    def _move_to_device(self) -> None:
        try:
            self.network.to(self.device)
        except RuntimeError as error:
            if not is_out_of_memory(error) or self.device.type == "cpu":
                raise
            free_memory(self.device)
            self._warn(f"out of memory on {self.device.type} before the first slice: went on on the CPU")
            self.device = torch.device("cpu")
            self.network.to(self.device)

    @property
    def precision(self) -> str:
        """``"float16"`` or ``"float32"``."""
        return str(precision(self.device)).removeprefix("torch.")

    @torch.inference_mode()
    def predict(self, canvases: Tensor) -> SegmentationOutput:
        """``[B, C, H, W]`` float32 to logits ``[B, K, H, W]`` and maps ``[B, 1, h, w]``, all float32 on the CPU.

        The maps are those of the picture as it is, whatever mirror images the logits are averaged over.

        Raises:
            MedSegAttentionError: even one slice does not fit the memory of the CPU.
        """
        parts: list[SegmentationOutput] = []
        done = 0
        while done < len(canvases):
            batch = canvases[done : done + self.batch_size]
            try:
                parts += self._predict_slices(batch)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._step_back(error)
                continue
            done += len(batch)
        return joined(parts)

    def _predict_slices(self, batch: Tensor) -> list[SegmentationOutput]:
        if self.device.type != "cpu" or len(batch) == 1:
            return [self._predict_batch(batch)]
        if self._lanes is None:
            self._lanes = Lanes(min(self.batch_size, torch.get_num_threads()))
        return self._lanes.each(self._predict_batch, batch.split(1))

    def _predict_batch(self, batch: Tensor) -> SegmentationOutput:
        kind = precision(self.device)
        batch = batch.to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, kind, enabled=kind != torch.float32):
            output = self._predict_picture(batch)
            logits = [output.logits.float()]
            logits += [self._predict_picture(batch.flip(axes)).logits.float().flip(axes) for axes in self.mirrored]
        maps = {name: value.float().cpu() for name, value in output.attention.items()}
        presence = None if output.presence is None else output.presence.float().cpu()
        return SegmentationOutput(averaged(logits).cpu(), maps, presence=presence)

    def _predict_picture(self, batch: Tensor) -> SegmentationOutput:
        if max(batch.shape[-2:]) <= self.tile:
            return self.network.forward_with_attention(batch)
        return self._predict_tiles(batch)

    def _predict_tiles(self, batch: Tensor) -> SegmentationOutput:
        """Overlapping tiles, blended with Gaussian weights; tiles begin at multiples of the stride, so maps line up."""

        def tile_outputs(tiles: Tensor) -> dict[str, Tensor]:
            output = self.network.forward_with_attention(tiles)
            maps = output.attention | ({} if output.presence is None else {PRESENCE: output.presence})
            return {"": output.logits.float(), **{name: value.float() for name, value in maps.items()}}

        from monai.inferers import sliding_window_inference  # takes seconds to load, and few images need tiles

        at_once = 1 if self.device.type == "cpu" else self.batch_size
        # Never a tile larger than the canvas: MONAI would pad it by what may be half a cell of a map.
        size = tuple(min(self.tile, side) for side in batch.shape[-2:])
        blended = sliding_window_inference(
            batch, size, at_once, tile_outputs, overlap=0.25, mode="gaussian", padding_mode="constant"
        )
        return SegmentationOutput(blended.pop(""), blended, presence=blended.pop(PRESENCE, None))

    def _step_back(self, error: RuntimeError) -> None:
        """Need less memory next time, or give up with a clear error."""
        free_memory(self.device)
        if self.batch_size > 1:
            self.batch_size //= 2
            self._warn(f"out of memory on {self.device.type}: went on with {self.batch_size} slice(s) at once")
        elif self.device.type != "cpu":
            self._warn(f"out of memory on {self.device.type} with one slice: went on on the CPU")
            self.device = torch.device("cpu")
            self.network.to(self.device)
        else:
            raise MedSegAttentionError(
                "the computer ran out of memory on a single slice; close other programs or volumes and run again."
            ) from error

    def _warn(self, text: str) -> None:
        logger.warning(text)
        self.warnings.append(text)


def folded(network: nn.Module) -> nn.Module:
    """A copy of ``network`` whose batch normalisations are folded into their convolutions; same outputs, less work."""
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if isinstance(module, nn.Sequential) and [type(part) for part in module][:2] == [nn.Conv2d, nn.BatchNorm2d]:
            module[0], module[1] = fuse_conv_bn_eval(module[0], module[1]), nn.Identity()
    return network


def averaged(logits: list[Tensor]) -> Tensor:
    """Logits whose probabilities are the mean of those of ``logits``, each ``[B, K, H, W]``.

    One channel is a sigmoid, several a softmax. Summed as logarithms, so that nothing saturates.
    """
    if len(logits) == 1:
        return logits[0]
    stacked = torch.stack(logits)
    if stacked.shape[2] == 1:
        return F.logsigmoid(stacked).logsumexp(0) - F.logsigmoid(-stacked).logsumexp(0)
    return stacked.log_softmax(2).logsumexp(0) - math.log(len(logits))


def joined(parts: list[SegmentationOutput]) -> SegmentationOutput:
    """The outputs of pictures as that of one batch."""
    if len(parts) == 1:
        return parts[0]
    names = parts[0].attention
    return SegmentationOutput(
        torch.cat([part.logits for part in parts]),
        {name: torch.cat([part.attention[name] for part in parts]) for name in names},
        presence=None if parts[0].presence is None else torch.cat([part.presence for part in parts]),
    )
