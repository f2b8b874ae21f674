"""Runs a command and ends every process it leaves behind: `python -m tersely.launch.supervisor COMMAND...`.

It adopts the orphans of the command's processes (subreaper), so it knows all of them. It ends them when the command ends,
when it receives SIGTERM, and when its own parent dies from any signal (PR_SET_PDEATHSIG). SIGUSR1 is the request to save
and stop: it is forwarded only to the processes that wait for it. Linux only.
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
"""Between SIGTERM and SIGKILL."""
DIE_WITH_PARENT = "TERSELY_DIE_WITH_PARENT"
"""Environment variable by which a rank knows that it must not outlive its launcher."""
NOBODY_SAVES = 76
"""Exit status after a request to save that no process waits for: nothing is saved, everything is ended."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


WAITED_FOR = {signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}


def main(command: list[str]) -> int:
    """The command's exit status, or 128 + the signal that ended it or that told to end it."""
    parent, me = os.getppid(), os.getpid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the launcher's to judge
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)  # so that none comes between two lines of this
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
    """Collect what has ended; the wait status of `command` where it is among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == command:
                found = ended[1]
    return found


def ask_to_save() -> int:
    """SIGUSR1 to each descendant that blocks it, which is how one waits for it; returns how many there are."""
    told = 0
    for process in descendants():
        if _blocks(process.pid, signal.SIGUSR1):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGUSR1)
                told += 1
    return told


def end_all(grace_s: float) -> None:
    """SIGTERM to all descendants, SIGKILL to those left after `grace_s`, until none is left."""
    _signal_all(signal.SIGTERM)
    end = time.monotonic() + grace_s
    while _reap() and time.monotonic() < end:
        time.sleep(0.05)
    while _reap():
        _signal_all(signal.SIGKILL)
        time.sleep(0.05)


def descendants(root: int | None = None) -> list[psutil.Process]:
    """Processes below `root` (this process), parents first; zombies left out."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(root).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found


def die_with_parent(number: int = signal.SIGKILL, parent: int | None = None) -> None:
    """From now on the death of the parent sends this process `number`; a parent that is gone already sends it now."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), number)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option} failed")


def _blocks(pid: int, number: int) -> bool:
    """Is the signal blocked there? Read from /proc, so that nothing is sent to one it would kill."""
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
    """Collect what has ended; True while a child is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
