"""The selective scan against a literal loop over positions: values, gradients, precision and speed."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor

from MedSegAttentionLib.networks.layers import selective_scan as module
from MedSegAttentionLib.networks.layers.selective_scan import selective_scan

torch.set_num_threads(1)


def literal_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor | None = None) -> Tensor:
    """The recurrence word for word, one position after the other."""
    state = torch.zeros(x.shape[1], *a.shape, dtype=x.dtype)
    outputs = []
    for t in range(len(x)):
        step, value = dt[t, :, :, None], x[t, :, :, None]
        state = torch.exp(step * a) * state + step * b[t, ..., None] * value
        outputs.append((c[t, ..., None] * state).sum(dim=2))
    y = torch.stack(outputs)
    return y if d is None else y + d * x


def inputs(batch=2, scans=3, length=50, channels=4, states=5, dtype=torch.float32, seed=0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    a = -torch.arange(1, states + 1, dtype=dtype)[None, :, None] * draw(scans, 1, channels).exp()
    dt = torch.nn.functional.softplus(draw(length, batch, scans, channels) - 2)
    write, read = draw(length, batch, scans, states), draw(length, batch, scans, states)
    return [draw(length, batch, scans, channels), dt, a.contiguous(), write, read, draw(scans, channels)]


@pytest.fixture(params=[2**20, 3 * 4 * 5 * 2 * 20], ids=["one-block", "several-blocks"])
def _block_size(request, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_STATES", {"cpu": request.param})


@pytest.mark.parametrize("length", [1, 2, 3, 15, 16, 17, 50, 97])
@pytest.mark.usefixtures("_block_size")
def test_the_scan_equals_the_loop(length):
    values = inputs(length=length)
    torch.testing.assert_close(selective_scan(*values), literal_scan(*values), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3, 16, 50])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_scan_equals_the_loop_for_any_batch(length):
    traced = torch.jit.trace(selective_scan, tuple(inputs(batch=1, length=length, seed=1)))
    for batch in (1, 2, 5):
        values = inputs(batch=batch, length=length)
        torch.testing.assert_close(traced(*values), literal_scan(*values), atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("_block_size")
def test_the_gradients_equal_those_of_the_loop():
    values = [value.requires_grad_() for value in inputs(length=50, dtype=torch.float64)]
    weights = torch.randn(50, 2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    found = torch.autograd.grad((selective_scan(*values) * weights).sum(), values)
    wanted = torch.autograd.grad((literal_scan(*values) * weights).sum(), values)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


def test_gradcheck(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_STATES", {"cpu": 1})
    values = [value.requires_grad_() for value in inputs(1, 2, 19, 2, 2, torch.float64)]
    assert torch.autograd.gradcheck(selective_scan, values)


def test_strong_decay_over_a_long_sequence_stays_exact():
    """A closed form through exp(-sum dt A) would overflow here: the exponents sum to several thousand."""
    values = inputs(1, 1, 2000, 2, 4, seed=3)
    values[1] = values[1] * 5
    found = selective_scan(*values)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, literal_scan(*values), atol=1e-5, rtol=1e-5)


def test_autocast_changes_nothing():
    values = [value.requires_grad_() for value in inputs()]
    plain = selective_scan(*values)
    with torch.autocast("cpu", torch.bfloat16):
        inside = selective_scan(*values)
        gradients = torch.autograd.grad(inside.square().sum(), values)
    assert torch.equal(plain, inside)
    for one, other in zip(gradients, torch.autograd.grad(plain.square().sum(), values), strict=True):
        assert torch.equal(one, other)


def test_half_precision_inputs_are_scanned_in_float32():
    values = [value.bfloat16() for value in inputs()]
    found = selective_scan(*values)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, literal_scan(*(v.float() for v in values)), atol=1e-5, rtol=1e-5)


def test_only_one_state_of_each_block_is_kept_for_the_backward_pass():
    values = [value.requires_grad_() for value in inputs(1, 4, 2048, 32, 16)]
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda value: kept.append(value.numel()) or value, lambda v: v):
        selective_scan(*values)
    assert max(kept) == 4 * 2048 * 32  # an input; every state would be 16 times that


@pytest.mark.parametrize("name", ["dt", "a", "b", "c"])
def test_a_wrong_shape_is_named(name):
    values = dict(zip(("x", "dt", "a", "b", "c"), inputs(), strict=False))
    values[name] = values[name][:-1]
    with pytest.raises(ValueError, match=rf"{name} must have the shape"):
        selective_scan(**values)


def test_the_scan_is_much_faster_than_the_loop():
    """Five to seven times on one quiet core; a busy machine may disturb a timing, so less still passes here."""
    values = inputs(1, 4, 4096, 64, 16)
    with torch.no_grad():
        selective_scan(*values)
        fast = min(timed(selective_scan, values) for _ in range(3))
        slow = timed(literal_scan, values)
    assert slow / fast > 2.5


def timed(function, values) -> float:
    start = time.perf_counter()
    function(*values)
    return time.perf_counter() - start
