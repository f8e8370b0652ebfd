"""From the record of a training run to what the card says of where the weights come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from MedSegAttentionLib.data.errors import InputError

from ..data.cases import NOT_STATED
from ..fitting.config import TrainingConfig
from ..fitting.record import plain
from ..fitting.starting import CHECKPOINT

NOT_RECORDED = {"recorded": False}
DECIDING = ("task", "network", "classes", "in_channels", "adjacent", "intensity", "augmentation")
"""Settings that the card takes over, beside the last stage's fit."""


def check_configuration(config: TrainingConfig, record: dict[str, Any]) -> None:
    """See that the run had the settings of ``config`` that the card tells of.

    Raises:
        InputError: it had others.
    """
    now, then = plain(config), {"adjacent": 0.0, **record["parts"][-1]["configuration"]}  # older ones do not say it
    other = [name for name in DECIDING if now[name] != then.get(name)]
    other += ["fit of the last stage"] if now["stages"][-1]["fit"] != then["stages"][-1]["fit"] else []
    if other:
        raise InputError(
            f"the configuration differs from that of the run in {', '.join(other)}; expected the one that the weights "
            "were trained with."
        )


def check_data_sets(
    source: Path, data_sets: dict[str, dict[str, str]], record: dict[str, Any] | None, chosen: bool
) -> None:
    """See that a card source speaks of a network that was trained on the data of this run.

    Args:
        source: its file.
        data_sets: those that it names; one that names none is taken at its author's word.
        record: of the run.
        chosen: whether the user named the source; one that is taken for its name alone must name the run's data.

    Raises:
        InputError: the run used other data, or nothing says which.
    """
    used = list(dict.fromkeys(item["folder"] for part in (record or {}).get("parts", []) for item in part["data"]))
    if record and data_sets and (others := [folder for folder in used if folder not in data_sets]):
        raise InputError(
            f"the card source '{source}' is about a network trained on {', '.join(data_sets)}; this run was trained on "
            f"{', '.join(others)} too. Write one for it as Resources/docs/own.md says, and give it with --card."
        )
    if not chosen and not (record and data_sets):
        raise InputError(
            f"nothing says that '{source}' is about this run: it names no data_sets, or no run.json lies beside the "
            "weights. Write a card source as Resources/docs/own.md says, and give it with --card."
        )


def origin_entries(record: dict[str, Any] | None, data_sets: dict[str, dict[str, str]]) -> dict[str, Any]:
    """The card's ``training_data``, ``training`` and ``license``.

    Args:
        record: of the run, see :mod:`MedSegAttentionTraining.fitting.record`; None where there is none.
        data_sets: end of a data folder's path -> ``name``, ``terms``, ``citation`` that a person adds where the
            folder does not state them; those of data sets that the run did not use are left out.
    """
    if record is None or record["chosen_epoch"] is None:  # the weights are of an epoch before the record
        return {
            "training_data": [],
            "training": NOT_RECORDED,
            "license": "Research use only; what these weights were trained on is not recorded (see LICENSE).",
        }
    parts = _parts(record)
    data = [_described(item, data_sets.get(item["folder"], {})) for part in parts for item in part["data"]]
    data = [item for number, item in enumerate(data) if item not in data[:number]]  # parts of one run share most
    names = dict.fromkeys(item["name"] for item in data)
    project = parts[-1]["project"]
    training = {
        "recorded": True,
        "unrecorded_epochs": record["unrecorded_epochs"],
        "epochs": record["epochs"],
        "chosen_epoch": record["chosen_epoch"],
        "started": record["started"],
        "finished": record["finished"],
        "project_version": project["version"],
        "commit": project["commit"],
        "uncommitted_changes": project["changed"],
        "pretrained": record["pretrained"],
        "configuration": parts[-1]["configuration"],
    }
    start = f", starting from {record['pretrained']['name']}" if record["pretrained"] else ""
    licence = f"Research use only; trained on {_joined(list(names))}{start} (see LICENSE)."
    return {"training_data": data, "training": training, "license": licence}


def learned_cases(record: dict[str, Any] | None) -> dict[str, set[str]] | None:
    """End of a data folder's path -> names of the cases that the weights learned from; None where not all are recorded.

    Those of a checkpoint that the run started from are not.
    """
    if record is None or record["unrecorded_epochs"] or (record["pretrained"] or {}).get("kind") == CHECKPOINT:
        return None
    learned: dict[str, set[str]] = {}
    for item in (item for part in _parts(record) for item in part["data"]):
        learned.setdefault(item["folder"], set()).update(item["case_names"])
    return learned


def _parts(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that the chosen weights went through."""
    return [part for part in record["parts"] if part["first_epoch"] <= record["chosen_epoch"]]


def _described(item: dict[str, Any], added: dict[str, str]) -> dict[str, Any]:
    """A person may give the name that readers know; terms and citation only where the data folder states none."""
    lacking = [key for key in ("terms", "citation") if item[key] == NOT_STATED]
    told = {key: value for key, value in item.items() if key != "case_names"}
    return told | {key: added[key] for key in ("name", *lacking) if key in added}


def _joined(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
