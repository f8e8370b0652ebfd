"""How PyTorch's threads wait for each other; to be settled before anything imports PyTorch."""

from __future__ import annotations

import os

SPINS = 1000
"""Turns of libgomp's waiting loop before a thread sleeps, about 20 microseconds; its own default is 300,000."""
POLICIES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def wait_briefly() -> None:
    """Let a thread that waits for another one sleep soon, rather than keep its core from whoever else wants it.

    Where all cores are busy, the thread waited for may be descheduled, and every turn of the loop keeps it from coming
    back. What the user's environment says of waiting is left as it is. PyTorch for Linux reads this when it is loaded;
    where it is built with another OpenMP than libgomp nothing happens.
    """
    if not any(name in os.environ for name in POLICIES):
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)
