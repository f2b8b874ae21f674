"""Clean exit after threaded collectives: skips the interpreter teardown, which would abort the process."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from contextlib import suppress
from typing import NoReturn


def end_process(status: int) -> NoReturn:
    """Exit with `status` after joining non-daemon threads, running `atexit` functions and flushing output.

    Skips the rest of the interpreter teardown. gloo's threads outlive `destroy_process_group` while a wrapped model holds
    the group. A thread that releases a tensor during teardown waits for the GIL, CPython ends that thread inside a
    destructor, and the C++ runtime raises SIGABRT ("terminate called without an active exception") in a finished run.
    `multiprocessing` ends its children in the same way.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the reader closed the pipe
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
    """Print `line` again after this rank's launcher has ended, below the traceback of accelerate and torchrun.

    Does nothing outside `accelerate launch`, or under `tersely launch local`, which repeats the error itself.
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
