"""Commands that start with the libraries loaded: a server imports them once, and forks a process for each command.

Importing torch, transformers and TRL costs eight CPU seconds, more than most runs in the tests; a vLLM server imports vLLM in
three processes, which is fifty. A command that starts here is a process of its own with its own arguments, environment,
folder, session, output, signals and exit status. Two things are shared with the other commands: settings that libraries read
on import, and the hash seed. A test of these, or of the start itself, takes `sys.executable`. All workers of pytest-xdist
share the servers. A verifier starts its processes, which cost four seconds, when an answer needs them, and not with the run.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOCKET = "TERSELY_TESTS_WARM"
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# runs without site-packages, in milliseconds: passes its place in the world on, and takes over the exit status; it blocks what
# it passes on, as a training does, by which a launcher knows whom it can ask to save
CLIENT = f"""
import json, os, signal, socket, struct, sys, threading
server = socket.socket(socket.AF_UNIX)
server.connect(os.environ.pop("{SOCKET}"))
passed_on = {[int(number) for number in FORWARDED]}
signal.pthread_sigmask(signal.SIG_BLOCK, passed_on)
def pass_on():
    while True:
        server.send(bytes([signal.sigwait(passed_on)]))
text = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
socket.send_fds(server, [struct.pack("q", len(text))], [os.open("/proc/self/ns/net", os.O_RDONLY), 0, 1, 2])
server.sendall(text)
threading.Thread(target=pass_on, daemon=True).start()
answer = server.recv(4)
code = struct.unpack("i", answer)[0] if len(answer) == 4 else 1
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    signal.pthread_sigmask(signal.SIG_UNBLOCK, passed_on)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory) -> Iterator[str]:
    """In place of `sys.executable`, in a network namespace, too, before `-m MODULE`, `-c CODE` or a script; the same where
    this is not Linux."""
    with served(tmp_path_factory, "warm", sys.executable) as python:
        yield python


@pytest.fixture(scope="session")
def warm_vllm(tmp_path_factory, warm_python) -> Iterator[str]:
    """`warm_python` with vLLM's modules as well; the processes of its engines are forked, too."""
    pytest.importorskip("vllm", reason="vLLM is not installed: make engines")
    import torch

    if torch.cuda.is_available():  # its engines start processes anew
        yield sys.executable
        return
    with served(tmp_path_factory, "warm_vllm", warm_python, "vllm") as python:
        yield python


@contextmanager
def served(tmp_path_factory, name: str, python: str, *modules: str) -> Iterator[str]:
    """A stand-in for the interpreter, whose server this process starts unless another one of this run has."""
    if not sys.platform.startswith("linux"):
        yield sys.executable
        return
    shared = "PYTEST_XDIST_WORKER" in os.environ
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if shared else base) / name
    folder.mkdir(exist_ok=True)
    server = None
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "socket").exists():
            server = started(folder, python, os.getppid() if shared else os.getpid(), *modules)
    yield str(folder / "python")
    if server is not None and not shared:  # shared ones end with the run
        server.terminate()
        server.wait()


def started(folder: Path, python: str, owner: int, *modules: str) -> subprocess.Popen:
    """A server that ends with the process `owner`."""
    (folder / "client.py").write_text(CLIENT)
    shim = folder / "python"
    shim.write_text(f'#!/bin/sh\n{SOCKET}="{folder}/socket" exec "{sys.executable}" -IS "{folder}/client.py" "$@"\n')
    shim.chmod(0o755)
    with (folder / "log").open("w") as log:
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        # no thread of Arrow's allocator: what forks has none
        threads = {"OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
        environment = {**os.environ, **threads, "VLLM_LOGGING_LEVEL": "ERROR", "PYTHONPATH": paths}
        command = [
            python,
            str(Path(__file__).with_name("warm_server.py")),
            str(folder / "socket"),
            str(owner),
            *modules,
        ]
        server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    while not (folder / "socket").exists():
        assert server.poll() is None, (folder / "log").read_text()
        time.sleep(0.02)
    return server
