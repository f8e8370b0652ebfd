"""What the networks cost, and the tables and benchmarks that say so."""

from __future__ import annotations

import pytest
import torch

from MedSegAttentionLib.__main__ import main
from MedSegAttentionLib.networks import build_network
from MedSegAttentionLib.networks.known import built_in_networks
from MedSegAttentionLib.networks.layers.dynamic_knn_attention import DynamicKNNAttention
from MedSegAttentionLib.networks.layers.selective_scan import selective_scan
from MedSegAttentionTraining.measuring import mechanisms, zoo
from MedSegAttentionTraining.measuring.complexity import Complexity, measure_complexity

torch.set_num_threads(1)


def measured(name: str, size: int = 256, **config) -> Complexity:
    network = build_network(name, **{"in_channels": 3, "out_channels": 1, **config})
    return measure_complexity(name, network, (1, 3, size, size))


@pytest.mark.parametrize(
    ("name", "mac", "thop"),
    [
        ("km-unet", 2.772, 2.179),  # thop itself says 2.183: it also sees modules of pooling and softmax
        ("vm-unet", 5.288, 4.112),
    ],
)
def test_costs_of_scan_networks_are_the_published_ones(name, mac, thop):
    found = measured(name)
    assert found.mac / 1e9 == pytest.approx(mac, abs=6e-4)
    assert found.mac_thop / 1e9 == pytest.approx(thop, abs=6e-4)


def test_scans_are_counted_apart_and_are_no_attention():
    """VM-UNet has no attention; four directions, 2C inner channels and 16 states at each position of each block."""
    found = measured("vm-unet", 64, width=16, depths=(1, 1, 1, 1), decoder_depths=(1, 1, 1, 1))
    assert found.mac == found.mac_without_attention
    assert found.scan_readout == 2 * sum(4 * 16 * (2 * 16 * 2**stage) * (16 // 2**stage) ** 2 for stage in range(4))


def test_the_pieces_of_linear_attention_are_counted_as_attention():
    """phi(K)^T V and Q times it, each N C d; two of N C more for the denominator."""
    plain, with_attention = (
        measured("vmkla-unet", 64, width=8, depths=(1, 1, 1, 1), decoder_depths=(1, 1, 1, 1), variant=variant)
        for variant in ("csa", "mlcsa")
    )
    assert plain.mac == plain.mac_without_attention
    head_widths = {8: 8, 16: 16, 32: 32, 64: 32}
    wanted = sum((16 // 2**n) ** 2 * c * (2 * d + 1) for n, (c, d) in enumerate(head_widths.items()))
    assert with_attention.mac - with_attention.mac_without_attention == wanted


def test_every_network_is_in_the_table_and_small_ones_have_a_star():
    assert {case.name for case in zoo.CASES} == set(built_in_networks())
    titles = [case.title for case in zoo.CASES]
    rows = {(case.title, case.channels) for case in zoo.CASES}
    assert len(rows) == len(titles)
    assert "klo-net* (width 16)" in titles
    assert "setr (width 768, attention kv)" in titles
    assert "vm-unet (depths 2-2-9-2)" in titles


def test_the_table_says_what_was_published_and_what_ours_have(monkeypatch):
    kept = ("klo-net", "setr (attention qkv)", "setr (attention kv)")
    monkeypatch.setattr(zoo, "CASES", [case for case in zoo.CASES if case.title in kept])
    lines = zoo.complexity_table([]).splitlines()
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines[4:]}
    assert list(rows) == list(kept)
    assert rows["klo-net"][:2] == ["1, 1", "7,685,123"]
    assert rows["klo-net"][3:] == ["13.829", "13.225", "13.424", "", "13.426 G by thop", "13.424 G"]
    assert rows["setr (attention kv)"][-1] == "-7.3 % parameters, -2.4 % G MAC"


def test_a_row_is_measured_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setattr(zoo, "CASES", zoo.CASES[:1])
    (row,) = zoo.measure_all(size=64, rounds=1)
    assert row.complexity.parameters == 7_849_025
    assert 0.2 < row.time < 5
    assert row.memory > 4 * 7.849
    assert "| time / U-Net | peak memory, MB |" in zoo.table(zoo.CASES, [row], timed=True)


@pytest.mark.parametrize("loop", mechanisms.LOOPS.values())
def test_the_loops_of_the_benchmark_are_the_scan(loop):
    values = mechanisms._scan_inputs(40)
    torch.testing.assert_close(loop(*values), selective_scan(*values), atol=1e-5, rtol=1e-5)


def test_the_dense_attention_of_the_benchmark_is_ours_without_a_limit():
    layer = DynamicKNNAttention(16, heads=2, k_min=30, k_max=30)
    query, key, value = torch.randn(3, 1, 2, 30, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = layer.mix(query, key, value, torch.ones(1, 1, 30))
    torch.testing.assert_close(mechanisms.dense_attention(query, key, value), ours, atol=1e-5, rtol=1e-5)


def test_the_tables_of_the_mechanisms(monkeypatch):
    text = mechanisms.scan_table(rounds=1, size=32, length=64)
    assert "| step loop | " in text
    assert "KM-UNet at 32 x 32: " in text
    rows = mechanisms.attention_table(rounds=1, positions=(64,)).splitlines()
    assert rows[-1].startswith("| 64 | ")


def test_the_commands(capsys):
    assert main(["complexity", "unet", "--size", "64"]) == 0
    assert "| unet (width 64, halved True) | 1, 1 | 17,261,825 |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "nosuch"])
    assert main(["benchmark", "attention", "--size", "64", "--device", "cpu"]) == 2
    assert "benchmark attention does not take --size, --device" in capsys.readouterr().err
