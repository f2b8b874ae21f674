"""The watchdog ends waits, in real processes, with the state of the other ranks in the message."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time

import pytest

from tersely.core.errors import ConfigError
from tersely.rl.guards import RunStopped
from tersely.rl.watchdog import Watch, broken_collective, disk_full, watched

STUCK = """
import sys
from tersely.core.heartbeat import now
from tersely.rl.watchdog import watched
with watched(sys.argv[1], 1.0):
    now("reading the dataset")
    open(sys.argv[1] + "/data.jsonl").read()
"""


def test_a_dataset_that_stops_answering_ends_within_the_deadline(tmp_path):
    os.mkfifo(tmp_path / "data.jsonl")  # opens only when somebody writes
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", STUCK, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "RANK": "0", "WORLD_SIZE": "1"},
    )
    assert done.returncode == 1
    assert "rank 0 has been in 'reading the dataset'" in done.stderr and "deadline_seconds 1" in done.stderr
    assert "data.jsonl" not in done.stderr and 'File "<string>", line 7' in done.stderr  # where it stands
    assert time.monotonic() - began < 20


def test_the_others_are_gone_silent_or_alive(tmp_path):
    watch = Watch(tmp_path, 8.0, rank=0, ranks=4)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    other = Watch(tmp_path, 8.0, rank=1, ranks=4)
    other.now("step 7")
    other.folder.mkdir()
    other._write()
    alive = json.loads((other.folder / "rank-1.json").read_text())
    (other.folder / "rank-2.json").write_text(json.dumps({**alive, "alive": time.time() - 60}))
    (other.folder / "rank-3.json").write_text(json.dumps({**alive, "pid": ended.pid}))
    first, second, third = watch.others().split("; ", 2)
    assert first == f"rank 1 (process {os.getpid()} on {alive['host']}, in: step 7) is alive"
    assert "rank 2" in second and "60 s" in second
    assert "rank 3" in third and "is gone" in third
    (other.folder / "rank-2.json").unlink()
    assert "rank 2 has not started" in watch.others()


def test_a_full_disk_is_said_as_such(tmp_path):
    with pytest.raises(RunStopped, match=r"disk.*saving"):
        with watched(tmp_path, 5.0):
            from tersely.core.heartbeat import now

            now("saving")
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            except OSError as error:
                raise RuntimeError("the writer failed") from error


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(KeyError):
        with watched(tmp_path, 5.0):
            raise KeyError("x")
    assert not disk_full(OSError(errno.EACCES, "denied"), tmp_path)
    assert not broken_collective(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert broken_collective(RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1"))


def test_a_deadline_is_above_zero(tmp_path):
    with pytest.raises(ConfigError, match="deadline_seconds.* 0.*above 0"):
        Watch(tmp_path, 0)


def in_process(tmp_path, code: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RANK": "0", "WORLD_SIZE": "1", **environment},
    )


BEATS = """
import sys, time
import torch  # which takes longer than the deadline on a busy machine
from tersely.rl.watchdog import watched
from tersely.core.heartbeat import beat, now
with watched(sys.argv[1], 2.0):
    now("a slow step")
    for _ in range(20):
        time.sleep(0.3)
        beat()
    print("through", flush=True)
    if len(sys.argv) > 2:
        time.sleep(60)
"""
WAITS = """
import sys, time
from tersely.rl.watchdog import watched
from tersely.core.heartbeat import now
with watched(sys.argv[1], 2.0):
    now("waiting for rank 1")
    began = time.monotonic()
    time.sleep(60)
"""


def test_a_step_longer_than_the_deadline_goes_on_while_it_makes_progress(tmp_path):
    done = in_process(tmp_path, BEATS)
    out, err = done.communicate(timeout=60)
    assert done.returncode == 0 and "through" in out, err


def test_a_rank_waits_as_long_as_another_makes_progress_and_no_longer(tmp_path):
    busy = in_process(tmp_path, BEATS.replace("len(sys.argv) > 2", "True"), RANK="1", WORLD_SIZE="2")
    while not (tmp_path / "ranks" / "rank-1.json").exists():
        time.sleep(0.05)
    began = time.monotonic()
    waiting = in_process(tmp_path, WAITS, WORLD_SIZE="2")
    _, said = waiting.communicate(timeout=60)
    took = time.monotonic() - began
    out, _ = busy.communicate(timeout=60)
    assert "through" in out, "the rank that waited let the other one finish"
    assert waiting.returncode == 1 and busy.returncode == 1 and 6 < took < 40
    assert "rank 0 has been in 'waiting for rank 1'" in said and "in: a slow step" in said


LOCKED = """
import sys
from torch.utils.file_baton import FileBaton
from tersely.rl.watchdog import watched
from tersely.core.heartbeat import now
with watched(sys.argv[1], 1.0):
    now("preparing the model and the optimizer")
    FileBaton(sys.argv[1] + "/lock", wait_seconds=0.1).wait()
"""


def test_a_build_lock_that_a_killed_build_left_is_named(tmp_path):
    (tmp_path / "lock").touch()
    done = in_process(tmp_path, LOCKED)
    _, said = done.communicate(timeout=90)
    assert done.returncode == 1
    assert f"waits for the build lock {tmp_path / 'lock'}" in said and "remove it" in said


def test_a_recipe_that_is_refused_leaves_no_folder(tmp_path):
    with pytest.raises(ConfigError):
        with watched(tmp_path / "run", 5.0):
            time.sleep(1.5)
            raise ConfigError("no")
    assert not (tmp_path / "run").exists()


def test_engines_verifier_and_micro_batches_are_progress(make_trainer):
    from tersely.core import heartbeat

    trainer = make_trainer(max_steps=1, max_completion_length=12, reward="correctness")
    seen = []

    class Counted(Watch):
        def beat(self):
            super().beat()
            seen.append(sys._getframe(2).f_code.co_name)

    heartbeat.listener = Counted(trainer.args.output_dir, 60.0)
    try:
        trainer.train()
    finally:
        heartbeat.listener = None
    assert seen.count("_batch") > 4 and seen.count("training_step") >= 1


def test_the_log_prob_pass_beats_for_each_of_its_parts(make_trainer, monkeypatch):
    from tersely.core import heartbeat

    beats = []
    monkeypatch.setattr(heartbeat, "beat", lambda: beats.append(1))
    trainer = make_trainer(prompts_per_step=4, micro_batch=4, updates_per_batch=2)
    batch = trainer.make_batch(trainer.prompts.at(0))
    generated = len(beats)
    assert len(trainer.policy_pass(batch)[0]) == 16
    assert len(beats) - generated >= 4  # four parts of four rows
