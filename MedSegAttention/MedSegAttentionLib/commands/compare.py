"""``compare``: how well two segmentations agree."""

from __future__ import annotations

import argparse
import csv
import json
import logging
from pathlib import Path

from ..data.comparison import Comparison, NamedLabels
from ..data.errors import InputError

logger = logging.getLogger(__name__)


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add ``compare`` to the command line."""
    parser = commands.add_parser("compare", help="how well two segmentations of one image agree")
    parser.add_argument("first", type=Path, metavar="A", help=".seg.nrrd, label map or DICOM SEG; gives the grid")
    parser.add_argument("second", type=Path, metavar="B")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures by class and slice")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write both tables")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from ..inference.agreement import compare  # torch: only when asked for

    comparison = compare(_read(arguments.first), _read(arguments.second))
    logger.info(as_text(comparison))
    if arguments.json:
        _write(arguments.json, json.dumps(comparison.as_json(), indent=2) + "\n")
    if arguments.csv:
        _write_csv(arguments.csv, comparison.rows())
    return 0


def as_text(comparison: Comparison) -> str:
    """The figures of each class, and the slices that differ most."""
    lines = [f"{'':20s} {'Dice':>6s} {'HD95':>8s} {'mean':>8s} {'A':>10s} {'B':>10s}"]
    for item in comparison.classes:
        distances = " ".join(f"{'-' if v is None else f'{v:.2f}':>8s}" for v in (item.hd95, item.mean_distance))
        lines.append(f"{item.name:20s} {item.dice:6.3f} {distances} {item.size_a:10.2f} {item.size_b:10.2f}")
    units = f"distances in {comparison.distance_unit}, sizes in {comparison.size_unit}"
    lines.append(f"mean Dice {comparison.mean_dice:.3f}; {units}")
    for side, names in (("A", comparison.only_a), ("B", comparison.only_b)):
        if names:
            lines.append(f"only in {side}, not compared: {', '.join(names)}")
    if worst := comparison.slices[:5]:
        told = ", ".join(f"{item.number + 1} ({item.differing} voxels)" for item in worst)
        lines.append(f"slices that differ most, of {comparison.slice_count}: {told}")
    return "\n".join(lines)


def _read(path: Path) -> NamedLabels:
    from ..dicom.reading import is_dicom_segmentation, read_dicom_segmentation
    from ..files.segmentations import read_segmentation

    return read_dicom_segmentation(path) if is_dicom_segmentation(path) else read_segmentation(path)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"'{path}' cannot be written ({error.strerror}); choose another file.") from error


def _write_csv(path: Path, rows: list[list[str]]) -> None:
    try:
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    except OSError as error:
        raise InputError(f"'{path}' cannot be written ({error.strerror}); choose another file.") from error
