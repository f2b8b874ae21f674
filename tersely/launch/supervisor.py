"""Runs a command, then ends all processes that it started: `python -m tersely.launch.supervisor COMMAND...`.

It adopts orphaned descendants of the command (subreaper), so it knows all of them. It ends them when the command ends,
when it receives SIGTERM, and when its parent process dies (PR_SET_PDEATHSIG). SIGUSR1 requests to save and stop; it is
forwarded only to processes that wait for it. Linux only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

GRACE_S = 10.0
"""Seconds between SIGTERM and SIGKILL."""
DIE_WITH_PARENT = "TERSELY_DIE_WITH_PARENT"
"""Environment variable that makes a rank end with its launcher."""
NOBODY_SAVES = 76
"""Exit status after a save request that no process waits for: everything is ended without saving."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


WAITED_FOR = {signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}


def main(command: list[str]) -> int:
    """Run the command; returns its exit status, or 128 + the signal that ended it."""
    parent, me = os.getppid(), os.getpid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher handles Ctrl-C
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)  # no signal may arrive between two lines here
    die_with_parent(signal.SIGTERM, parent)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def prepare_child() -> None:
        die_with_parent(signal.SIGTERM, me)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        child = subprocess.Popen(command, env={**os.environ, DIE_WITH_PARENT: "1"}, preexec_fn=prepare_child)
        return _wait(child.pid)
    finally:
        end_all(GRACE_S)


def _wait(command: int) -> int:
    while True:
        status = _reaped(command)
        if status is not None:
            code = os.waitstatus_to_exitcode(status)
            return 128 - code if code < 0 else code
        number = signal.sigwait(WAITED_FOR)
        if number in (signal.SIGTERM, signal.SIGHUP):
            return 128 + number
        if number == signal.SIGUSR1 and not ask_to_save():
            return NOBODY_SAVES


def _reaped(command: int) -> int | None:
    """Reap ended children; returns the wait status of `command` if it has ended."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == command:
                found = ended[1]
    return found


def ask_to_save() -> int:
    """Send SIGUSR1 to each descendant that blocks it (a process that waits for a signal blocks it); returns their number."""
    notified = 0
    for process in descendants():
        if _blocks(process.pid, signal.SIGUSR1):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGUSR1)
                notified += 1
    return notified


def end_all(grace_s: float) -> None:
    """Send SIGTERM to all descendants, then SIGKILL to those alive after `grace_s`, until none is left."""
    _signal_all(signal.SIGTERM)
    end = time.monotonic() + grace_s
    while _reap() and time.monotonic() < end:
        time.sleep(0.05)
    while _reap():
        _signal_all(signal.SIGKILL)
        time.sleep(0.05)


def descendants(root: int | None = None) -> list[psutil.Process]:
    """All descendants of `root` (default: this process), parents first, without zombies."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(root).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found


def die_with_parent(number: int = signal.SIGKILL, parent: int | None = None) -> None:
    """Send signal `number` to this process when its parent dies, or now if the parent is already dead."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), number)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option} failed")


def _blocks(pid: int, number: int) -> bool:
    """True if the process blocks the signal. Reads /proc, because sending the signal could kill the process."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    mask = int(status.partition("SigBlk:")[2].split()[0], 16)
    return bool(mask >> (number - 1) & 1)


def _signal_all(number: int) -> None:
    for process in descendants():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _reap() -> bool:
    """Reap ended children; True while a child is alive."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
