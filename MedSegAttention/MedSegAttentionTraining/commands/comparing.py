"""The commands that compare networks: complexity, benchmark, ablate."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from MedSegAttentionLib.commands.cohort import add_cluster_options, cluster_choice
from MedSegAttentionLib.data.errors import UsageError

logger = logging.getLogger(__name__)
BENCHMARKS = ("networks", "scan", "attention", "zoo", "cohort", "reading", "busy")


def add_comparing(commands: argparse._SubParsersAction) -> None:
    """Add complexity, benchmark and ablate."""
    _add_complexity(commands)
    _add_benchmark(commands)
    _add_ablate(commands)


def _add_complexity(commands: argparse._SubParsersAction) -> None:
    complexity = commands.add_parser("complexity", help="parameters and multiply-accumulates of the networks")
    complexity.add_argument("network", nargs="*", metavar="NETWORK", help="names; none means all")
    complexity.add_argument("--size", type=int, default=256, metavar="PIXELS")
    complexity.add_argument("--kv-savings", action="store_true", help="what KV attention saves in the SETR family")
    complexity.set_defaults(run=_complexity)


def _complexity(arguments: argparse.Namespace) -> int:
    from MedSegAttentionLib.networks.known import network_names

    from ..measuring.zoo import complexity_table

    if arguments.kv_savings:
        from ..measuring.key_value_savings import savings_table

        logger.info(savings_table())
        return 0
    if unknown := set(arguments.network) - {*network_names()}:
        raise UsageError(f"network {sorted(unknown)} is not known; expected some of {', '.join(network_names())}.")
    logger.info(complexity_table(arguments.network, arguments.size))
    return 0


def _add_benchmark(commands: argparse._SubParsersAction) -> None:
    benchmark = commands.add_parser("benchmark", help="time and memory: ratios of one run on one machine")
    benchmark.add_argument(
        "what",
        nargs="?",
        choices=BENCHMARKS,
        default="networks",
        help="networks: KLO-Net's against the U-Net (default); scan, attention: against their plain forms; "
        "zoo: all networks and variants in one page; cohort: what a Ray cluster on this machine costs and gives; "
        "reading: a made CT in each format, and what the checks that a file is whole cost; "
        "busy: a run beside other processes that compute",
    )
    benchmark.add_argument("--size", type=int, metavar="PIXELS", help="256, reading 512; not for attention")
    benchmark.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        help="how often all are timed (15; scan, zoo, busy 3; attention, reading 5; cohort 8)",
    )
    benchmark.add_argument("--device", choices=("cpu", "cuda"), help="networks: cpu (default) or cuda")
    benchmark.add_argument(
        "--image",
        type=Path,
        metavar="FILE",
        help="networks, cohort: also whole runs on this image; busy: those ...",
    )
    benchmark.add_argument("--checkpoint", metavar="ID|FOLDER", help="... with this checkpoint")
    benchmark.add_argument("--output", type=Path, metavar="FILE", help="zoo: write the page there")
    benchmark.add_argument("--cases", type=int, metavar="N", help="cohort: empty cases to hand out (10000)")
    benchmark.add_argument("--workers", type=int, metavar="N", help="cohort: how many (2)")
    benchmark.set_defaults(run=_benchmark)


def _benchmark(arguments: argparse.Namespace) -> int:
    if (arguments.image is None) != (arguments.checkpoint is None):
        raise UsageError("--image and --checkpoint belong together; expected both or neither.")
    used = {"networks": ("size", "device", "image"), "scan": ("size",), "attention": (), "zoo": ("size", "output")}
    used |= {"cohort": ("image", "cases", "workers"), "reading": ("size",), "busy": ("image",)}
    given = [
        name
        for name in ("size", "device", "image", "output", "cases", "workers")
        if getattr(arguments, name) is not None
    ]
    if unused := [f"--{name}" for name in given if name not in used[arguments.what]]:
        raise UsageError(f"benchmark {arguments.what} does not take {', '.join(unused)}; leave it out.")
    if arguments.what == "cohort":
        return _benchmark_cohort(arguments)
    if arguments.what == "busy":
        return _benchmark_busy(arguments)
    size, rounds = arguments.size or 256, {"rounds": arguments.rounds} if arguments.rounds else {}
    if arguments.what == "scan":
        from ..measuring.mechanisms import scan_table

        logger.info(scan_table(size=size, **rounds))
    elif arguments.what == "attention":
        from ..measuring.mechanisms import attention_table

        logger.info(attention_table(**rounds))
    elif arguments.what == "reading":
        from ..measuring.reading import SIDE, reading_table

        logger.info(reading_table(side=arguments.size or SIDE, **rounds))
    elif arguments.what == "zoo":
        from ..measuring.zoo import page

        text = page(size, **rounds)
        if arguments.output:
            arguments.output.write_text(text, encoding="utf-8")
        logger.info(text)
    else:
        from ..measuring.benchmark import benchmark_table, run_table

        device = arguments.device or "cpu"
        logger.info(benchmark_table(size, device=device, **rounds))
        if arguments.image:
            logger.info("\n%s", run_table(arguments.image, arguments.checkpoint, device))
    return 0


def _benchmark_cohort(arguments: argparse.Namespace) -> int:
    from ..measuring.cohort import parts_table, speed_table

    workers = arguments.workers or 2
    logger.info(parts_table(arguments.cases or 10_000, workers))
    if arguments.image:
        repeats = {"repeats": arguments.rounds} if arguments.rounds else {}
        logger.info("\n%s", speed_table(arguments.image, arguments.checkpoint, workers, **repeats))
    return 0


def _benchmark_busy(arguments: argparse.Namespace) -> int:
    from ..measuring.busy import busy_table

    if arguments.image is None:
        raise UsageError("benchmark busy needs --image FILE and --checkpoint ID; see checkpoints list.")
    rounds = {"rounds": arguments.rounds} if arguments.rounds else {}
    logger.info(busy_table(arguments.image, arguments.checkpoint, **rounds))
    return 0


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
    ablate.add_argument(
        "--results", type=Path, metavar="DIR", help="folder for tables and figures (Resources/docs/results)"
    )
    ablate.add_argument("--rows", nargs="+", metavar="LABEL", help="only these rows, named as in the table")
    ablate.add_argument("--seeds", type=int, metavar="N", help="runs of each row")
    ablate.add_argument("--steps", type=int, metavar="N", help="a trial of N steps; its tables go to --output")
    ablate.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu")
    ablate.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    ablate.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    add_cluster_options(ablate)
    ablate.set_defaults(run=_ablate)


def _ablate(arguments: argparse.Namespace) -> int:
    from ..ablations.definitions import ABLATIONS
    from ..ablations.report import write_page
    from ..publishing.results import ABLATION_RESULTS

    names = arguments.name or list(ABLATIONS)
    if unknown := sorted(set(names) - set(ABLATIONS)):
        raise UsageError(f"ablations {unknown} are not known; expected some of {', '.join(ABLATIONS)}.")
    if (arguments.data is None) != (arguments.output is None):
        raise UsageError("--data and --output belong together; expected both, or neither to write the pages alone.")
    results = arguments.results or (arguments.output if arguments.steps else None) or ABLATION_RESULTS
    for name in names:
        if arguments.data:
            _run_ablation(name, results, arguments)
        whole = ABLATIONS[name].steps
        page = write_page(name, ABLATIONS[name], results, min(arguments.steps or whole, whole))
        logger.info("wrote %s", page)
    return 0


def _run_ablation(name: str, results: Path, arguments: argparse.Namespace) -> None:
    from ..ablations.definitions import ABLATIONS
    from ..ablations.running import run_ablation
    from ..data.cases import read_folder
    from ..fitting.loop import Options

    cluster, folder, output = cluster_choice(arguments), arguments.data, arguments.output
    if cluster:  # workers have another current folder
        cluster = replace(cluster, gpus=cluster.gpus if arguments.device == "cuda" else 0)
        folder, output = folder.absolute(), output.absolute()
    data = read_folder(folder, "train" if arguments.splits else None, arguments.splits)
    options = Options(arguments.device, arguments.threads, arguments.bf16, max_steps=arguments.steps)
    which = (arguments.seeds, arguments.rows)
    run_ablation(name, ABLATIONS[name], data, output, results, options, *which, cluster)
