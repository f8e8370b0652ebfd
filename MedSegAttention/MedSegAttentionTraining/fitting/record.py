"""``run.json``: what a training run says of itself, so that no person has to say it from memory.

The file lies beside the weights and is written at the start and after each epoch. Its ``parts`` are the stretches of
epochs that ran with the same data, configuration and program: a run that goes on with others gets another part.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from MedSegAttentionLib import __version__
from MedSegAttentionLib.data.errors import InputError

from ..data.cases import DataFolder, origin_of
from .config import TrainingConfig

RECORD_FILE = "run.json"
GIT_SECONDS = 10
Parts = list[tuple[DataFolder, DataFolder]]
"""Of each data folder the cases learned from, and those kept aside."""


class RunRecord:
    """The record of the run in ``output``; goes on with the one that is there.

    Args:
        output: folder of the run.
        config: what is trained.
        parts: the cases.
        epoch: epochs that are finished: 0 for a new run, which forgets what another run said here.
        pretrained: origin of the weights it starts from, ``{"name", "sha256", "terms", "source"}``; None for random
            ones. A run that goes on keeps what it began with.
    """

    def __init__(
        self,
        output: Path,
        config: TrainingConfig,
        parts: Parts,
        epoch: int = 0,
        pretrained: dict[str, str] | None = None,
    ) -> None:
        self.path = output / RECORD_FILE
        if epoch and self.path.is_file():
            self.content = _read(self.path)
        else:
            self.content = _new(config, pretrained, unrecorded_epochs=epoch)
            if epoch and (weights := output / "best.safetensors").is_file():
                self.content["weights_sha256"] = sha256_of(weights)
        now = {"data": data_of(parts), "configuration": plain(config), "project": project_state()}
        kept = [part for part in self.content["parts"] if part["first_epoch"] <= epoch]
        if not kept or any(kept[-1][key] != value for key, value in now.items()):
            kept.append({"first_epoch": epoch + 1, "last_epoch": epoch, **now})
        self.content["parts"] = kept
        self._write()

    def chosen(self, epoch: int, weights: Path) -> None:
        """The weights after ``epoch`` are the best so far, in the file ``weights``."""
        self.content |= {"chosen_epoch": epoch, "weights_sha256": sha256_of(weights)}
        self._write()

    def finished(self, epoch: int) -> None:
        """``epoch`` is over, and what is needed to go on after it is stored."""
        self.content["epochs"] = self.content["parts"][-1]["last_epoch"] = epoch
        self.content["finished"] = _now()
        self._write()

    def _write(self) -> None:
        text = json.dumps(self.content, indent=1) + "\n"
        unfinished = self.path.with_suffix(".tmp")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(self.path)


def record_beside(weights: Path) -> dict[str, Any] | None:
    """The record of the run that ``weights`` come from, None where there is none beside them.

    Raises:
        InputError: it cannot be read, or is of other weights.
    """
    path = weights.parent / RECORD_FILE
    if not path.is_file():
        return None
    record = _read(path)
    if record.get("weights_sha256") != sha256_of(weights):
        raise InputError(
            f"'{path}' is the record of other weights than '{weights}'; expected best.safetensors as the run left it, "
            "with the run.json of the same run beside it. Move run.json away to export without a record."
        )
    return record


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def project_state() -> dict[str, Any]:
    """Version of this program; commit of its Git work tree and whether files were changed since, None without one."""
    here = Path(__file__).resolve()
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:  # no work tree, or another project's
        return {"version": __version__, "commit": None, "changed": None}
    changes = _git(here.parents[2], "status", "--porcelain", "--", "*.py", "*.json")
    return {"version": __version__, "commit": _git(here.parent, "rev-parse", "HEAD"), "changed": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, None where it cannot."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _new(config: TrainingConfig, pretrained: dict[str, str] | None, unrecorded_epochs: int) -> dict[str, Any]:
    return {
        "format": 1,
        "checkpoint": config.checkpoint,
        "task": config.task,
        "started": _now(),
        "finished": None,
        "epochs": unrecorded_epochs,
        "unrecorded_epochs": unrecorded_epochs,
        "chosen_epoch": None,
        "weights_sha256": None,
        "pretrained": pretrained,
        "parts": [],
    }


def last_part(output: Path) -> dict[str, Any] | None:
    """The newest part of the record in ``output``, None where there is none; raises as :func:`record_beside`."""
    path = output / RECORD_FILE
    parts = _read(path)["parts"] if path.is_file() else []
    return parts[-1] if parts else None


def data_of(parts: Parts) -> list[dict[str, Any]]:
    """What the record says of the data."""
    return [
        {
            "folder": learned.name,
            **origin_of(learned),
            "cases": len(learned.cases),
            "kept_aside": len(aside.cases),
            "case_names": [case.name for case in learned.cases],
        }
        for learned, aside in parts
    ]


def plain(config: TrainingConfig) -> dict[str, Any]:
    """A configuration as it comes back from JSON."""
    return json.loads(json.dumps(asdict(config)))


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["parts"], record["epochs"], record["unrecorded_epochs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"'{path}' is no record of a training run ({type(error).__name__}: {error}); expected the run.json that "
            "train writes. Move it away to go on without it."
        ) from error
    return record


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
