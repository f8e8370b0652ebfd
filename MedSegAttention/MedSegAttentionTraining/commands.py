"""The commands of training and measuring, added to ``python -m MedSegAttentionLib`` when this folder is there."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from MedSegAttentionLib.commands.segment import attention_choice
from MedSegAttentionLib.data.errors import InputError, UsageError
from MedSegAttentionLib.inference.settings import DEVICES

logger = logging.getLogger(__name__)
BENCHMARKS = ("networks", "scan", "attention", "zoo")


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add prepare, train, evaluate, reliability, export, complexity, benchmark, ablate and results."""
    _add_prepare(commands)
    train = commands.add_parser("train", help="train a network; goes on where an earlier run stopped")
    train.add_argument("config", type=Path, help="JSON file, see MedSegAttentionTraining/configs")
    train.add_argument("--data", type=Path, nargs="+", required=True, metavar="FOLDER", help="images/, labels/ ...")
    train.add_argument("--splits", type=Path, metavar="CSV", help="use its cases of split train alone")
    train.add_argument("--output", type=Path, required=True, metavar="DIR")
    train.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu")
    train.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    train.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    train.add_argument("--max-steps", type=int, metavar="N", help="stop after N steps (for a trial)")
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="measure a checkpoint on images with reference masks")
    evaluate.add_argument("--checkpoint", required=True, metavar="ID|FOLDER|TASK")
    evaluate.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    evaluate.add_argument("--split", choices=("train", "validation", "test", "selection"))
    evaluate.add_argument("--splits", type=Path, metavar="CSV")
    evaluate.add_argument("--config", type=Path, metavar="CONFIG", help="of the training whose selection part is meant")
    evaluate.add_argument("--flips", action="store_true", help="average over mirror images of each slice")
    evaluate.add_argument("--device", choices=DEVICES, default="auto")
    evaluate.add_argument("--json", type=Path, metavar="FILE")
    evaluate.add_argument("--csv", type=Path, metavar="FILE")
    evaluate.set_defaults(run=_evaluate)
    _add_reliability(commands)

    _add_export(commands.add_parser("export", help="write a trained network as a checkpoint, or a checkpoint as ONNX"))

    complexity = commands.add_parser("complexity", help="parameters and multiply-accumulates of the networks")
    complexity.add_argument("network", nargs="*", metavar="NETWORK", help="names; none means all")
    complexity.add_argument("--size", type=int, default=256, metavar="PIXELS")
    complexity.add_argument("--kv-savings", action="store_true", help="what KV attention saves in the SETR family")
    complexity.set_defaults(run=_complexity)

    benchmark = commands.add_parser("benchmark", help="time and memory: ratios of one run on one machine")
    benchmark.add_argument(
        "what",
        nargs="?",
        choices=BENCHMARKS,
        default="networks",
        help="networks: KLO-Net's against the U-Net (default); scan, attention: against their plain forms; "
        "zoo: all networks and variants in one page",
    )
    benchmark.add_argument("--size", type=int, default=256, metavar="PIXELS")
    benchmark.add_argument(
        "--rounds", type=int, metavar="N", help="how often all are timed (15; scan, zoo 3; attention 5)"
    )
    benchmark.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    benchmark.add_argument("--image", type=Path, metavar="FILE", help="also time a whole run on this image ...")
    benchmark.add_argument("--checkpoint", metavar="ID|FOLDER", help="... with this checkpoint")
    benchmark.add_argument("--output", type=Path, metavar="FILE", help="write the page of zoo there")
    benchmark.set_defaults(run=_benchmark)
    _add_ablate(commands)

    results = commands.add_parser("results", help="write the README's table of results from the reports of evaluate")
    results.set_defaults(run=_results)


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
    reliability.add_argument("--results", type=Path, metavar="DIR", help="folder for files, pages and figures")
    reliability.add_argument("--device", choices=DEVICES, default="auto")
    reliability.set_defaults(run=_reliability)


def _add_ablate(commands: argparse._SubParsersAction) -> None:
    ablate = commands.add_parser(
        "ablate",
        help="compare networks on the same data and steps; goes on where an earlier run stopped",
        description="Each finished run is a line of NAME.csv. Without --data it only writes the pages anew from those.",
    )
    ablate.add_argument("name", nargs="*", metavar="NAME", help="such as klo-rows or peer; none means all")
    ablate.add_argument("--data", type=Path, metavar="FOLDER", help="the data that the page of the ablation names")
    ablate.add_argument("--splits", type=Path, metavar="CSV", help="use its cases of split train alone")
    ablate.add_argument("--output", type=Path, metavar="DIR", help="folder for the runs")
    ablate.add_argument("--results", type=Path, metavar="DIR", help="folder for tables and figures")
    ablate.add_argument("--rows", nargs="+", metavar="LABEL", help="only these rows, named as in the table")
    ablate.add_argument("--seeds", type=int, metavar="N", help="runs of each row")
    ablate.add_argument("--steps", type=int, metavar="N", help="a trial of N steps; its tables go to --output")
    ablate.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu")
    ablate.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    ablate.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    ablate.set_defaults(run=_ablate)


def _add_prepare(commands: argparse._SubParsersAction) -> None:
    prepare = commands.add_parser("prepare", help="turn an official download into a folder for train and evaluate")
    prepare.add_argument("dataset", nargs="?", metavar="DATASET", help="a name of --list")
    prepare.add_argument("source", nargs="?", type=Path, metavar="SOURCE", help="the unpacked download; left as it is")
    prepare.add_argument("out", nargs="?", type=Path, metavar="OUT", help="folder to write, or to go on with")
    prepare.add_argument("--seed", type=int, default=0, help="of the draw of the test cases")
    prepare.add_argument(
        "--test-share",
        type=float,
        metavar="SHARE",
        help="share of patients, sequences or pictures drawn for test, instead of the published split",
    )
    prepare.add_argument("--list", action="store_true", help="where each data set is had, and under which terms")
    prepare.set_defaults(run=_prepare)


def _prepare(arguments: argparse.Namespace) -> int:
    from .preparation.sources import describe
    from .preparation.writing import prepare

    if arguments.list:
        logger.info(describe())
        return 0
    if arguments.out is None:
        raise UsageError("prepare needs DATASET SOURCE OUT; expected all three, or --list.")
    counts = prepare(arguments.dataset, arguments.source, arguments.out, arguments.seed, arguments.test_share)
    logger.info("%s: %s", arguments.out, ", ".join(f"{count} {part}" for part, count in counts.items()))
    return 0


def _add_export(export: argparse.ArgumentParser) -> None:
    export.add_argument(
        "source", metavar="CONFIG|CHECKPOINT", help="bundle: training configuration; onnx: ID or folder"
    )
    export.add_argument("--format", choices=("bundle", "onnx"), default="bundle", help="MONAI bundle (default) or ONNX")
    export.add_argument("--output", type=Path, required=True, metavar="DIR|FILE", help="folder, or file.onnx")
    export.add_argument("--weights", type=Path, metavar="FILE", help="bundle: best.safetensors of the run")
    export.add_argument(
        "--metrics", type=Path, nargs="*", default=[], metavar="JSON", help="bundle: files of evaluate and reliability"
    )
    export.add_argument("--attention", metavar="NAME,...|none", help="onnx: attention maps among the outputs (all)")
    export.set_defaults(run=_export)


def _train(arguments: argparse.Namespace) -> int:
    from .cases import read_folder
    from .config import read_config
    from .loop import Options, Trainer
    from .processes import training_processes

    config = read_config(arguments.config)
    split = "train" if arguments.splits else None
    data = [read_folder(folder, split, arguments.splits) for folder in arguments.data]
    with training_processes(arguments.device) as (processes, device):
        options = Options(str(device), arguments.threads, arguments.bf16, arguments.max_steps, processes)
        best = Trainer(config, data, arguments.output, options).run()
        if processes.is_first:
            logger.info("best weights: %s", best)
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from .evaluation import evaluate

    report = evaluate(
        arguments.checkpoint,
        arguments.data,
        arguments.split,
        arguments.splits,
        device=arguments.device,
        config=arguments.config,
        test_time_flips=arguments.flips,
        json_path=arguments.json,
        csv_path=arguments.csv,
    )
    logger.info("mean over %d cases: %s", len(report["cases"]), json.dumps(report["mean"]))
    for name, figures in report["per_class"].items():
        logger.info("%s: %s", name, json.dumps(figures))
    return 0


def _reliability(arguments: argparse.Namespace) -> int:
    from .reliability import measure_reliability
    from .reliability_report import write_pages, write_report
    from .results import ABLATION_RESULTS

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


def _export(arguments: argparse.Namespace) -> int:
    if arguments.format == "onnx":
        return _export_onnx(arguments)
    from .bundle import Training, write_bundle
    from .config import read_config

    if arguments.weights is None or arguments.attention is not None:
        raise UsageError("a bundle is made of CONFIG and --weights FILE; --attention goes with --format onnx.")
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.metrics]
    if not arguments.weights.is_file():
        raise InputError(f"weights '{arguments.weights}' do not exist; expected best.safetensors of a training run.")
    card = write_bundle(Training(read_config(Path(arguments.source)), arguments.weights, reports), arguments.output)
    logger.info("wrote %s to %s, weights SHA-256 %s", card.id, arguments.output, card.weights_sha256)
    return 0


def _export_onnx(arguments: argparse.Namespace) -> int:
    from .onnx_export import export_checkpoint

    if arguments.weights or arguments.metrics:
        raise UsageError("--weights and --metrics make a bundle; with --format onnx give a checkpoint's ID or folder.")
    report = export_checkpoint(arguments.source, arguments.output, attention_choice(arguments.attention or "all"))
    logger.info("wrote %s with the outputs %s", report.path, ", ".join(report.outputs))
    logger.info(
        "differs from PyTorch by %.1e of the largest value (median of pictures; at most %.1e)",
        report.difference,
        report.largest_difference,
    )
    logger.info(
        "a picture on this CPU: %.0f ms in PyTorch, %.0f ms in ONNX Runtime (%.2f times as fast)",
        1000 * report.torch_seconds,
        1000 * report.onnxruntime_seconds,
        report.torch_seconds / report.onnxruntime_seconds,
    )
    return 0


def _complexity(arguments: argparse.Namespace) -> int:
    from MedSegAttentionLib.networks import NETWORKS

    from .zoo import complexity_table

    if arguments.kv_savings:
        from .key_value_savings import savings_table

        logger.info(savings_table())
        return 0
    if unknown := set(arguments.network) - {*NETWORKS}:
        raise UsageError(f"network {sorted(unknown)} is not known; expected some of {', '.join(NETWORKS)}.")
    logger.info(complexity_table(arguments.network, arguments.size))
    return 0


def _benchmark(arguments: argparse.Namespace) -> int:
    if (arguments.image is None) != (arguments.checkpoint is None):
        raise UsageError("--image and --checkpoint belong together; expected both or neither.")
    size, rounds = arguments.size, {"rounds": arguments.rounds} if arguments.rounds else {}
    if arguments.what == "scan":
        from .mechanisms import scan_table

        logger.info(scan_table(size=size, **rounds))
    elif arguments.what == "attention":
        from .mechanisms import attention_table

        logger.info(attention_table(**rounds))
    elif arguments.what == "zoo":
        from .zoo import page

        text = page(size, **rounds)
        if arguments.output:
            arguments.output.write_text(text, encoding="utf-8")
        logger.info(text)
    else:
        from .benchmark import benchmark_table, run_table

        logger.info(benchmark_table(size, device=arguments.device, **rounds))
        if arguments.image:
            logger.info("\n%s", run_table(arguments.image, arguments.checkpoint, arguments.device))
    return 0


def _ablate(arguments: argparse.Namespace) -> int:
    from .ablations.definitions import ABLATIONS
    from .ablations.report import write_page
    from .results import ABLATION_RESULTS

    names = arguments.name or list(ABLATIONS)
    if unknown := sorted(set(names) - set(ABLATIONS)):
        raise UsageError(f"ablations {unknown} are not known; expected some of {', '.join(ABLATIONS)}.")
    if (arguments.data is None) != (arguments.output is None):
        raise UsageError("--data and --output belong together; expected both, or neither to write the pages alone.")
    results = arguments.results or (arguments.output if arguments.steps else None) or ABLATION_RESULTS
    for name in names:
        if arguments.data:
            _run_ablation(name, results, arguments)
        page = write_page(name, ABLATIONS[name], results, arguments.steps or ABLATIONS[name].steps)
        logger.info("wrote %s", page)
    return 0


def _run_ablation(name: str, results: Path, arguments: argparse.Namespace) -> None:
    from .ablations.definitions import ABLATIONS
    from .ablations.running import run_ablation
    from .cases import read_folder
    from .loop import Options

    data = read_folder(arguments.data, "train" if arguments.splits else None, arguments.splits)
    options = Options(arguments.device, arguments.threads, arguments.bf16, arguments.steps)
    run_ablation(name, ABLATIONS[name], data, arguments.output, results, options, arguments.seeds, arguments.rows)


def _results(_arguments: argparse.Namespace) -> int:
    from .results import README, write_results

    write_results()
    logger.info("wrote the table of results in %s", README)
    return 0
