"""The server of warm.py: imports the libraries once, and forks a process for each command."""

from __future__ import annotations

import gc
import importlib
import json
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
    *("tersely.launch.cli.train", "tersely.rl.trainer"),
)


def serve(place: str) -> None:
    """Accept commands on the socket `place` until SIGTERM, or until the process that started this one is gone."""
    for module in PRELOADED:
        importlib.import_module(module)
    del sys.modules["accelerate.commands.launch"]  # it is run as __main__
    assert len(os.listdir("/proc/self/task")) == 1, "a process with threads cannot be forked"
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{place}.new")
    listener.listen(16)
    os.rename(f"{place}.new", place)
    running, parent = 0, os.getppid()
    while os.getppid() == parent:
        if select.select([listener], [], [], 1)[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                attend(connection)
            connection.close()
            running += 1
        while running and os.waitpid(-1, os.WNOHANG)[0]:
            running -= 1


def attend(client: socket.socket) -> None:
    """Start the client's command, pass its signals on, return its exit status; a client that ends takes it along."""
    head, descriptors, _, _ = socket.recv_fds(client, 8, 3)
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
        os.kill(command, number[0] if number else signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
    client.send(struct.pack("i", status))
    os._exit(0)


def execute(descriptors: list[int], words: list[str], environment: dict[str, str], folder: str) -> None:
    """What an interpreter does with `[-u] -m MODULE ARGUMENTS` or `[-u] SCRIPT ARGUMENTS`."""
    import numpy

    from tersely.launch.clean_exit import end_process

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
    serve(sys.argv[1])
