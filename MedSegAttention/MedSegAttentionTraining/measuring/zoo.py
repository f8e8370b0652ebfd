"""All networks and their variants in one table: size, cost, what was published and what ours have, time, memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from MedSegAttentionLib.networks import build_network

from .complexity import Complexity, measure_complexity
from .timing import peak_since, ratio, seconds_in_turn

SIZE, ROUNDS = 256, 3
SETRS = ("setr", "setr-conv", "setr-cvt")


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes:
        name: of :func:`~MedSegAttentionLib.networks.known.network_names`.
        options: of the network.
        channels: in and out; those of the published figure.
        published: what the paper prints.
        ours: the same figure of ours, with the keys of :func:`_figures`.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    channels: tuple[int, int] = (1, 1)
    published: str = ""
    ours: str = ""

    @property
    def title(self) -> str:
        """Name and options; a star where ``width`` makes it smaller than its default."""
        options = ", ".join(f"{key} {_text(value)}" for key, value in self.options.items())
        return f"{self.name}{'*' if self.small else ''}{f' ({options})' if options else ''}"

    @property
    def small(self) -> bool:
        """Whether ``width`` is less than the default."""
        narrow = {"klo-net": 32, "km-unet": 16, "vm-unet": 96, "vmkla-unet": 96}
        narrow |= {"setr": 384, "setr-conv": 384, "setr-cvt": 64}
        return self.options.get("width", 10**6) < narrow.get(self.name, 0)

    def build(self) -> nn.Module:
        """The network, ready for inference."""
        in_channels, out_channels = self.channels
        return build_network(self.name, in_channels=in_channels, out_channels=out_channels, **self.options).eval()


RGB, ORGANS = (3, 1), (1, 3)
SAVED = ("about 10 % less than QKV", "{saved:+.1f} % parameters, {saved_mac:+.1f} % G MAC")
CASES = (
    Case("unet", published="7.85 M", ours="{parameters:.3f} M"),
    Case("unet", {"width": 64, "halved": True}),
    Case("csp-unet", published="6.29 M", ours="{parameters:.3f} M"),
    Case("knn-unet"),
    Case("klo-net", published="13.426 G by thop", ours="{thop:.3f} G"),
    Case("klo-net", {"width": 16}),
    Case("klo-lite", {}, RGB),
    Case("klo-lite", {"deep": False}, RGB),
    Case("klo-lite"),
    Case("km-unet", {}, RGB, "7.35 M, 17.66 G by thop for 8 pictures", "{parameters:.3f} M, {thop_of_8:.2f} G"),
    Case("km-unet", {"scan": "spiral"}, RGB),
    Case("km-unet", {"decoder_kan": True}, RGB),
    Case("km-unet", {"dynamic_tau": True}, RGB),
    Case("km-unet", {"width": 8}, RGB),
    Case("vm-unet", {}, RGB, "27.43 M, 4.11 G by thop", "{parameters:.3f} M, {thop:.3f} G"),
    Case("vm-unet", {"depths": (2, 2, 9, 2)}, RGB),
    Case("vm-unet", {"width": 16}, RGB),
    Case("vmkla-unet", {}, RGB, "no figure obtainable"),
    Case("vmkla-unet", {"depths": (2, 2, 2, 2)}, RGB),
    *(Case("vmkla-unet", {"variant": variant}, RGB) for variant in ("mkla", "csa", "mlla", "mlcsa")),
    Case("vmkla-unet", {"width": 16}, RGB),
    *(
        Case(name, options | {"attention": kind}, ORGANS, *(SAVED if kind != "qkv" else ()))
        for name in SETRS
        for options in ({}, {"kv_stride": 2} if name == "setr-cvt" else {"width": 768})
        for kind in (("qkv", "kv") if options else ("qkv", "kv", "kv-pos"))
    ),
    Case("setr", {"attention": "kv", "dynamic_tau": True}, ORGANS),
    Case("setr", {"width": 128, "attention": "kv"}, ORGANS),
    Case("setr-conv", {"width": 128, "attention": "kv"}, ORGANS),
    Case("setr-cvt", {"width": 24, "attention": "kv"}, ORGANS),
)


@dataclass(frozen=True)
class Measured:
    """A row's count and, where asked for, its time over that of the U-Net and its peak memory in MB."""

    complexity: Complexity
    time: float = float("nan")
    memory: float = float("nan")


def count(case: Case, size: int = SIZE) -> Complexity:
    """Parameters and MACs of ``case`` on one picture of ``size`` x ``size``."""
    return measure_complexity(case.name, case.build(), (1, case.channels[0], size, size))


def measure(number: int, size: int, rounds: int) -> Measured:
    """Row ``number``: median time over the U-Net's, in turn; in a new process, peak memory of weights and a pass."""
    case, peak = CASES[number], peak_since("cpu")
    network, picture = case.build(), torch.zeros(1, case.channels[0], size, size)
    with torch.inference_mode():
        network(picture)
        memory = peak()
        unet, grey = CASES[0].build(), picture[:, :1]
        times = seconds_in_turn({"this": lambda: network(picture), "unet": lambda: unet(grey)}, rounds)
    return Measured(count(case, size), ratio(times["this"], times["unet"]), memory)


def measure_all(size: int = SIZE, rounds: int = ROUNDS) -> list[Measured]:
    """Every row in a process of its own, so that nothing else is in its memory."""
    measured = []
    for number in range(len(CASES)):
        code = (
            f"import sys; sys.path[:0] = {sys.path!r}; import json, torch; from dataclasses import asdict; "
            "from MedSegAttentionTraining.measuring.zoo import measure; "
            f"torch.set_num_threads({torch.get_num_threads()}); "
            f"print(json.dumps(asdict(measure({number}, {size}, {rounds}))))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        measured.append(Measured(Complexity(**found.pop("complexity")), **found))
    return measured


def page(size: int = SIZE, rounds: int = ROUNDS) -> str:
    """The page of all networks, Markdown."""
    measured = measure_all(size, rounds)
    return rf"""# The networks

Written by `python -m MedSegAttentionLib benchmark zoo --rounds {rounds} --output Resources/docs/networks.md`:
threads: {torch.get_num_threads()}, torch {torch.__version__}, one picture of {size} x {size},
median of {rounds} rounds, {_load()}.
The same without time and memory: `complexity`. The mechanisms alone: `benchmark scan`, `benchmark attention`.
What KV attention saves, by what is counted: `complexity --kv-savings`.

* **\*** a small variant by `width`; all others have the paper's widths, SETR's (which the paper does not print) ours.
* **G MAC** are 10^9 multiply-accumulates by three rules that must not be mixed: all products of convolutions, linear
  layers and attention; the same without attention products; and the figure of the `thop` counter, which papers print
  as "GFLOPs" (modules alone, and 4 for each element of a norm, 11 of an upsampling). **Scan read-outs**, the products
  that read the states of a selective scan, are in none of them; they are about 2 in 9 of the scan's operations.
* **Gate**: parameters of the tau gate, included in the parameters.
* **Paper, ours**: the figure printed, and the same figure of the network here. Nothing released explains KM-UNet's
  7.35 M; its released code has 7.013 M, of which 1.274 M are never used.
* **Time / U-Net**: in turn with the first row, the networks as they are built; as the extension runs them (`benchmark`)
  the ratios differ. **Peak memory**: weights and one pass, in a process of their own.

{table(CASES, measured, timed=True)}
"""


def cases_of(names: Sequence[str]) -> list[Case]:
    """The rows of the networks ``names``, all without any; one row as it is built for a network of another package."""
    added = [Case(name) for name in dict.fromkeys(names) if name not in {case.name for case in CASES}]
    return [case for case in CASES if not names or case.name in names] + added


def complexity_table(names: Sequence[str], size: int = SIZE) -> str:
    """The rows of the networks ``names`` (all without any) without time and memory, Markdown."""
    cases = cases_of(names)
    head = f"One picture of {size} x {size}; G MAC = 10^9 multiply-accumulates; * = a small variant by width."
    return f"{head}\n\n{table(cases, [Measured(count(case, size)) for case in cases], timed=False)}"


def table(cases: Sequence[Case], measured: Sequence[Measured], *, timed: bool) -> str:
    """A Markdown table with a row for each of ``cases``; with ``timed`` also time and memory."""
    heads = ["network", "in, out", "parameters", "gate", "G MAC, all products", "without attention", "by thop"]
    heads += ["scan read-outs, G", "paper", "ours", *(["time / U-Net", "peak memory, MB"] if timed else [])]
    rows = [heads, ["---"] * len(heads)]
    with_query: dict[str, Complexity] = {}
    for case, found in zip(cases, measured, strict=True):
        counted = found.complexity
        family = f"{case.name} { ({**case.options, 'attention': ''}) }"
        if case.options.get("attention") == "qkv":
            with_query[family] = counted
        ours = case.ours.format_map(_figures(counted, with_query.get(family, counted)))
        rows.append(
            [
                case.title,
                f"{case.channels[0]}, {case.channels[1]}",
                f"{counted.parameters:,}",
                f"{counted.gate_parameters:,}" if counted.gate_parameters else "",
                *(f"{value / 1e9:.3f}" for value in (counted.mac, counted.mac_without_attention, counted.mac_thop)),
                f"{counted.scan_readout / 1e9:.3f}" if counted.scan_readout else "",
                case.published,
                ours,
                *([f"{found.time:.2f}", f"{found.memory:.0f}"] if timed else []),
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _figures(counted: Complexity, with_query: Complexity) -> dict[str, float]:
    """Millions and thousand millions that a published figure is compared with; savings in percent."""
    return {
        "parameters": counted.parameters / 1e6,
        "thop": counted.mac_thop / 1e9,
        "thop_of_8": 8 * counted.mac_thop / 1e9,
        "saved": 100 * (counted.parameters / with_query.parameters - 1),
        "saved_mac": 100 * (counted.mac / with_query.mac - 1),
    }


def _load() -> str:
    """How busy the machine was, where it says so."""
    if not hasattr(os, "getloadavg"):
        return "load unknown"
    return f"load average {os.getloadavg()[2]:.1f} on {os.cpu_count()} cores (as many or more: times are rough)"


def _text(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
