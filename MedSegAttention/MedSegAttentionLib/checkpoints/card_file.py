"""The card as it stands in ``configs/metadata.json``, checked before anything is built from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..data.card import FLIPS, AttentionMap, Card, is_distance
from ..data.errors import CheckpointError
from ..data.labels import Code, Label

CARD_FILE = Path("configs") / "metadata.json"
CARD_KEY = "medsegattention"
"""Key of our card inside the MONAI bundle's metadata."""
CANVAS_MULTIPLE = 16
"""A canvas has a side of a multiple of this, so that maps cover it exactly."""
REQUIRED = {
    "intensity": {"window": {"low", "high"}, "zscore": {"percentiles"}, "body": {"percentiles"}},
    "fit": {"spacing": {"mm", "size"}, "stretch": {"size"}},
}
"""Entry of the card -> its kinds -> what each kind needs."""
TEXTS = ("id", "version", "task", "title", "description", "modality", "license", "weights_sha256")
MORE_TEXTS = ("task_title", "network_package")


def read_card(folder: str | Path) -> Card:
    """Read and check the card of the checkpoint in ``folder``.

    Raises:
        CheckpointError: the file is missing, no JSON, lacks something, or says something this version does not know.
    """
    path = Path(folder) / CARD_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))[CARD_KEY]
    except OSError as error:
        raise CheckpointError(
            f"'{folder}' is not a checkpoint: '{path}' cannot be read ({error.strerror}). Give the folder that holds "
            "configs/metadata.json and models/model.safetensors."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _invalid(path, error) from error
    return card_of(values, path)


def card_of(values: dict[str, Any], source: str | Path) -> Card:
    """Check the values of a card that were read from ``source``, a name for the error; raises as :func:`read_card`."""
    try:
        _check(values)
        return _card_from(values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _invalid(source, error) from error


def _invalid(source: str | Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"'{source}' is not a valid checkpoint card ({type(error).__name__}: {error}). Get the checkpoint again."
    )


def _check(values: dict[str, Any]) -> None:
    """Raise ValueError, KeyError or TypeError for an entry that would fail later."""
    for entry, choices in (
        ("activation", ("sigmoid", "softmax")),
        ("orientation", ("axial", "coronal", "sagittal")),
        ("in_channels", (1, 3)),
    ):
        if values[entry] not in choices:
            raise ValueError(f"{entry} {values[entry]!r} is none of {choices}")
    for entry, kind in (("intensity", values["intensity"]["method"]), ("fit", values["fit"]["fit"])):
        if missing := REQUIRED[entry][kind] - set(values[entry]):
            raise ValueError(f"{entry} {kind!r} lacks {sorted(missing)}")
    if values["fit"]["size"] % CANVAS_MULTIPLE:
        raise ValueError(f"fit size {values['fit']['size']} is no multiple of {CANVAS_MULTIPLE}")
    if not isinstance(values["network"], str) or not isinstance(values["network_config"], dict):
        raise TypeError("network must be a name and network_config its options")
    if fixed := {"in_channels", "out_channels"} & set(values["network_config"]):
        raise ValueError(f"network_config may not hold {sorted(fixed)}")
    for bound in ("minimum", "maximum"):
        low, high = values["expects"][bound]
        if low is not None and high is not None and low > high:
            raise ValueError(f"expects {bound} {low} to {high} is empty")
    if unknown := [flip for flip in values.get("flips", []) if flip not in FLIPS]:
        raise ValueError(f"flips {unknown} are none of {FLIPS}")
    if not values["labels"]:
        raise ValueError("labels is empty")
    _check_slices_beside(values)
    _check_fitted(values)
    _check_what_people_read(values)


def _check_slices_beside(values: dict[str, Any]) -> None:
    """How the slices below and above count: as input, and in the mean of the outputs."""
    adjacent = values.get("adjacent", 0.0)
    if not is_distance(adjacent) or (adjacent and values["in_channels"] != 1):
        raise ValueError(f"adjacent {adjacent!r} is no distance in mm between slices of one channel")
    smoothing = values.get("smoothing", {})
    if smoothing and not (set(smoothing) == {"mm", "weight"} and all(map(is_distance, smoothing.values()))):
        raise ValueError(f"smoothing {smoothing} is no mm and weight")


def _check_fitted(values: dict[str, Any]) -> None:
    """What was fitted on cases kept aside: the presence score, the expected Dice, the temperature."""
    if presence := values.get("presence"):
        numbers = [presence["bias"], *presence["weights"].values(), *presence["thresholds"]]
        if not all(isinstance(number, int | float) for number in numbers):
            raise TypeError("presence holds something other than numbers")
        if len(presence["thresholds"]) != len(values["labels"]):
            raise ValueError(f"presence thresholds {presence['thresholds']} are not one for each label")
    if quality := values.get("quality"):
        columns = [quality[key] for key in ("confidence", "dice", "low", "high")]
        numbers = [number for column in columns for number in column]
        if len({len(column) for column in columns}) != 1 or not all(0 <= number <= 1 for number in numbers):
            raise ValueError("quality is no table of numbers in [0, 1]")
        if quality["confidence"] != sorted(quality["confidence"]):
            raise ValueError(f"quality confidence {quality['confidence']} does not ascend")
    familiar = values.get("familiar")
    if familiar and not (isinstance(familiar["sha256"], str) and 0 < familiar["threshold"] < float("inf")):
        raise ValueError(f"familiar {familiar} is no threshold and hash")
    for name, (low, high) in values.get("sizes", {}).items():
        if not 0 <= low <= high:
            raise ValueError(f"sizes of {name} {low} to {high} are none")
    if not 0 < values.get("temperature", 1.0) < float("inf"):
        raise ValueError(f"temperature {values['temperature']} is not positive")


def _check_what_people_read(values: dict[str, Any]) -> None:
    lists, tables, switches = ("limits", "training_data", "flips"), ("metrics", "training"), ("default",)
    for entries, kind in ((TEXTS, str), (MORE_TEXTS, str), (lists, list), (tables, dict), (switches, bool)):
        for entry in entries:
            if entry in values and not isinstance(values[entry], kind):
                raise TypeError(f"{entry} is {type(values[entry]).__name__}, expected {kind.__name__}")
    if not all(isinstance(data, dict) for data in values["training_data"]):
        raise TypeError("training_data holds something other than tables")


def _card_from(values: dict[str, Any]) -> Card:
    labels = tuple(
        Label(
            name=item["name"],
            value=value,
            colour=tuple(item["colour"]),
            **{key: Code(*code) for key, code in item["codes"].items() if code is not None},
        )
        for value, item in enumerate(values["labels"], start=1)
    )
    maps = tuple(AttentionMap(**{**item, "range": tuple(item["range"])}) for item in values["attention"])
    plain = {key: value for key, value in values.items() if key not in ("labels", "attention")}
    plain |= {key: tuple(values[key]) for key in ("training_data", "limits", "flips") if key in values}
    return Card(labels=labels, attention=maps, **plain)
