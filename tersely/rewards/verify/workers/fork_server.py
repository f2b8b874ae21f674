"""Client of the fork server: starts it, requests workers from it, and kills workers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from tersely.rewards.verify.workers.wire import Buffer, pack

_START_SECONDS = 120.0
_FORK_SECONDS = 30.0
# Without the current folder on the path, because a worker must not import a file that has the name of a module.
_BOOT = (
    "import sys; root = sys.argv[2]; sys.path[:] = [p for p in sys.path if p] + [root]; "
    "from tersely.rewards.verify.workers.worker import serve_forks; serve_forks(sys.argv[1])"
)


class WorkerError(RuntimeError):
    """A worker could not be started; the message contains the cause. `fatal`: another try cannot help."""

    def __init__(self, message: str, fatal: bool = False):
        super().__init__(message)
        self.fatal = fatal


class Worker:
    """Handle of one worker process: its socket, PID and number of items sent."""

    def __init__(self, connection: socket.socket, pid: int):
        self.connection = connection
        self.pid = pid
        self.buffer = Buffer()
        self.served = 0
        try:
            self._handle: int | None = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        except OSError:
            self._handle = None

    def fileno(self) -> int:
        return self.connection.fileno()

    def send(self, message: dict[str, Any]) -> None:
        self.connection.sendall(pack(message))
        self.served += 1

    def cpu(self) -> float | None:
        """CPU seconds used so far; None if the process has ended."""
        try:
            used = self._process.cpu_times()
        except psutil.Error:
            return None
        return float(used.user + used.system)

    @cached_property
    def _process(self) -> psutil.Process:
        return psutil.Process(self.pid)

    def kill(self) -> None:
        """Send SIGKILL, through a pidfd where the system has them, so that a reused PID is never hit."""
        try:
            if self._handle is not None:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            elif not hasattr(os, "pidfd_open"):
                os.kill(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self.forget()

    def forget(self) -> None:
        """Close the socket and the handle; an idle worker exits when its socket closes."""
        self.connection.close()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class ForkServer:
    """Fresh interpreter with math-verify or a scorer imported, which forks workers on request."""

    def __init__(self, *, memory: int, policy: dict[str, Any], scorer: str | None = None):
        ours, theirs = socket.socketpair()
        self.control = ours
        self._buffer = Buffer()
        root = str(Path(__file__).resolve().parents[4])
        options = {"fd": theirs.fileno(), "memory": memory, "policy": policy, "scorer": scorer, "parent": os.getpid()}
        # The scorer is imported from the same places as in this process.
        options["path"] = [] if scorer is None else [os.path.abspath(place) for place in sys.path]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, json.dumps(options), root],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        theirs.close()
        self._ready = False

    def worker(self) -> Worker:
        """Fork a worker; the first call waits for the imports. Raises `WorkerError` with the cause."""
        if not self._ready:
            message = self._wait(_START_SECONDS)
            if "error" in message:
                raise WorkerError(f"the verifier's workers cannot start: {message['error']}", fatal=True)
            self._ready = True
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(self.control, [b"+"], [theirs.fileno()])
            return Worker(ours, self._wait(_FORK_SECONDS)["pid"])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    def _wait(self, seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            message = self._buffer.pop()
            if message is not None:
                return message
            left = deadline - time.monotonic()
            if left <= 0:
                raise WorkerError(f"the verifier's fork server {self.process.pid} did not reply within {seconds:.0f} s")
            self.control.settimeout(left)
            try:
                data = self.control.recv(65536)
            except TimeoutError:
                continue
            if not data:
                raise WorkerError(f"the verifier's fork server {self.process.pid} ended (status {self.process.poll()})")
            self._buffer.feed(data)

    def close(self) -> None:
        """End the process and all its workers, and wait for it."""
        self.control.close()
        if not self._ready:  # still importing: it has no workers and does not read the socket
            self.process.kill()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=5)

    def abandon(self) -> None:
        """In a forked child: close this copy of the socket; the processes belong to the parent."""
        self.control.close()
        self.process.returncode = 0  # the child must not wait for it
