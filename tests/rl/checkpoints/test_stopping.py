"""The request to save and stop: a blocked signal that waits, and the end of the job."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tersely.rl.checkpoints.stopping import SAVED_AND_STOPPED, STOP_AT, SavedAndStopped, request

CHILD = """
import os, signal, subprocess, sys
from tersely.rl.checkpoints import stopping
stopping.block()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5); print('child lives')"])
assert stopping.request(1.0) is None
os.kill(os.getpid(), signal.SIGUSR1)
os.kill(child.pid, signal.SIGUSR1)
print(stopping.request(1.0))
sys.exit(child.wait())
"""


def test_the_signal_waits_and_spares_the_children():
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "requested by SIGUSR1" in done.stdout and "child lives" in done.stdout


@pytest.mark.parametrize(("left", "asked"), [(100.0, False), (59.0, True), (-5.0, True)])
def test_the_end_of_the_job_counts_what_a_step_and_its_saving_take(monkeypatch, left, asked):
    now = time.time()
    monkeypatch.setenv(STOP_AT, str(now + left))
    assert (request(60.0, now) is not None) == asked


def test_without_an_end_nothing_is_asked(monkeypatch):
    monkeypatch.setenv(STOP_AT, "")
    assert request(1e9) is None


def test_the_exit_status_is_one_that_an_agent_does_not_take_for_a_crash(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert SavedAndStopped("x").exit_code == SAVED_AND_STOPPED == 75
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert SavedAndStopped("x").exit_code == 0
