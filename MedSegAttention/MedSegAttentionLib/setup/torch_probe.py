"""What torch says about itself and the graphics cards: one line of JSON. Runs in a process of its own."""

from __future__ import annotations

import json
import sys
from typing import Any


def facts() -> dict[str, Any]:
    """Version, devices, memory (bytes), and what the build supports."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "built_for_cuda": torch.version.cuda,
        "architectures": torch.cuda.get_arch_list() if torch.version.cuda else [],
        "mps": torch.backends.mps.is_available(),
        "cuda": cuda,
        "cards": [_card(torch, number) for number in range(torch.cuda.device_count())] if cuda else [],
    }


def _card(torch: Any, number: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(number)
    free, total = torch.cuda.mem_get_info(number)
    capability = [properties.major, properties.minor]
    return {"name": properties.name, "capability": capability, "free": free, "total": total}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(facts()) + "\n")
