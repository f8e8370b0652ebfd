"""Random changes of a batch of training slices, on the device that the batch is on.

One affine (and elastic) resampling for all geometry, then intensities. Batched tensor operations rather than transforms
of single pictures: a GPU would wait for those, and on one CPU core they take several times as long.
"""

from __future__ import annotations

from math import pi, radians
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

BLUR_RADIUS = 3
ELASTIC_NODES = 6
CROPS_TRIED = 8
GREY = (0.299, 0.587, 0.114)


class Augmentation:
    """Changes ``[B, C, S, S]`` pictures with their ``[B, 1, S, S]`` labels.

    Args:
        settings: what is missing is off. Geometry: ``rotation`` (degrees), ``scale`` (smallest and largest
            magnification), ``shift`` and ``shear`` (shares of the canvas), ``elastic`` (standard deviation of smooth
            displacements, share of the canvas), ``flip`` (left-right; ``"both"``: top-bottom too), ``border`` (what
            moves in from outside repeats the edge instead of being 0), ``field_of_view`` (smallest share of the canvas
            kept; what lies outside becomes 0, as in a scan with a small field of view), ``empty`` (share of slices
            replaced by a part of them that holds no class, where one is found). Intensities: ``bias_field``,
            ``gamma``, ``brightness``, ``contrast``, ``noise``, ``blur`` (strengths); of colour pictures alone
            ``colour`` (brightness of each channel by itself), ``saturation`` and ``hue`` (share of a full turn), and
            they stay in [0, 1].
        coloured: pictures in colour: red, green and blue from 0 to 1.
    """

    def __init__(self, settings: dict[str, Any], coloured: bool = False) -> None:
        self.settings, self.coloured = settings, coloured

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Changed copies, images float32; the same generator state gives the same changes."""
        draw = Draw(generator, images.device, len(images))
        if share := self.settings.get("empty"):
            images, labels = empty_parts(images, labels, share, draw)
        grid = self._grid(images.shape, draw)
        padding = "border" if self.settings.get("border") else "zeros"
        images = F.grid_sample(images, grid, "bilinear", padding, align_corners=False)
        labels = F.grid_sample(labels.float(), grid, "nearest", padding, align_corners=False).to(labels.dtype)
        if smallest := self.settings.get("field_of_view"):
            images = images * _field_of_view(images.shape, smallest, draw)
        return self._intensities(images, draw), labels

    def _grid(self, shape: torch.Size, draw: Draw) -> Tensor:
        """Where each pixel comes from, ``[B, S, S, 2]`` in [-1, 1]."""
        get = self.settings.get
        angle = draw.between(-1, 1, share=0.9) * radians(get("rotation", 0))
        low, high = get("scale", (1, 1))
        zoom = torch.exp(draw.between(0, 1) * torch.log(torch.tensor(high / low)) + torch.log(torch.tensor(low)))
        zoom = torch.where(draw.chance(0.8), zoom, torch.ones_like(zoom))
        shear = draw.between(-1, 1, share=0.9) * get("shear", 0)
        flips = {"both": (0.5, 0.5)}.get(get("flip"), (0.5, 0.0) if get("flip") else (0.0, 0.0))
        mirror = [1 - 2 * draw.chance(probability).float() for probability in flips]
        cosine, sine = torch.cos(angle), torch.sin(angle)
        theta = torch.zeros(shape[0], 2, 3, device=cosine.device)
        theta[:, 0, 0], theta[:, 0, 1] = cosine * mirror[0] / zoom, (shear - sine) * mirror[1] / zoom
        theta[:, 1, 0], theta[:, 1, 1] = sine * mirror[0] / zoom, cosine * mirror[1] / zoom
        theta[:, :, 2] = 2 * get("shift", 0) * torch.stack([draw.between(-1, 1, share=0.9) for _ in range(2)], 1)
        grid = F.affine_grid(theta, list(shape), align_corners=False)
        if strength := get("elastic"):
            nodes = draw.normal(shape[0], 2, ELASTIC_NODES, ELASTIC_NODES) * 2 * strength
            nodes = nodes * draw.chance(0.5).view(-1, 1, 1, 1)
            grid = grid + F.interpolate(nodes, shape[-2:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
        return grid

    def _intensities(self, images: Tensor, draw: Draw) -> Tensor:
        get, coloured = self.settings.get, self.coloured
        if strength := get("bias_field"):
            images = images * _bias_field(images.shape, strength, draw)
        if gamma := get("gamma"):
            images = _gamma(images, draw.factor(gamma, share=0.3))
        if contrast := get("contrast"):
            mean = images.mean((1, 2, 3), keepdim=True)
            images = mean + (images - mean) * draw.spread(contrast, share=0.5)
        if brightness := get("brightness"):
            images = images * draw.spread(brightness, share=0.5) + (draw.spread(brightness, share=0.5) - 1)
        if coloured and (get("saturation") or get("hue")):
            images = _turned(images, draw.spread(get("saturation", 0)), draw.between(-1, 1) * get("hue", 0) * 2 * pi)
        if colour := get("colour"):
            images = images * torch.cat([draw.spread(colour, share=0.5) for _ in range(images.shape[1])], 1)
        if blur := get("blur"):
            images = _blurred(images, draw.between(0.3, blur), draw.chance(0.2))
        if noise := get("noise"):
            strength = draw.between(0, noise, share=0.3).view(-1, 1, 1, 1)
            images = images + strength * draw.normal(*images.shape)
        return images.clamp(0, 1) if coloured else images


class Draw:
    """Random numbers, one for each picture of a batch of ``count``."""

    def __init__(self, generator: torch.Generator, device: torch.device, count: int) -> None:
        self.generator, self.device, self.count = generator, device, count

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def chance(self, share: float) -> Tensor:
        """``[B]`` bool, true with probability ``share``."""
        return torch.rand(self.count, generator=self.generator, device=self.device) < share

    def between(self, low: float, high: float, share: float = 1.0) -> Tensor:
        """``[B]`` uniform; 0 instead for all but a ``share``."""
        value = low + (high - low) * torch.rand(self.count, generator=self.generator, device=self.device)
        return value if share == 1.0 else value * self.chance(share)

    def spread(self, strength: float, share: float = 1.0) -> Tensor:
        """``[B, 1, 1, 1]`` factors from 1 - strength to 1 + strength."""
        return (1 + self.between(-strength, strength, share)).view(-1, 1, 1, 1)

    def factor(self, most: float, share: float) -> Tensor:
        """``[B, 1, 1, 1]`` factors from 1 / most to most, as often above 1 as below."""
        return (most ** self.between(-1, 1, share)).view(-1, 1, 1, 1)


def empty_parts(images: Tensor, labels: Tensor, share: float, draw: Draw) -> tuple[Tensor, Tensor]:
    """Replace a ``share`` of the slices by an enlarged part of themselves without any class, where one is found."""
    chosen = draw.chance(share).nonzero().flatten().tolist()
    if not chosen:
        return images, labels
    images, labels, size = images.clone(), labels.clone(), images.shape[-1]
    numbers = torch.rand(len(chosen), CROPS_TRIED, 3, generator=draw.generator, device=draw.device).tolist()
    for index, tries in zip(chosen, numbers, strict=True):
        for of_side, of_row, of_column in tries:
            side = int(size * (0.4 + 0.4 * of_side))
            row, column = int((size - side) * of_row), int((size - side) * of_column)
            part = (slice(row, row + side), slice(column, column + side))
            if not labels[index, 0][part].any():
                cut = images[(slice(index, index + 1), slice(None), *part)]
                images[index] = F.interpolate(cut, (size, size), mode="bilinear", align_corners=False)[0]
                labels[index] = 0
                break
    return images, labels


def _field_of_view(shape: torch.Size, smallest: float, draw: Draw) -> Tensor:
    """``[B, 1, S, S]``, 1 inside a random square for 3 slices of 10, 1 everywhere for the others."""
    side = torch.where(draw.chance(0.3), draw.between(smallest, 1), torch.ones(shape[0], device=draw.device))
    inside = None
    for view in ((1, 1, -1, 1), (1, 1, 1, -1)):
        start = ((1 - side) * draw.between(0, 1)).view(-1, 1, 1, 1)
        place = (torch.arange(shape[-1], device=draw.device).view(*view) + 0.5) / shape[-1]
        part = (place >= start) & (place <= start + side.view(-1, 1, 1, 1))
        inside = part if inside is None else inside & part
    return inside.float()


def _bias_field(shape: torch.Size, strength: float, draw: Draw) -> Tensor:
    """``[B, 1, S, S]`` smooth factors, the exponential of a random polynomial of degree 2, for 3 slices of 10."""
    place = torch.linspace(-1, 1, shape[-1], device=draw.device)
    rows, columns = torch.meshgrid(place, place, indexing="ij")
    terms = torch.stack([rows, columns, rows * columns, rows**2, columns**2])
    weights = strength * (2 * torch.rand(shape[0], 5, generator=draw.generator, device=draw.device) - 1)
    weights = weights * draw.chance(0.3).view(-1, 1)
    return torch.einsum("bt,trc->brc", weights, terms).exp().unsqueeze(1)


def _gamma(images: Tensor, gamma: Tensor) -> Tensor:
    """``images ** gamma`` within the range of each picture."""
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    span = (high - low).clamp(min=1e-6)
    return ((images - low) / span).clamp(min=1e-6) ** gamma * span + low


def _turned(images: Tensor, saturation: Tensor, angle: Tensor) -> Tensor:
    """Saturation around each pixel's grey, and hue turned around the grey axis by ``angle`` (radians)."""
    grey = torch.tensor(GREY, device=images.device).expand(3, 3)
    cosine, sine = torch.cos(angle).view(-1, 1, 1), torch.sin(angle).view(-1, 1, 1)
    axis = torch.ones(3, 3, device=images.device) / 3
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=images.device) / 3**0.5
    identity = torch.eye(3, device=images.device)
    turn = cosine * identity + (1 - cosine) * axis + sine * cross
    matrix = turn @ (grey + saturation.view(-1, 1, 1) * (identity - grey))
    return torch.einsum("bij,bjhw->bihw", matrix, images)


def _blurred(images: Tensor, sigma: Tensor, chosen: Tensor) -> Tensor:
    """Gaussian blur of the ``chosen`` pictures, ``sigma`` in pixels."""
    if not chosen.any():
        return images
    some = images[chosen]
    count, channels, height, width = some.shape
    place = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=images.device)
    kernel = torch.exp(-(place**2) / (2 * sigma[chosen].unsqueeze(1) ** 2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = some.reshape(1, count * channels, height, width)
    sides = (BLUR_RADIUS, BLUR_RADIUS)
    for view, pad in (((-1, 1, 1, len(place)), (*sides, 0, 0)), ((-1, 1, len(place), 1), (0, 0, *sides))):
        flat = F.conv2d(F.pad(flat, pad, "replicate"), kernel.view(view), groups=count * channels)
    images = images.clone()
    images[chosen] = flat.view(some.shape)
    return images
