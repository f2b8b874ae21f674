"""Client of the fork server: starts it, asks it for workers, kills and replaces them."""

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
# The current folder is taken off the path: a file named like a module must not be imported by a worker.
_BOOT = (
    "import sys; root = sys.argv[2]; sys.path[:] = [p for p in sys.path if p] + [root]; "
    "from tersely.rewards.verify.workers.worker import nursery; nursery(sys.argv[1])"
)


class WorkerError(RuntimeError):
    """No worker came up; the message holds the cause. `fatal` where another try cannot help."""

    def __init__(self, message: str, fatal: bool = False):
        super().__init__(message)
        self.fatal = fatal


class Worker:
    """One worker process and the stream to it."""

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
        """Seconds of processor time used so far, None where it has ended."""
        try:
            used = self._process.cpu_times()
        except psutil.Error:
            return None
        return float(used.user + used.system)

    @cached_property
    def _process(self) -> psutil.Process:
        return psutil.Process(self.pid)

    def kill(self) -> None:
        """SIGKILL, by a handle that cannot mean another process where the system has such handles."""
        try:
            if self._handle is not None:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            elif not hasattr(os, "pidfd_open"):
                os.kill(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self.forget()

    def forget(self) -> None:
        """Close this process's ends; an idle worker leaves when its stream ends."""
        self.connection.close()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


class ForkServer:
    """A fresh interpreter with math-verify or a scorer loaded, which forks workers on demand."""

    def __init__(self, *, memory: int, policy: dict[str, Any], scorer: str | None = None):
        ours, theirs = socket.socketpair()
        self.control = ours
        self._buffer = Buffer()
        root = str(Path(__file__).resolve().parents[4])
        options = {"fd": theirs.fileno(), "memory": memory, "policy": policy, "scorer": scorer, "parent": os.getpid()}
        # A scorer is imported from where this process finds it.
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
        """A new worker; waits for the first import. Raises WorkerError with the cause."""
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
                raise WorkerError(f"the verifier's worker process {self.process.pid} said nothing for {seconds:.0f} s")
            self.control.settimeout(left)
            try:
                data = self.control.recv(65536)
            except TimeoutError:
                continue
            if not data:
                raise WorkerError(
                    f"the verifier's worker process {self.process.pid} ended (status {self.process.poll()})"
                )
            self._buffer.feed(data)

    def close(self) -> None:
        """End the process and all its workers, and wait for it."""
        self.control.close()
        if not self._ready:  # still importing: it has no workers, and does not read the socket
            self.process.kill()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=5)

    def abandon(self) -> None:
        """In a forked child: close this copy of the socket; the processes belong to the parent."""
        self.control.close()
        self.process.returncode = 0  # never waited for from here
