"""`tersely launch local` around two real ranks on the CPU: saved and stopped, killed, restarted, finished.

The second attempt, whose launcher is killed, starts real interpreters; the others start with the libraries loaded.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's"),
]
ROOT = Path(__file__).parents[2]


def ranks_of(run_dir: Path) -> list[str]:
    """Command lines of live processes that name this run directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (
                (entry / "cmdline").read_bytes().decode(errors="replace").split("\0") if entry.name.isdigit() else []
            )
        except OSError:
            continue
        if str(run_dir) in words:
            found.append(" ".join(words))
    return found


class Launched:
    def __init__(self, launcher, run_dir: Path, *options: str, warm: bool = False):
        values = {"max_steps": 6, "save_steps": 2, "prompts_per_step": 2, "group_size": 4, "micro_batch": 4}
        words = [word for key, value in values.items() for word in (f"--{key}", str(value))]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tersely", "launch", "local", "testbed/alp", "--processes", "2", *options, *words]
            + ["--max_completion_length", "32", "--run_dir", str(run_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=launcher.warm_environment() if warm else launcher.environment(),
            cwd=launcher.folder,
        )
        self.seen: list[str] = []

    def until(self, words: str) -> None:
        for line in iter(self.process.stdout.readline, ""):
            self.seen.append(line)
            if line.startswith(words):
                return
        raise AssertionError("".join(self.seen[-60:]))

    def end(self) -> int:
        self.seen += self.process.stdout.readlines()
        return self.process.wait(120)


def test_stopped_killed_and_finished(shared_launcher):
    run_dir = shared_launcher.folder / "launched"
    first = Launched(shared_launcher, run_dir, warm=True)
    first.until("step 1/6")
    assert sum("tersely.launch.train" in words and "accelerate" not in words for words in ranks_of(run_dir)) == 2
    first.process.send_signal(signal.SIGTERM)
    assert first.end() == 75, "".join(first.seen[-40:])

    second = Launched(shared_launcher, run_dir, "--resume")
    second.until("step 3/6")
    second.process.kill()
    second.process.wait()
    for _ in range(200):
        if not ranks_of(run_dir):
            break
        time.sleep(0.1)
    assert not ranks_of(run_dir), "no process outlives a launcher that was killed"

    third = Launched(shared_launcher, run_dir, "--resume", "--retries", "1", warm=True)
    assert third.end() == 0, "".join(third.seen[-40:])
    steps = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in steps if "loss" in row] == list(range(1, 7))
    assert len(list((run_dir / "logs").iterdir())) == 3
