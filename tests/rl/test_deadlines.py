"""Waits that end: in real processes, with the others' state in the message."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time

import pytest

from tersely.checks import SpecError
from tersely.rl.deadlines import Watch, broken_collective, disk_full, watched
from tersely.rl.guards import RunStopped

STUCK = """
import sys
from tersely.rl.deadlines import now, watched
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
    assert "data.jsonl" not in done.stderr and 'File "<string>", line 6' in done.stderr  # where it stands
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
    assert "rank 2" in second and "not been heard of for 60 s" in second
    assert "rank 3" in third and "is gone" in third
    (other.folder / "rank-2.json").unlink()
    assert "rank 2 has never been heard of" in watch.others()


def test_a_full_disk_is_said_as_such(tmp_path):
    with pytest.raises(RunStopped, match=r"the disk of .* is full \(in: saving\)"):
        with watched(tmp_path, 5.0):
            from tersely.rl.deadlines import now

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
    with pytest.raises(SpecError, match="deadline_seconds is 0; it must be above 0"):
        Watch(tmp_path, 0)
