"""A task, a network and data that this project does not know: made in a folder of the test, outside of the tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

PACKAGE = "spine_networks"
DISTRIBUTION = "spine-networks"
NETWORK = '''
"""A network of three convolutions."""

from torch import nn

from MedSegAttentionLib.networks.picture_network import PictureNetwork


class BlobNet(PictureNetwork):
    def __init__(self, in_channels, out_channels, *, width=4):
        super().__init__(in_channels, out_channels, stride=16, deepest=1, dynamic_tau=False)
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, out_channels, 1),
        )

    def segment(self, x, record):
        return self.layers(x)


class Bare:
    """Keeps no contract."""

    def __init__(self, in_channels, out_channels):
        pass


def listener(in_channels, out_channels):
    from pathlib import Path

    Path(__file__).with_name("was-called").touch()
    raise TypeError("no network")
'''
VERTEBRA = {"category": ["SCT", "123037004", "Anatomical Structure"], "type": ["SCT", "51282000", "Vertebra"]}
CARD_SOURCE = {
    "title": "Vertebrae, CT (a test)",
    "task_title": "Spine",
    "description": "Bright blobs.",
    "modality": "CT",
    "labels": [{"name": "vertebra", "colour": [220, 210, 170], "codes": VERTEBRA}],
    "limits": ["It was made for a test."],
}


def install_package(
    folder: Path, entries: dict[str, str] | None = None, *, distribution: str = DISTRIBUTION, code: bool = True
) -> Path:
    """Lay out an installed package in ``folder``, which is to be put on the path; the test's own Python stays as it is.

    Args:
        folder: stands for site-packages.
        entries: name of a network -> ``module:object``; None offers ``blob-net``.
        distribution: name of the package.
        code: write the module too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if code:
        (folder / f"{PACKAGE}.py").write_text(NETWORK, encoding="utf-8")
    about = folder / f"{distribution.replace('-', '_')}-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n", encoding="utf-8")
    lines = [f"{name} = {value}" for name, value in (entries or {"blob-net": f"{PACKAGE}:BlobNet"}).items()]
    text = "\n".join(["[medsegattention.networks]", *lines, ""])
    (about / "entry_points.txt").write_text(text, encoding="utf-8")
    return folder


def write_data(folder: Path, about: dict[str, Any] | None = None, names: tuple[str, ...] = ("a", "b", "c")) -> Path:
    """Volumes in Hounsfield units, each with one bright blob in all slices but the first."""
    rows, columns = np.mgrid[:32, :32]
    rng = np.random.default_rng(0)
    for number, name in enumerate(names):
        blob = ((rows - 16) ** 2 + (columns - 14 - number) ** 2 < 40).astype(np.uint8)
        labels = np.stack([blob * 0, blob, blob])
        image = rng.normal(0, 10, labels.shape) + 400.0 * labels
        for sub, array in (("images", image.astype(np.float32)), ("labels", labels)):
            (folder / sub).mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / sub / f"{name}.nii.gz"))
    description = {"labels": {"background": 0, "vertebra": 1}, **(about or {})}
    (folder / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    return folder


def write_config(path: Path, **changes: Any) -> Path:
    """A configuration of some hundred steps, a second or two, on pictures of 32 pixels."""
    values = {
        "checkpoint": "spine-ct-blob",
        "task": "spine",
        "network": {"name": "blob-net", "width": 4},
        "classes": ["vertebra"],
        "intensity": {"method": "window", "low": -200, "high": 600},
        "stages": [{"fit": {"fit": "spacing", "mm": 1.0, "size": 32}, "epochs": 3}],
        "epoch_slices": 128,
        "batch_size": 4,
        "learning_rate": 0.03,
        "warmup_steps": 1,
        "validation_share": 0.3,
        "ema": 0.5,
    }
    path.write_text(json.dumps(values | changes), encoding="utf-8")
    return path


def write_card_source(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps(CARD_SOURCE | changes), encoding="utf-8")
    return path
