"""Whether a run may go on in a folder: with the configuration and the data that it began with there."""

from __future__ import annotations

import ast
import json
import logging
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from MedSegAttentionLib.data.errors import InputError

from .config import TrainingConfig
from .record import Parts, data_of, last_part, plain

logger = logging.getLogger(__name__)
HARMLESS = ("epochs",)
"""What may be another value: a run may be made longer or shorter. Device, threads and processes are no part of it."""
NAMED = 5
"""Differences and cases that an error names."""


def check_goes_on(output: Path, state: dict[str, Any], config: TrainingConfig, parts: Parts, anyway: bool) -> None:
    """Raise :class:`InputError` where the run in ``output`` began with another configuration or other data.

    Args:
        output: folder of the run.
        state: of ``last.pt``; its ``config`` is how Python writes a :class:`TrainingConfig`, of whatever version.
        config: of this run.
        parts: its cases.
        anyway: log it and go on.
    """
    found = _other_settings(_settings_of(state.get("config", "")), plain(config)) + _other_data(output, data_of(parts))
    if not found:
        return
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    told = f"the run in '{output}' began otherwise: {'; '.join(found[:NAMED])}{more}"
    if not anyway:
        raise InputError(
            f"{told}. Give another --output for a new run, or the configuration and data it began with, or go on with "
            "the new ones all the same (--force)."
        )
    logger.warning("%s; it goes on with the new ones", told)


def _settings_of(text: str) -> dict[str, Any]:
    """The settings in ``TrainingConfig(name=value, ...)``; empty where that cannot be read."""
    try:
        return {item.arg: _value(item.value) for item in ast.parse(text, mode="eval").body.keywords if item.arg}
    except (SyntaxError, ValueError, AttributeError):
        return {}


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.List):
        return [_value(one) for one in node.elts]
    if isinstance(node, ast.Call):  # Stage(...)
        return {item.arg: _value(item.value) for item in node.keywords}
    return json.loads(json.dumps(ast.literal_eval(node)))


def _other_settings(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs, a phrase each; a setting that the earlier version did not have had its default."""
    if not then:
        return []
    defaults = {
        item.name: item.default_factory() if item.default_factory is not MISSING else item.default
        for item in fields(TrainingConfig)
    }
    return [
        phrase for name, value in now.items() for phrase in _differences(name, then.get(name, defaults[name]), value)
    ]


def _differences(name: str, then: Any, now: Any) -> list[str]:
    if name.rpartition(".")[2] in HARMLESS or then == now:
        return []
    if isinstance(then, dict) and isinstance(now, dict):
        keys = dict.fromkeys((*then, *now))
        return [one for key in keys for one in _differences(f"{name}.{key}", then.get(key), now.get(key))]
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        pairs = enumerate(zip(then, now, strict=True), start=1)
        return [one for number, pair in pairs for one in _differences(f"{name}[{number}]", *pair)]
    return [f"{name} was {json.dumps(then)} and is {json.dumps(now)}"]


def _other_data(output: Path, now: list[dict[str, Any]]) -> list[str]:
    """What differs from the data of the record, a phrase each; nothing where there is no record."""
    part = last_part(output)
    if part is None:
        return []
    before, after = ({data["folder"]: data for data in listed} for listed in (part["data"], now))
    found = [f"data '{name}' were not among it" for name in after if name not in before]
    found += [f"data '{name}' were among it" for name in before if name not in after]
    for name in (name for name in after if name in before):
        lists = [set(one[name].get("case_names", ())) for one in (before, after)]
        if lists[0] != lists[1]:
            words = _named("without", lists[0] - lists[1]) + _named("with the new", lists[1] - lists[0])
            found.append(f"data '{name}' are {' and '.join(words)} now")
        elif before[name].get("kept_aside") != after[name]["kept_aside"]:
            counts = [one[name].get("kept_aside") for one in (before, after)]
            found.append(f"data '{name}': {counts[0]} cases were kept aside and {counts[1]} are")
    return found


def _named(what: str, cases: set[str]) -> list[str]:
    if not cases:
        return []
    more = f" and {len(cases) - NAMED} more" if len(cases) > NAMED else ""
    return [f"{what} " + ", ".join(f"'{name}'" for name in sorted(cases)[:NAMED]) + more]
