"""Fixtures: a real MRML scene, a volume in it, and the result of a run on that volume."""

from __future__ import annotations

import importlib.resources
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slicer
from PIL import ImageDraw

from MedSegAttentionLib.data.card import AttentionMap
from MedSegAttentionLib.data.labels import Code, Label
from MedSegAttentionLib.data.result import AttentionVolume, VolumeResult
from MedSegAttentionLib.data.volume import VolumeImage
from MedSegAttentionLib.scene.application import headless_scene
from MedSegAttentionLib.scene.volumes import add_volume

os.environ["MEDSEGATTENTION_CHECKPOINTS"] = str(Path(tempfile.gettempdir()) / "no-checkpoints-of-the-user")

ANATOMY = Code("SCT", "123037004", "Anatomical Structure")
ALTERED = Code("SCT", "49755003", "Morphologically Altered Structure")
CLASSES = (
    Label("liver", 1, (140, 66, 94), ANATOMY, Code("SCT", "10200004", "Liver")),
    Label(
        "left kidney", 2, (195, 253, 212), ANATOMY, Code("SCT", "64033007", "Kidney"), Code("SCT", "7771000", "Left")
    ),
    Label(
        "polyp", 5, (254, 242, 37), ALTERED, Code("SCT", "41329004", "Polyp"), region=Code("SCT", "71854001", "Colon")
    ),
    Label("spleen", 7, (146, 74, 199), ANATOMY, Code("SCT", "78961009", "Spleen")),  # never present
)


def _oblique() -> np.ndarray:
    """Rotated by 20 and 35 degrees, spacing 0.7 x 1.1 x 2.5 mm."""
    a, b = np.deg2rad([20, 35])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_z @ about_x @ np.diag([-0.7, -1.1, 2.5])


DIRECTIONS = {
    "plain": np.diag([-1.0, -1.0, 1.0]),
    "flipped": np.diag([1.0, 1.0, -2.0]),
    "anisotropic": np.diag([-0.5, -0.8, 6.0]),
    "permuted": np.array([[0, 0, -3.0], [1.5, 0, 0], [0, -2.0, 0]]),
    "oblique": _oblique(),
}


def geometry(kind: str) -> np.ndarray:
    """``[4, 4]`` IJK to RAS of one of ``DIRECTIONS``, away from the origin."""
    matrix = np.eye(4)
    matrix[:3, :3] = DIRECTIONS[kind]
    matrix[:3, 3] = [12.5, -30.25, 47.0]
    return matrix


def an_image(kind: str = "plain") -> VolumeImage:
    """Smooth grey volume of 24 x 20 x 9 voxels (i, j, k)."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in (9, 20, 24)), indexing="ij")
    return VolumeImage((10 * i + 5 * j + k).astype(np.int16), geometry(kind), "case 1", "CT")


def some_labels() -> np.ndarray:
    """``[9, 20, 24]`` uint8: three of the four classes, none symmetric, one touching the border."""
    labels = np.zeros((9, 20, 24), dtype=np.uint8)
    labels[1:4, 2:9, 3:11] = 1
    labels[5:8, 12:19, 14:17] = 2
    labels[0:2, 0:1, 22:24] = 5
    return labels


def a_result_on(image: VolumeImage) -> VolumeResult:
    """A finished run on ``image`` with one map on a grid four times coarser in plane."""
    to_fine = np.eye(4)
    to_fine[0, 0] = to_fine[1, 1] = 4
    to_fine[0, 3] = to_fine[1, 3] = 1.5
    values = np.random.default_rng(3).random((9, 5, 6)).astype(np.float32)
    tau = AttentionMap("tau_stage4", "tau, stage 4", "Share of neighbours that each place attends to.", (0.0, 1.0))
    return VolumeResult(
        image.name,
        some_labels(),
        image.ijk_to_ras,
        CLASSES,
        {"tau_stage4": AttentionVolume(tau, values, image.ijk_to_ras @ to_fine)},
        {
            "checkpoint": "abdomen-ct-klo-net",
            "warnings": ['a "quoted": text; with | and ü'],
            "seconds": {"network": 1.5},
        },
    )


@pytest.fixture
def a_scene() -> Iterator[slicer.vtkMRMLScene]:
    scene = headless_scene()
    yield scene
    scene.Clear(True)


@pytest.fixture
def a_volume_node(a_scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLScalarVolumeNode:
    return add_volume(a_scene, an_image())


@pytest.fixture
def a_result() -> VolumeResult:
    return a_result_on(an_image())


@pytest.fixture
def a_partial_result(a_result: VolumeResult) -> VolumeResult:
    return replace(a_result, slice_range=(2, 6))


@pytest.fixture(scope="session")
def a_real_ct() -> Path:
    """The chest and upper abdomen CT of the slicerio wheel."""
    return Path(str(importlib.resources.files("slicerio") / "data" / "CTChest4.nrrd"))


@pytest.fixture
def texts(monkeypatch) -> list[str]:
    """Everything that is written on the page."""
    found, write = [], ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda self, place, text, *rest, **keywords: (found.append(text), write(self, place, text, *rest, **keywords)),
    )
    return found
