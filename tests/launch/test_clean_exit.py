"""Processes that end while threads of theirs still work: a real process group of one rank, and what an exit owes."""

from __future__ import annotations

import os
import subprocess
import sys

COLLECTIVES = """
import os, sys
import torch
import torch.distributed as distributed
from tersely.launch.clean_exit import end_process

for attempt in range(24):
    if os.fork() == 0:
        distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}/{attempt}", rank=0, world_size=1)
        for _ in range(5000):
            distributed.all_reduce(torch.ones(4), async_op=True)
        end_process(7)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
OWED = """
import atexit, os, threading, time
from tersely.launch.clean_exit import end_process

class Last:
    def __del__(self):
        os.write(1, b"taken apart")

last = Last()
atexit.register(lambda: print("registered"))
threading.Thread(target=lambda: (time.sleep(0.3), print("thread"))).start()
print("main")
end_process(3)
"""


def python(text: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", text, *arguments], capture_output=True, text=True, timeout=120)


def test_what_registered_is_told_and_nothing_printed_is_lost():
    done = python(OWED)
    assert (done.returncode, done.stdout, done.stderr) == (3, "main\nthread\nregistered\n", "")


def test_collectives_that_still_let_go_of_tensors_do_not_abort_it(tmp_path):
    done = python(COLLECTIVES, str(tmp_path))
    assert done.stdout.split() == ["7"] * 24, done.stderr  # by sys.exit, one in six is -6


def test_a_reader_that_has_gone_changes_nothing():
    reader, writer = os.pipe()
    os.close(reader)
    text = "from tersely.launch.clean_exit import end_process; print('to nobody'); end_process(3)"
    env = {**os.environ, "PYTHONUNBUFFERED": ""}  # or it would hear of it in print
    done = subprocess.run([sys.executable, "-c", text], stdout=writer, stderr=subprocess.PIPE, timeout=60, env=env)
    os.close(writer)
    assert (done.returncode, done.stderr) == (3, b"")
