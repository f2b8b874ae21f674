"""Commands that start with the libraries loaded: a server imports them once, and forks a process for each command.

Importing torch, transformers and TRL costs eight CPU seconds, more than most runs in the tests. A command that starts here is
a process of its own with its own arguments, environment, folder, output, signals and exit status. Two things are shared with
the other commands: settings that libraries read on import, and the hash seed. A test of these, or of the start itself,
takes `sys.executable`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOCKET = "TERSELY_TESTS_WARM"
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# runs without site-packages, in milliseconds: passes its place in the world on, and takes over the exit status
CLIENT = f"""
import json, os, signal, socket, struct, sys
server = socket.socket(socket.AF_UNIX)
server.connect(os.environ.pop("{SOCKET}"))
for number in {[int(number) for number in FORWARDED]}:
    signal.signal(number, lambda number, _: server.send(bytes([number])))
text = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
socket.send_fds(server, [struct.pack("q", len(text))], [0, 1, 2])
server.sendall(text)
answer = server.recv(4)
code = struct.unpack("i", answer)[0] if len(answer) == 4 else 1
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory) -> Iterator[str]:
    """In place of `sys.executable` before `-m MODULE` or a script; the same where this is not Linux."""
    if not sys.platform.startswith("linux"):
        yield sys.executable
        return
    folder = tmp_path_factory.mktemp("warm")
    (folder / "client.py").write_text(CLIENT)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\n{SOCKET}="{folder}/socket" exec "{sys.executable}" -IS "{folder}/client.py" "$@"\n')
    python.chmod(0o755)
    with (folder / "log").open("w") as log:
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        # no thread of Arrow's allocator: what forks has none
        threads = {"OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
        environment = {**os.environ, **threads, "PYTHONPATH": paths}
        command = [sys.executable, str(Path(__file__).with_name("warm_server.py")), str(folder / "socket")]
        server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    while not (folder / "socket").exists():
        assert server.poll() is None, (folder / "log").read_text()
        time.sleep(0.02)
    yield str(python)
    server.terminate()
    server.wait()
