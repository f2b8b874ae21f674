"""A server as a child process: start it, wait until it is up, stop it with all its children."""

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
    """`command` in a session of its own; what it prints goes to `log`. `close` it."""

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
        """Raises `ServerDown` with the end of the log where it does not come up, and ends it."""
        try:
            wait_until_up(self.address, "/health", deadline_s=deadline_s, alive=lambda: not self.ended, tell=tell)
        except BaseException as error:
            self.close()
            if isinstance(error, ServerDown):
                raise ServerDown(f"{error}; the end of {self.log}:\n{self.tail()}") from error
            raise

    @property
    def ended(self) -> bool:
        """Has the server's process ended? It is not reaped here, so that its group keeps its number until `close`."""
        if self.process.returncode is not None:
            return True
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def tail(self, characters: int = 2000) -> str:
        return self.log.read_text(errors="replace")[-characters:]

    def close(self, grace_s: float = 20.0) -> None:
        """End the server and its workers: asked first, killed after `grace_s`. Calling it twice does no harm."""
        if self.process.returncode is not None:
            return  # reaped: the number may be another process's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        end = time.monotonic() + grace_s
        while not self.ended and time.monotonic() < end:
            time.sleep(0.1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # the group: its engine process must not outlive it
        self.process.wait()
