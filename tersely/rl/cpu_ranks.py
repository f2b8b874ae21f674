"""Lets `torch.load` accept the device cpu:0, the name that accelerate gives to several ranks on a CPU."""

from __future__ import annotations

import re
from typing import Any


def load_as_cpu() -> None:
    """Make `torch.load(..., map_location="cpu:0")`, which Trainer uses to resume, mean the CPU. Idempotent."""
    import torch

    if _plain not in [entry[2] for entry in torch.serialization._package_registry]:
        torch.serialization.register_package(19, lambda storage: None, _plain)


def _plain(storage: Any, location: str) -> Any:
    return storage if re.fullmatch(r"cpu:\d+", location) else None
