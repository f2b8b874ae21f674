"""Clean exit of a process whose collectives ran in threads: skips the interpreter's teardown, which would abort it."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from contextlib import suppress
from typing import NoReturn


def end_process(status: int) -> NoReturn:
    """End with `status` once threads that are no daemons are joined, `atexit` functions have run and output is written.

    What an interpreter does after that is left out. gloo's threads outlive `destroy_process_group` for as long as a wrapped
    model holds the group, and one of them that lets go of a tensor while the interpreter is taken apart asks for a lock
    which is no longer given: CPython ends that thread inside a destructor, and the C++ runtime answers with SIGABRT
    ("terminate called without an active exception") to a run whose work was done. `multiprocessing` ends its children
    as this does.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader has gone
            stream.flush()
    os._exit(status)


WAIT_FOR = """
import os, socket, sys, time
launcher, line = int(sys.argv[1]), sys.argv[2]
first = socket.socket(socket.AF_UNIX)
try:
    first.bind(f"\\0tersely-error-of-{launcher}")
except OSError:
    sys.exit()  # another rank repeats its error
def ended():
    try:
        with open(f"/proc/{launcher}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"  # its parent may read our output before it reaps it
    except OSError:
        return True
end = time.monotonic() + 60
while not ended() and time.monotonic() < end:
    time.sleep(0.05)
print(line, file=sys.stderr)
"""


def repeat_last(line: str) -> None:
    """Print `line` again once this rank's launcher has ended, below the traceback of accelerate and torchrun.

    Nothing is done outside `accelerate launch`, and under `tersely launch local`, which repeats the error itself.
    """
    from tersely.launch.supervisor import DIE_WITH_PARENT

    if "ACCELERATE_MIXED_PRECISION" not in os.environ or DIE_WITH_PARENT in os.environ or sys.platform != "linux":
        return
    with suppress(OSError):
        subprocess.Popen(
            [sys.executable, "-S", "-c", WAIT_FOR, str(os.getppid()), line],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
