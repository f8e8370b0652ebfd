"""Running the network on canvases: device, precision, tiles, and what happens when memory runs out."""

from __future__ import annotations

import copy
import logging

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..data.errors import MedSegAttentionError
from ..networks.contract import SegmentationOutput
from ..networks.layers.convolution import ConvNormAct
from .devices import BATCH_SIZES, choose_device, free_memory, is_out_of_memory, precision

logger = logging.getLogger(__name__)


class Predictor:
    """A network ready to predict.

    When the device runs out of memory the batch is halved, down to one slice; then the network moves to the CPU. What
    happened is kept in :attr:`warnings`.

    Args:
        network: in evaluation mode; a copy is made, with batch normalisation folded into the convolutions.
        device: see :func:`~.devices.choose_device`.
        batch_size: slices at once; None takes the device's default.
        tile: side of the largest canvas predicted in one piece; a larger one is predicted in overlapping tiles of it.
    """

    def __init__(self, network: nn.Module, device: str, batch_size: int | None, tile: int) -> None:
        self.device = choose_device(device)
        self.batch_size = batch_size or BATCH_SIZES[self.device.type]
        self.tile = tile
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

        Raises:
            MedSegAttentionError: even one slice does not fit the memory of the CPU.
        """
        parts: list[SegmentationOutput] = []
        done = 0
        while done < len(canvases):
            batch = canvases[done : done + self.batch_size]
            try:
                parts.append(self._predict_batch(batch))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._step_back(error)
                continue
            done += len(batch)
        return _joined(parts)

    def _predict_batch(self, batch: Tensor) -> SegmentationOutput:
        kind = precision(self.device)
        batch = batch.to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, kind, enabled=kind != torch.float32):
            if max(batch.shape[-2:]) <= self.tile:
                output = self.network.forward_with_attention(batch)
            else:
                output = self._predict_tiles(batch)
        maps = {name: value.float().cpu() for name, value in output.attention.items()}
        return SegmentationOutput(output.logits.float().cpu(), maps)

    def _predict_tiles(self, batch: Tensor) -> SegmentationOutput:
        """Overlapping tiles, blended with Gaussian weights; tiles begin at multiples of the stride, so maps line up."""

        def tile_outputs(tiles: Tensor) -> dict[str, Tensor]:
            output = self.network.forward_with_attention(tiles)
            return {"": output.logits.float(), **{name: value.float() for name, value in output.attention.items()}}

        # Never a tile larger than the canvas: MONAI would pad it by what may be half a cell of a map.
        size = tuple(min(self.tile, side) for side in batch.shape[-2:])
        blended = sliding_window_inference(
            batch, size, self.batch_size, tile_outputs, overlap=0.25, mode="gaussian", padding_mode="constant"
        )
        return SegmentationOutput(blended.pop(""), blended)

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
        if isinstance(module, ConvNormAct):
            module[0], module[1] = fuse_conv_bn_eval(module[0], module[1]), nn.Identity()
    return network


def _joined(parts: list[SegmentationOutput]) -> SegmentationOutput:
    if len(parts) == 1:
        return parts[0]
    names = parts[0].attention
    return SegmentationOutput(
        torch.cat([part.logits for part in parts]),
        {name: torch.cat([part.attention[name] for part in parts]) for name in names},
    )
