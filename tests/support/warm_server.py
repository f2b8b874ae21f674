"""The server of warm.py: imports the libraries once, and forks a process for each command."""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import random
import runpy
import select
import signal
import socket
import struct
import sys

PRELOADED = (
    *("accelerate.commands.launch", "torch.distributed.run", "math_verify"),
    *("tersely.launch.cli.train", "tersely.rl.trainer", "tersely.rewards.verify.verifier"),
)
VLLM = (
    *("vllm.entrypoints.openai.api_server", "vllm.entrypoints.llm", "vllm.v1.engine.core", "vllm.v1.engine.async_llm"),
    *("vllm.v1.executor.multiproc_executor", "vllm.v1.worker.cpu_worker", "vllm.v1.worker.cpu_model_runner"),
    *("vllm.v1.attention.backends.cpu_attn", "vllm.model_executor.models.qwen2"),
)
RUN_AS_MAIN = ("accelerate.commands.launch", "vllm.entrypoints.openai.api_server")


def serve(place: str, owner: int, *more: str) -> None:
    """Accept commands on the socket `place` until SIGTERM, or until the process `owner` is gone."""
    importlib.metadata.metadata = functools.cache(importlib.metadata.metadata)  # as in conftest.py
    for module in PRELOADED:
        importlib.import_module(module)
    if "vllm" in more:
        preload_vllm()
    sys.modules["tersely.rewards.verify.verifier"].Verifier.start = lambda self: None  # it starts on demand as well
    for module in RUN_AS_MAIN:
        sys.modules.pop(module, None)
    assert len(os.listdir("/proc/self/task")) == 1, "a process with threads cannot be forked"
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{place}.new")
    listener.listen(16)
    os.rename(f"{place}.new", place)
    running, owned = 0, os.pidfd_open(owner)
    while owned not in (ready := select.select([listener, owned], [], [], 1)[0]):
        if ready:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                attend(connection)
            connection.close()
            running += 1
        while running and os.waitpid(-1, os.WNOHANG)[0]:
            running -= 1


def preload_vllm() -> None:
    """On a CPU vLLM starts the processes of an engine anew; here they are forked, as on a GPU."""
    from vllm.utils import system_utils

    system_utils.get_mp_context = lambda: multiprocessing.get_context("fork")
    for module in VLLM:
        importlib.import_module(module)


def attend(client: socket.socket) -> None:
    """Start the client's command, pass its signals on, return its exit status; a client that ends takes it along."""
    head, descriptors, _, _ = socket.recv_fds(client, 8, 4)
    (length,) = struct.unpack("q", head)
    text = b""
    while len(text) < length:
        text += client.recv(length - len(text))
    command = os.fork()
    if command == 0:
        client.close()
        execute(descriptors, *json.loads(text))
    ended = os.pidfd_open(command)
    while ended not in (ready := select.select([ended, client], [], [])[0]):
        number = client.recv(1) if client in ready else b""
        if number:
            os.kill(command, number[0])
        else:
            os.killpg(command, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
    client.send(struct.pack("i", status))
    os._exit(0)


def enter(network: int) -> None:
    """The client's network, if it is another one than this process's."""
    if os.fstat(network).st_ino != os.stat("/proc/self/ns/net").st_ino:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.setns(network, 0x40000000) == 0, os.strerror(ctypes.get_errno())  # CLONE_NEWNET
    os.close(network)


def execute(descriptors: list[int], words: list[str], environment: dict[str, str], folder: str) -> None:
    """What an interpreter does with `[-u]`, and `-m MODULE`, `-c CODE` or `SCRIPT` with arguments."""
    import numpy

    from tersely.launch.clean_exit import end_process

    os.setsid()
    enter(descriptors.pop(0))
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    imported = (os.environ.get("PYTHONPATH") or "").split(os.pathsep)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    random.seed()
    numpy.random.seed()
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [folder, *paths, *(path for path in sys.path[1:] if path not in imported)]
    if words[0] == "-u":
        sys.stdout.reconfigure(line_buffering=True)
        del words[0]
    status = 1
    try:
        if words[0] == "-m":
            sys.argv[1:] = words[2:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        elif words[0] == "-c":
            sys.argv[:] = ["-c", *words[2:]]
            exec(words[1], {"__name__": "__main__", "__builtins__": __builtins__})
        else:
            sys.argv[:] = words
            sys.path[0] = os.path.dirname(os.path.abspath(words[0]))
            runpy.run_path(words[0], run_name="__main__")
        status = 0
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        if isinstance(exit.code, str):
            print(exit.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    end_process(status)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
