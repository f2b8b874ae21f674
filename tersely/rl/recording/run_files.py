"""Writes `metrics.jsonl` and the completions of each logged step."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from tersely.core.files import replace


class MetricsFile:
    """Writes `metrics.jsonl`, one line per logged step; drops lines after the resumed step, so that no step is repeated."""

    def __init__(self, path: Path, resumed_step: int = 0, stage: str | None = None, first_step: int = 0):
        """`resumed_step` counts over all stages; `write` gets the stage's steps, which start after `first_step`."""
        self.path, self.stage, self.first_step = path, stage, first_step
        kept = []
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    if json.loads(line).get("step", 0) <= resumed_step:
                        kept.append(line)
                except ValueError:
                    continue  # the last line of a killed run may be incomplete
        replace(path, "".join(line + "\n" for line in kept))

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        values = {key: _finite(value) for key, value in metrics.items()}
        with open(self.path, "a") as file:
            stage = {} if self.stage is None else {"stage": self.stage}
            file.write(json.dumps({"step": self.first_step + step, **stage, **values}) + "\n")


def _finite(value: Any) -> Any:
    """Replace nan, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_completions(run_dir: Path, step: int, rows: list[dict[str, Any]]) -> None:
    """Write `completions/completions_00010.parquet`: text, verdict, lengths, prompting, reward terms, advantage."""
    import pandas as pd

    folder = run_dir / "completions"
    folder.mkdir(exist_ok=True)
    target = folder / f"completions_{step:05d}.parquet"
    frame = pd.DataFrame([{"step": step, **{key: _encodable(value) for key, value in row.items()}} for row in rows])
    temporary = target.with_suffix(".tmp")
    frame.to_parquet(temporary)
    os.replace(temporary, target)


def _encodable(value: Any) -> Any:
    """Replace lone surrogates in model text, which UTF-8 cannot encode and Arrow rejects."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
