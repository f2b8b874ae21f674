"""Logging callbacks: metrics and completions to disk, progress to the terminal."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from transformers import ProgressCallback, TrainerCallback

from tersely.core.heartbeat import beat, now
from tersely.core.logging import get_logger
from tersely.rl.recording.metrics import OF_TRAINED
from tersely.rl.recording.run_files import MetricsFile, write_completions
from tersely.rl.update.batch_size import updates_of_a_batch

logger = get_logger(__name__)

ETA_STEPS = 65
"""Number of step ends used for the estimate of the remaining time."""


class RunFiles(TrainerCallback):
    """Writes one line of `metrics` and the completions of each logged step, on the main process.

    `take_rows()` returns the rows of the completions table since the last call; empty for a run without rollouts.
    """

    def __init__(self, metrics: MetricsFile, take_rows: Callable[[], list[dict[str, Any]]] = list):
        self.metrics, self.take_rows = metrics, take_rows

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not state.is_world_process_zero or not logs:
            return
        self.metrics.write(state.global_step, logs)
        if rows := self.take_rows():
            write_completions(self.metrics.path.parent, self.metrics.first_step + state.global_step, rows)


class Phases(TrainerCallback):
    """Reports the trainer's phase to this rank's watchdog (`tersely.rl.watchdog`)."""

    def on_step_begin(self, args, state, control, **kwargs):
        now(f"step {state.global_step + 1}")

    def on_step_end(self, args, state, control, **kwargs):
        now(f"after step {state.global_step}: saving, evaluating")

    def on_substep_end(self, args, state, control, **kwargs):
        beat()

    def on_train_end(self, args, state, control, **kwargs):
        now("ending")


class StepLines(ProgressCallback):
    """Shows the trainer's progress bar on a terminal, and one line per logged step everywhere."""

    eta = ""

    def on_train_begin(self, args, state, control, **kwargs):
        self.ends: deque[tuple[int, float]] = deque([(state.global_step, time.monotonic())], maxlen=ETA_STEPS)
        self.batch = updates_of_a_batch(args)
        self.bar = sys.stderr.isatty() and not args.disable_tqdm
        if self.bar:
            super().on_train_begin(args, state, control, **kwargs)

    def on_step_end(self, args, state, control, **kwargs):
        self.ends.append((state.global_step, time.monotonic()))
        self.eta = eta(self.ends, state.max_steps, self.batch)
        if self.bar:
            super().on_step_end(args, state, control, **kwargs)

    def on_train_end(self, args, state, control, **kwargs):
        if self.bar:
            super().on_train_end(args, state, control, **kwargs)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and logs and "loss" in logs:
            line = step_line(state.global_step, state.max_steps, logs) + self.eta
            if self.bar and self.training_bar is not None:
                self.training_bar.write(line)
            else:
                logger.info(line)


def eta(ends: Sequence[tuple[int, float]], steps: int, batch: int) -> str:
    """`  ETA 1:23:45` from the time of the last complete generation batches; empty before the first and after the last step.

    ends: (step, seconds) of the start and of every later step. batch: optimizer steps per generation batch.
    """
    step, now_s = ends[-1]
    first = next(((at, s) for at, s in ends if step > at and (step - at) % batch == 0), None)
    if first is None or step >= steps:
        return ""
    left = (now_s - first[1]) / (step - first[0]) * (steps - step)
    minutes, seconds = divmod(round(left), 60)
    return f"  ETA {minutes // 60}:{minutes % 60:02}:{seconds:02}"


def step_line(step: int, steps: int, logs: dict[str, Any]) -> str:
    """`step 10/150  acc 0.81  tokens 63/141 (mean/p95)  trunc 0.4%  mixed 45%  entropy 0.31  1.9 s (gen 1.1, ...)`."""

    def number(name: str) -> float:
        value = logs.get(name)
        return float("nan") if value is None else float(value)

    # missing if no row had a signal, so that none went through the model
    name = next((name for name in ("entropy", OF_TRAINED) if name in logs), None)
    entropy = f"{number(name):.3f}" if name else "-"
    learnt = f"entropy {entropy}  loss {number('loss'):+.4f}  {number('step_time'):.2f} s"
    if "time/generate" not in logs:  # another update of a batch that an earlier line describes
        return f"step {step}/{steps}  the same batch  {learnt}"
    return (
        f"step {step}/{steps}  acc {number('verify/accuracy'):.3f}  "
        f"tokens {number('completions/mean_length'):.0f}/{number('efficiency/tokens_p95'):.0f} (mean/p95)  "
        f"trunc {number('completions/clipped_ratio'):.1%}  mixed {number('groups/mixed'):.0%}  {learnt} "
        f"(gen {number('time/generate'):.2f}, verify wait {number('time/verify_wait'):.2f})"
    )
