"""State of stages on disk: finished or not, the state for the next stage, and the run's final weights.

A stage is finished when its folder `final` is complete. The next one starts from its weights, prompt memory and component
state.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tersely.configs.recipe import Stage
from tersely.rl.checkpoints import manifest


def finished(stage: Stage) -> bool:
    """True if the stage's final weights and state are complete on disk."""
    return stage.name is not None and manifest.fault(stage.final) is None


def carried_state(previous: Stage | None) -> dict[str, Any]:
    """Prompt memory and component state of the previous stage; empty without one."""
    return manifest.component_state(previous.final) if previous is not None else {}


def publish(stages: Sequence[Stage], run_dir: str | Path) -> None:
    """Link or copy the last stage's weights to run_dir/final."""
    last, target = stages[-1], Path(run_dir) / "final"
    if last.name is None or manifest.fault(target) is None:
        return
    partial = target.with_name("final.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(last.final, partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
