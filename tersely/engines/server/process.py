"""Runs a server as a child process: starts it, waits until it is up, stops it with all its children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tersely.core.http import ServerDown, wait_until_up


class ServerProcess:
    """Start `command` in a new session, with its output in `log`. Call `close` at the end."""

    def __init__(self, command: Sequence[str], address: str, log: Path | str, environment: Mapping[str, str]):
        self.address, self.log = address, Path(log)
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def wait_until_up(self, deadline_s: float, tell: Callable[[str], None] = lambda text: None) -> None:
        """Wait until the server is up; otherwise end it and raise `ServerDown` with the end of the log."""
        try:
            wait_until_up(self.address, "/health", deadline_s=deadline_s, alive=lambda: not self.ended, tell=tell)
        except BaseException as error:
            self.close()
            if isinstance(error, ServerDown):
                raise ServerDown(f"{error}; the end of {self.log}:\n{self.tail()}") from error
            raise

    @property
    def ended(self) -> bool:
        """True if the server's process has ended. Does not reap it, so that its group id stays valid until `close`."""
        if self.process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def tail(self, characters: int = 2000) -> str:
        return self.log.read_text(errors="replace")[-characters:]

    def close(self, grace_s: float = 20.0) -> None:
        """End the server and its workers: SIGTERM, then SIGKILL after `grace_s`. Can be called twice."""
        if self.process.returncode is not None:
            return  # reaped: the id may belong to another process now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        end = time.monotonic() + grace_s
        while not self.ended and time.monotonic() < end:
            time.sleep(0.1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # the group: its engine process must not outlive it
        self.process.wait()
