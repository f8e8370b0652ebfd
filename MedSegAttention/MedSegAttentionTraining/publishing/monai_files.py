"""The files of a checkpoint that MONAI's own tools read: the metadata around our card, and ``configs/inference.json``.

Which properties those are: MONAI's bundle specification and ``monai.bundle.properties.InferProperties``.
"""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch

from MedSegAttentionLib import __version__
from MedSegAttentionLib.checkpoints.card_file import CARD_FILE, CARD_KEY, read_card

from .model_card import RESEARCH_ONLY

INFERENCE_FILE = Path("configs") / "inference.json"
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
OF_ITS_TIME = ("changelog", "monai_version", "pytorch_version", "numpy_version", "required_packages_version")
"""Entries that a checkpoint keeps when its files are written anew."""
NEEDED_PACKAGES = ("safetensors", "SimpleITK", "nibabel")
"""Beside MONAI, PyTorch and NumPy."""
PARTS = "MedSegAttentionLib.bundle"


def as_json(content: dict[str, Any]) -> bytes:
    """Indented, with a line end."""
    return (json.dumps(content, indent=2) + "\n").encode()


def metadata(card: dict[str, Any], changelog: dict[str, str]) -> dict[str, Any]:
    """MONAI's bundle metadata around our card."""
    return {
        "schema": SCHEMA,
        "name": card["id"],
        "version": card["version"],
        "changelog": changelog,
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {
            "medsegattention": __version__,
            **{package: version(package) for package in NEEDED_PACKAGES},
        },
        "task": card["title"],
        "description": card["description"],
        "authors": "The MedSegAttention contributors",
        "copyright": "See LICENSE",
        "intended_use": RESEARCH_ONLY,
        "network_data_format": _network_data_format(card),
        CARD_KEY: card,
    }


def _network_data_format(card: dict[str, Any]) -> dict[str, Any]:
    """What goes into the network and what comes out: slices on its canvas, and logits."""
    size = card["fit"]["size"]
    classes = ["background", *(label["name"] for label in card["labels"])]
    single = card["activation"] == "sigmoid"
    common = {"spatial_shape": [size, size], "dtype": "float32", "value_range": [], "is_patch_data": False}
    channels = ["image"] if card["in_channels"] == 1 else ["red", "green", "blue"]
    channels = ["slice below", "slice", "slice above"] if card.get("adjacent") else channels
    image = {
        "type": "image",
        "format": "magnitude" if card["in_channels"] == 1 else "rgb",
        "modality": card["modality"],
        "num_channels": len(channels),
        **common,
        "channel_def": {str(n): name for n, name in enumerate(channels)},
    }
    logits = {
        "type": "logits",
        "format": "segmentation",
        "num_channels": 1 if single else len(classes),
        **common,
        "channel_def": {str(n): name for n, name in enumerate(classes[1:] if single else classes)},
    }
    return {"inputs": {"image": image}, "outputs": {"pred": logits}}


def inference(card: dict[str, Any] | None = None) -> dict[str, Any]:
    """The configuration with which ``python -m monai.bundle run`` gives the labels of ``segment``.

    Args:
        card: put into it, for a program that has no folder; else it is the same for every checkpoint, and its parts
            read the card from ``bundle_root``.
    """
    # As text, in which MONAI finds no expression that it would evaluate.
    place = {"bundle_root": "@bundle_root"} if card is None else {"card": json.dumps(card)}
    return {
        "imports": ["$import torch", f"$from {PARTS} import images_in"],
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/eval'",
        "force": False,
        "test_time_flips": False,
        "network_def": {"_target_": f"{PARTS}.network_of", "bundle_root": "@bundle_root"},
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": f"{PARTS}.LoadImageVolumed", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "$images_in(@dataset_dir)", "transform": "@preprocessing"},
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": {
            "_target_": f"{PARTS}.VolumeInferer",
            **place,
            "force": "@force",
            "test_time_flips": "@test_time_flips",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": f"{PARTS}.LargestComponentd", "keys": "pred", **place},
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_postfix": "seg",
                    "output_dtype": "$torch.uint8",
                    "separate_folder": False,
                    "resample": False,
                    "writer": f"{PARTS}.LabelWriter",
                },
            ],
        },
        "handlers": [{"_target_": "StatsHandler", "iteration_log": False, "epoch_log": False}],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }


def write_monai_files(folder: Path, output: Path) -> Path:
    """Write a checkpoint again with the files for MONAI as this version writes them.

    Card, weights, licence and page stay as they are, to the byte of the weights.

    Args:
        folder: of the checkpoint.
        output: where to; the folder itself brings it up to date.

    Raises:
        CheckpointError: ``folder`` holds no checkpoint.
    """
    read_card(folder)
    if output.resolve() != folder.resolve():
        shutil.copytree(folder, output, dirs_exist_ok=True)
    old = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    card = old[CARD_KEY]
    new = metadata(card, {card["version"]: "first version"}) | {key: old[key] for key in OF_ITS_TIME if key in old}
    (output / CARD_FILE).write_bytes(as_json(new))
    (output / INFERENCE_FILE).write_bytes(as_json(inference()))
    return output
