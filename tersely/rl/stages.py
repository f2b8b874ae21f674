"""What is left of a stage on disk: whether it is done, the state that the next one starts from, and the run's last weights.

A stage is done when the `final` in its folder is whole. The next one starts from its weights, prompt memory and component
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
    """Its last weights and state are on disk, whole."""
    return stage.name is not None and manifest.fault(stage.final) is None


def carried_state(previous: Stage | None) -> dict[str, Any]:
    """Memory and component state that the stage before left; empty where there is none."""
    return manifest.component_state(previous.final) if previous is not None else {}


def publish(stages: Sequence[Stage], run_dir: str | Path) -> None:
    """The last stage's weights are the run's: run_dir/final."""
    last, target = stages[-1], Path(run_dir) / "final"
    if last.name is None or manifest.fault(target) is None:
        return
    partial = target.with_name("final.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(last.final, partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
