"""Writes `metrics.jsonl` and the completions of each logged step."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from tersely.core.files import replace


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
    """`completions/completions_00010.parquet`: text, verdict, lengths, prompting, reward terms, advantage."""
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
