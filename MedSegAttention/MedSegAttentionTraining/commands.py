"""The commands of training and measuring, added to ``python -m MedSegAttentionLib`` when this folder is there."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from MedSegAttentionLib.commands.segment import attention_choice
from MedSegAttentionLib.data.errors import UsageError
from MedSegAttentionLib.inference.settings import DEVICES

logger = logging.getLogger(__name__)


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add train, evaluate, export, complexity and benchmark."""
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
    evaluate.add_argument("--split", choices=("train", "test"))
    evaluate.add_argument("--splits", type=Path, metavar="CSV")
    evaluate.add_argument("--device", choices=DEVICES, default="auto")
    evaluate.add_argument("--json", type=Path, metavar="FILE")
    evaluate.add_argument("--csv", type=Path, metavar="FILE")
    evaluate.set_defaults(run=_evaluate)

    _add_export(commands.add_parser("export", help="write a trained network as a checkpoint, or a checkpoint as ONNX"))

    complexity = commands.add_parser("complexity", help="parameters and multiply-accumulates of the networks")
    complexity.add_argument("network", nargs="*", metavar="NETWORK", help="names; none means all")
    complexity.add_argument("--size", type=int, default=256, metavar="PIXELS")
    complexity.add_argument("--kv-savings", action="store_true", help="what KV attention saves in the SETR family")
    complexity.set_defaults(run=_complexity)

    benchmark = commands.add_parser("benchmark", help="time and memory of the networks against the U-Net")
    benchmark.add_argument("--size", type=int, default=256, metavar="PIXELS")
    benchmark.add_argument("--rounds", type=int, default=15, metavar="N")
    benchmark.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    benchmark.add_argument("--image", type=Path, metavar="FILE", help="also time a whole run on this image ...")
    benchmark.add_argument("--checkpoint", metavar="ID|FOLDER", help="... with this checkpoint")
    benchmark.set_defaults(run=_benchmark)


def _add_export(export: argparse.ArgumentParser) -> None:
    export.add_argument(
        "source", metavar="CONFIG|CHECKPOINT", help="bundle: training configuration; onnx: ID or folder"
    )
    export.add_argument("--format", choices=("bundle", "onnx"), default="bundle", help="MONAI bundle (default) or ONNX")
    export.add_argument("--output", type=Path, required=True, metavar="DIR|FILE", help="folder, or file.onnx")
    export.add_argument("--weights", type=Path, metavar="FILE", help="bundle: best.safetensors of the run")
    export.add_argument("--metrics", type=Path, nargs="*", default=[], metavar="JSON", help="bundle: files of evaluate")
    export.add_argument("--attention", metavar="NAME,...|none", help="onnx: attention maps among the outputs (all)")
    export.set_defaults(run=_export)


def _train(arguments: argparse.Namespace) -> int:
    from .cases import read_folder
    from .config import read_config
    from .loop import Options, Trainer

    config = read_config(arguments.config)
    split = "train" if arguments.splits else None
    data = [read_folder(folder, split, arguments.splits) for folder in arguments.data]
    options = Options(arguments.device, arguments.threads, arguments.bf16, arguments.max_steps)
    logger.info("best weights: %s", Trainer(config, data, arguments.output, options).run())
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from .evaluation import evaluate

    report = evaluate(
        arguments.checkpoint,
        arguments.data,
        arguments.split,
        arguments.splits,
        device=arguments.device,
        json_path=arguments.json,
        csv_path=arguments.csv,
    )
    logger.info("mean over %d cases: %s", len(report["cases"]), json.dumps(report["mean"]))
    for name, figures in report["per_class"].items():
        logger.info("%s: %s", name, json.dumps(figures))
    return 0


def _export(arguments: argparse.Namespace) -> int:
    if arguments.format == "onnx":
        return _export_onnx(arguments)
    from .bundle import Training, write_bundle
    from .config import read_config

    if arguments.weights is None or arguments.attention is not None:
        raise UsageError("a bundle is made of CONFIG and --weights FILE; --attention goes with --format onnx.")
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.metrics]
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

    from .complexity import complexity_table

    if arguments.kv_savings:
        from .key_value_savings import savings_table

        logger.info(savings_table())
        return 0
    if unknown := set(arguments.network) - {*NETWORKS, "unet-vanilla"}:
        raise UsageError(
            f"network {sorted(unknown)} is not known; expected some of {', '.join(NETWORKS)}, unet-vanilla."
        )
    logger.info(complexity_table(arguments.network or [*NETWORKS, "unet-vanilla"], arguments.size))
    return 0


def _benchmark(arguments: argparse.Namespace) -> int:
    from .benchmark import benchmark_table, run_table

    if (arguments.image is None) != (arguments.checkpoint is None):
        raise UsageError("--image and --checkpoint belong together; expected both or neither.")
    logger.info(benchmark_table(arguments.size, arguments.rounds, arguments.device))
    if arguments.image:
        logger.info("\n%s", run_table(arguments.image, arguments.checkpoint, arguments.device))
    return 0
