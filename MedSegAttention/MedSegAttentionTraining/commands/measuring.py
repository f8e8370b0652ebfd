"""The commands that measure a checkpoint: evaluate, reliability, calibrate, results."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from MedSegAttentionLib.commands.cohort import add_cluster_options, cluster_choice
from MedSegAttentionLib.data.errors import UsageError
from MedSegAttentionLib.inference.settings import DEVICES

logger = logging.getLogger(__name__)


def add_measuring(commands: argparse._SubParsersAction) -> None:
    """Add evaluate, reliability, calibrate and results."""
    _add_evaluate(commands)
    _add_reliability(commands)
    _add_calibrate(commands)
    _add_familiarity(commands)
    _add_robustness(commands)
    results = commands.add_parser("results", help="write the tables of results from the reports of evaluate")
    results.set_defaults(run=_results)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    evaluate = commands.add_parser("evaluate", help="measure a checkpoint on images with reference masks")
    what = evaluate.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint", metavar="ID|FOLDER|TASK")
    what.add_argument(
        "--segmentations", type=Path, metavar="FOLDER", help="label maps of another program, named like the images"
    )
    evaluate.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    evaluate.add_argument("--split", choices=("train", "validation", "test", "selection", "fitted"))
    evaluate.add_argument("--splits", type=Path, metavar="CSV")
    evaluate.add_argument(
        "--config",
        type=Path,
        metavar="CONFIG",
        help="of the training that kept cases aside (--split selection) and learned from the others (--split fitted)",
    )
    evaluate.add_argument("--flips", action="store_true", help="average over mirror images of each slice")
    evaluate.add_argument("--device", choices=DEVICES, default="auto")
    evaluate.add_argument("--json", type=Path, metavar="FILE")
    evaluate.add_argument("--csv", type=Path, metavar="FILE")
    add_cluster_options(evaluate)
    evaluate.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from ..measuring.evaluation import evaluate

    report = evaluate(
        arguments.checkpoint,
        arguments.data,
        arguments.split,
        arguments.splits,
        segmentations=arguments.segmentations,
        device=arguments.device,
        config=arguments.config,
        test_time_flips=arguments.flips,
        json_path=arguments.json,
        csv_path=arguments.csv,
        cluster=cluster_choice(arguments),
    )
    logger.info("mean over %d cases: %s", len(report["cases"]), json.dumps(report["mean"]))
    for name, figures in report["per_class"].items():
        logger.info("%s: %s", name, json.dumps(figures))
    return 0


def _add_reliability(commands: argparse._SubParsersAction) -> None:
    reliability = commands.add_parser(
        "reliability",
        help="calibration of a checkpoint, and whether its tau maps mark boundaries or errors",
        description="Fits the temperature on the selection part of split train and measures on split test. Writes "
        "reliability/CHECKPOINT.json and the pages over all of these; without --checkpoint the pages alone.",
    )
    reliability.add_argument("--checkpoint", metavar="ID|FOLDER")
    reliability.add_argument("--data", type=Path, metavar="FOLDER", help="with the cases it was trained on")
    reliability.add_argument("--splits", type=Path, metavar="CSV", help="splits train and test of the folder")
    reliability.add_argument("--config", type=Path, metavar="CONFIG", help="of the training, if not the one of its ID")
    reliability.add_argument("--cases", type=int, metavar="N", help="at most N of either part, evenly spread")
    reliability.add_argument(
        "--results", type=Path, metavar="DIR", help="for files, pages and figures (Resources/docs/results)"
    )
    reliability.add_argument("--device", choices=DEVICES, default="auto")
    reliability.set_defaults(run=_reliability)


def _reliability(arguments: argparse.Namespace) -> int:
    from ..measuring.reliability import measure_reliability
    from ..publishing.reliability_report import write_pages, write_report
    from ..publishing.results import ABLATION_RESULTS

    wanted = (arguments.checkpoint, arguments.data, arguments.splits)
    if any(wanted) and not all(wanted):
        raise UsageError("--checkpoint, --data and --splits belong together; expected all, or none to write the pages.")
    if arguments.cases is not None and arguments.cases < 1:
        raise UsageError(f"--cases {arguments.cases} is not possible; expected 1 or more.")
    results = arguments.results or ABLATION_RESULTS
    if arguments.checkpoint:
        report = measure_reliability(*wanted, config=arguments.config, limit=arguments.cases, device=arguments.device)
        write_report(report, results)
    logger.info("wrote %s", ", ".join(map(str, write_pages(results))))
    return 0


def _add_familiarity(commands: argparse._SubParsersAction) -> None:
    familiarity = commands.add_parser("familiarity", help="how many images of a folder count as unlike the training's")
    familiarity.add_argument("--checkpoint", required=True, metavar="ID|FOLDER")
    familiarity.add_argument("--data", type=Path, nargs="+", required=True, metavar="FOLDER", help="of images")
    familiarity.add_argument(
        "--altered",
        nargs="+",
        default=["none"],
        metavar="HOW",
        help="do this to each image first: none, inverted, upside-down, blurred, middle or noise",
    )
    familiarity.add_argument("--cases", type=int, metavar="N", help="most images of a folder, evenly spread")
    familiarity.add_argument("--device", choices=DEVICES, default="auto")
    familiarity.set_defaults(run=_familiarity)


def _familiarity(arguments: argparse.Namespace) -> int:
    from ..measuring.familiarity import measure_familiarity

    for folder in arguments.data:
        for alteration in arguments.altered:
            options = {"alteration": alteration, "limit": arguments.cases, "device": arguments.device}
            logger.info("%s", json.dumps(measure_familiarity(arguments.checkpoint, folder, **options)))
    return 0


def _add_robustness(commands: argparse._SubParsersAction) -> None:
    robustness = commands.add_parser(
        "robustness", help="whether what should not matter changes a result, and whether nonsense is noticed"
    )
    robustness.add_argument("--checkpoint", required=True, metavar="ID|FOLDER")
    robustness.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="images/ with masks/ or labels/")
    robustness.add_argument("--split", choices=("train", "test"))
    robustness.add_argument("--splits", type=Path, metavar="CSV")
    robustness.add_argument("--cases", type=int, default=3, metavar="N", help="evenly spread (3)")
    robustness.add_argument("--slices", type=int, default=6, metavar="N", help="the middle ones of a volume (6)")
    robustness.add_argument(
        "--others", type=Path, nargs="+", default=[], metavar="FOLDER", help="of images of other tasks"
    )
    robustness.add_argument("--device", choices=DEVICES, default="auto")
    robustness.add_argument("--json", type=Path, metavar="FILE")
    robustness.set_defaults(run=_robustness)


def _robustness(arguments: argparse.Namespace) -> int:
    from ..measuring.robustness import measure_robustness, tables

    if arguments.cases < 1 or arguments.slices < 1:
        raise UsageError("--cases and --slices must be 1 or more.")
    options = {name: getattr(arguments, name) for name in ("cases", "slices", "others", "device")}
    report = measure_robustness(arguments.checkpoint, arguments.data, arguments.split, arguments.splits, **options)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    logger.info("%s", tables(report))
    return 0


def _add_calibrate(commands: argparse._SubParsersAction) -> None:
    calibrate = commands.add_parser(
        "calibrate",
        help="fit temperature, presence score and expected Dice on the training cases kept aside",
    )
    calibrate.add_argument("--checkpoint", required=True, metavar="ID|FOLDER")
    calibrate.add_argument("--data", type=Path, nargs="+", required=True, metavar="FOLDER", help="it was trained with")
    calibrate.add_argument("--splits", type=Path, metavar="CSV")
    calibrate.add_argument("--config", type=Path, required=True, metavar="CONFIG", help="of the training")
    calibrate.add_argument("--lost", type=float, default=0.02, metavar="SHARE", help="most of the slices overlooked")
    calibrate.add_argument("--device", choices=DEVICES, default="auto")
    calibrate.add_argument("--json", type=Path, required=True, metavar="FILE", help="for export --metrics")
    calibrate.set_defaults(run=_calibrate)


def _calibrate(arguments: argparse.Namespace) -> int:
    from ..measuring.calibrate import calibrate

    if not 0 <= arguments.lost < 1:
        raise UsageError(f"--lost {arguments.lost} is not possible; expected a share from 0 up to 1.")
    report = calibrate(
        arguments.checkpoint,
        arguments.data,
        arguments.splits,
        arguments.config,
        lost=arguments.lost,
        device=arguments.device,
    )
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    presence = json.dumps(report["presence"].get("measured", {}))
    logger.info("temperature %.3f; presence %s", report["temperature"], presence)
    return 0


def _results(_arguments: argparse.Namespace) -> int:
    from ..publishing.results import PAGES, write_results

    for page, table in PAGES.items():
        write_results(page, table)
        logger.info("wrote the table of results in %s", page)
    return 0
