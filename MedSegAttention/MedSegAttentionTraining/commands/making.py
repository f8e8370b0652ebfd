"""The commands that make a checkpoint: prepare, train, export."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from MedSegAttentionLib.commands.cohort import add_cluster_options, cluster_choice
from MedSegAttentionLib.commands.segment import attention_choice
from MedSegAttentionLib.data.errors import InputError, UsageError

logger = logging.getLogger(__name__)


def add_making(commands: argparse._SubParsersAction) -> None:
    """Add prepare, train and export."""
    _add_prepare(commands)
    _add_train(commands)
    _add_export(commands)


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
    add_cluster_options(prepare)
    prepare.set_defaults(run=_prepare)


def _prepare(arguments: argparse.Namespace) -> int:
    from ..data.preparation.sources import describe
    from ..data.preparation.writing import prepare

    if arguments.list:
        logger.info(describe())
        return 0
    if arguments.out is None:
        raise UsageError("prepare needs DATASET SOURCE OUT; expected all three, or --list.")
    draw = (arguments.seed, arguments.test_share)
    counts = prepare(arguments.dataset, arguments.source, arguments.out, *draw, cluster_choice(arguments))
    logger.info("%s: %s", arguments.out, ", ".join(f"{count} {part}" for part, count in counts.items()))
    return 0


def _add_train(commands: argparse._SubParsersAction) -> None:
    train = commands.add_parser("train", help="train a network; goes on where an earlier run stopped")
    train.add_argument("config", type=Path, help="JSON file, see MedSegAttentionTraining/configs")
    train.add_argument("--data", type=Path, nargs="+", required=True, metavar="FOLDER", help="images/, labels/ ...")
    train.add_argument("--splits", type=Path, metavar="CSV", help="use its cases of split train alone")
    train.add_argument("--output", type=Path, required=True, metavar="DIR")
    train.add_argument(
        "--from",
        dest="start",
        metavar="ID|FOLDER",
        help="start from the weights of this checkpoint, whose network the configuration names too",
    )
    train.add_argument(
        "--freeze-encoder",
        type=int,
        metavar="EPOCHS",
        help="leave the encoder as it is in the first epochs, instead of the configuration's frozen_epochs",
    )
    train.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu")
    train.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    train.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    train.add_argument("--compile", action="store_true", help="network and loss by torch.compile (needs a compiler)")
    train.add_argument("--max-steps", type=int, metavar="N", help="stop after N steps (for a trial)")
    train.add_argument(
        "--force",
        action="store_true",
        help="go on in a folder whose run began with another configuration or other data",
    )
    train.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> int:
    from MedSegAttentionLib.networks.known import UnknownNetworkError, require_network

    from ..data.cases import read_folder
    from ..fitting.config import read_config
    from ..fitting.loop import Options, Trainer
    from ..fitting.processes import training_processes
    from ..fitting.starting import start_from

    config = read_config(arguments.config, arguments.freeze_encoder)
    try:
        require_network(config.network["name"])
    except UnknownNetworkError as error:
        raise InputError(f"'{arguments.config}' cannot be trained here: {error}") from error
    start = start_from(arguments.start, config) if arguments.start else None
    split = "train" if arguments.splits else None
    data = [read_folder(folder, split, arguments.splits) for folder in arguments.data]
    with training_processes(arguments.device) as (processes, device):
        options = Options(
            str(device),
            arguments.threads,
            arguments.bf16,
            arguments.compile,
            arguments.max_steps,
            processes,
            go_on_anyway=arguments.force,
        )
        best = Trainer(config, data, arguments.output, options, start=start).run()
        if processes.is_first:
            logger.info("best weights: %s", best)
    return 0


def _add_export(commands: argparse._SubParsersAction) -> None:
    export = commands.add_parser(
        "export", help="write a trained network as a checkpoint, or a checkpoint for other programs"
    )
    export.add_argument(
        "source",
        metavar="CONFIG|CHECKPOINT",
        help="bundle: training configuration, or ID or folder to write its files for MONAI anew; else ID or folder",
    )
    export.add_argument(
        "--format",
        choices=("bundle", "monai-label", "onnx"),
        default="bundle",
        help="MONAI bundle (default), one with TorchScript for MONAI Label and MONAI Deploy, or ONNX",
    )
    export.add_argument("--output", type=Path, required=True, metavar="DIR|FILE", help="folder, or file.onnx")
    export.add_argument(
        "--weights", type=Path, metavar="FILE", help="bundle: best.safetensors of the run, with run.json"
    )
    export.add_argument(
        "--card",
        type=Path,
        metavar="JSON",
        help="bundle: card source, what only a person can say of it (Resources/docs/own.md); without it that of the "
        "configuration's name in MedSegAttentionTraining/cards",
    )
    export.add_argument(
        "--metrics", type=Path, nargs="*", default=[], metavar="JSON", help="bundle: files of evaluate and reliability"
    )
    export.add_argument("--bits", type=int, choices=(16, 8), default=16, help="bundle: of a stored weight (16)")
    export.add_argument("--attention", metavar="NAME,...|none", help="onnx: attention maps among the outputs (all)")
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    if arguments.format == "onnx":
        return _export_onnx(arguments)
    if arguments.format == "monai-label":
        return _export_monai_label(arguments)
    from ..fitting.config import read_config
    from ..fitting.record import record_beside
    from ..publishing.bundle import Training, write_bundle

    if arguments.weights is None and not Path(arguments.source).is_file():
        return _export_again(arguments)
    if arguments.weights is None or arguments.attention is not None:
        raise UsageError("a bundle is made of CONFIG and --weights FILE; --attention goes with --format onnx.")
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.metrics]
    if not arguments.weights.is_file():
        raise InputError(f"weights '{arguments.weights}' do not exist; expected best.safetensors of a training run.")
    record = record_beside(arguments.weights)
    if record is None:
        logger.warning("no run.json beside '%s': the card says that the origin is not recorded", arguments.weights)
    training = Training(read_config(Path(arguments.source)), arguments.weights, reports, record)
    card = write_bundle(training, arguments.output, arguments.card, arguments.bits)
    logger.info("wrote %s to %s, weights SHA-256 %s", card.id, arguments.output, card.weights_sha256)
    return 0


def _export_again(arguments: argparse.Namespace) -> int:
    """A checkpoint with the files for MONAI as this version writes them."""
    from MedSegAttentionLib.checkpoints.catalogue import find_checkpoint

    from ..publishing.monai_files import write_monai_files

    if arguments.metrics or arguments.card or arguments.attention is not None:
        raise UsageError("--metrics and --card go with CONFIG and --weights FILE, --attention with --format onnx.")
    logger.info("wrote %s", write_monai_files(find_checkpoint(arguments.source), arguments.output))
    return 0


def _export_monai_label(arguments: argparse.Namespace) -> int:
    from ..publishing.torchscript_export import export_monai_label

    if arguments.weights or arguments.metrics or arguments.card or arguments.attention is not None:
        raise UsageError("--format monai-label takes a checkpoint's ID or folder and --output DIR alone.")
    report = export_monai_label(arguments.source, arguments.output)
    logger.info("wrote %s; differs from PyTorch by %.1e of the largest logit", report.path, report.difference)
    return 0


def _export_onnx(arguments: argparse.Namespace) -> int:
    from ..publishing.onnx_export import export_checkpoint

    if arguments.weights or arguments.metrics or arguments.card:
        raise UsageError(
            "--weights, --metrics and --card make a bundle; with --format onnx give a checkpoint's ID or folder."
        )
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
