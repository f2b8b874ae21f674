"""Runs the trainings of `tersely launch local` in sequence, evaluates each, and writes one report on all."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tersely.core.errors import ConfigError

if TYPE_CHECKING:
    from tersely.launch.local import Launch, Start


def check_evaluation(options: argparse.Namespace) -> None:
    """Check benchmarks and options of the evaluation now; it runs hours later."""
    words = evaluation_words(options)
    if not options.eval:
        if words:
            raise ConfigError(
                f"--eval-options: got {options.eval_options!r} without --eval, so it has no effect. Add --eval"
            )
        return
    from tersely.data.benchmarks import find_benchmark
    from tersely.launch.cli import eval as command

    for name in filter(None, map(str.strip, options.eval.split(","))):
        find_benchmark(name)
    given = command.parser().parse_args(["model", *words])
    plain = command.parser().parse_args(["model"])
    for option in ("benchmarks", "out", "name", "list", "list_strategies"):
        if getattr(given, option) != getattr(plain, option):
            raise ConfigError(f"--eval-options: --{option.replace('_', '-')} is set by the launcher; leave it out")


def evaluation_words(options: argparse.Namespace) -> list[str]:
    """`--eval-options` as words. `ConfigError` for quotes that do not match."""
    try:
        return shlex.split(options.eval_options)
    except ValueError as error:
        raise ConfigError(
            f"--eval-options: got {options.eval_options!r}; expected options of tersely eval ({error})"
        ) from None


def run_all(starts: Sequence[Start], options: argparse.Namespace, run_dir: Path) -> int:
    """Train and evaluate each run; returns the first exit status that is not 0. A failed run does not stop the others.

    With `--resume`, a sweep resumes the started runs, starts the others, and skips finished ones.
    """
    from tersely.launch.local import Launch
    from tersely.rl.checkpoints.resume import require_folder

    swept = len(starts) > 1
    if options.resume and not swept:
        require_folder(starts[0].run_dir)
    statuses: dict[str, int] = {}
    for number, start in enumerate(starts, start=1):
        if swept:
            print(f"launch: run {number} of {len(starts)}: {start.name}", flush=True)
        launch = Launch(start.command, start.run_dir, options.grace, start.secrets, start.devices)
        if swept and options.resume and (start.run_dir / "final" / "config.json").is_file():
            print(f"launch: {start.run_dir / 'final'} exists; already finished", flush=True)
            status = 0
        else:
            resume = options.resume and (not swept or (start.run_dir / "config.yaml").is_file())
            status = launch.run(options.retries, resume)
        if status == 0 and options.eval and launch.asked is None:
            status = evaluate(start, options, launch)
        statuses[start.name] = status
        if launch.asked is not None:
            break
    if swept:
        report(starts, statuses, run_dir)
    return next((status for status in statuses.values() if status), 0)


def evaluate(start: Start, options: argparse.Namespace, launch: Launch) -> int:
    """Run `tersely eval` on a run's final weights; the records go to the run's folder."""
    name = start.name or start.run_dir.name
    words = [str(start.run_dir / "final"), "--benchmarks", options.eval, "--out", str(start.run_dir / "eval")]
    command = [sys.executable, "-m", "tersely", "eval", *words, "--name", name]
    command += evaluation_words(options)
    print(f"launch: {shlex.join(command)}", flush=True)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while child.poll() is None:
        if launch.asked is not None:
            child.terminate()
        time.sleep(0.2)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def report(starts: Sequence[Start], statuses: dict[str, int], run_dir: Path) -> None:
    """Print one line per run, and write one report over the runs that have records."""
    for start in starts:
        status = statuses.get(start.name)
        outcome = "not started" if status is None else "finished" if status == 0 else f"exit status {status}"
        print(f"launch: {start.name}: {outcome}, {start.run_dir}", flush=True)
    begun = [str(start.run_dir) for start in starts if (start.run_dir / "metrics.jsonl").is_file()]
    if begun:
        # methods may train with different prompts; the report lists the differences
        words = ["report", *begun, "--anyway", "--out", str(run_dir / "report")]
        subprocess.run([sys.executable, "-m", "tersely", *words], stdin=subprocess.DEVNULL, check=False)
