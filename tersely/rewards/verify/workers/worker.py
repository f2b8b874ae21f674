"""Fork server process and its workers: imports math-verify or a scorer once, then forks a worker per request.

Importing sympy takes more than a second. Forking a process that has imported it takes milliseconds, so a killed worker is
replaced at once. The fork server is a fresh interpreter and not a fork of the owner, because it must not inherit the owner's
threads and devices. It has one thread and leads the process group of its workers. When the owner's socket closes or the
owner has exited, it kills the group and itself, so no process outlives the owner.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil

from tersely.rewards.verify.workers.wire import Buffer, pack, receive

if TYPE_CHECKING:
    from tersely.rewards.verify.compare.math_verify import Engine
    from tersely.rewards.verify.scorers.engine import ScorerEngine

_WATCH_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1


def serve_forks(arguments: str) -> None:
    """Fork workers on request over a socket. `arguments`: JSON of fd, memory, recycle, policy, scorer, path, parent."""
    options = json.loads(arguments)
    os.setsid()
    control = socket.socket(fileno=options["fd"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        engine = _engine(options)
    except BaseException as error:
        control.sendall(pack({"error": f"{type(error).__name__}: {error}"}))
        os._exit(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects ended workers
    control.sendall(pack({"ready": True}))
    try:
        while True:
            readable, _, _ = select.select([control], [], [], _WATCH_SECONDS)
            if os.getppid() != options["parent"]:
                break
            if not readable:
                continue
            data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not data:
                break
            pid = os.fork()
            if pid == 0:
                control.close()
                _serve_items(socket.socket(fileno=descriptors[0]), engine, options)
                os._exit(0)
            for descriptor in descriptors:
                os.close(descriptor)
            control.sendall(pack({"pid": pid}))
    except OSError:
        pass
    finally:
        os.killpg(0, signal.SIGKILL)


def _engine(options: dict[str, Any]) -> Engine | ScorerEngine:
    """Load the comparison with math-verify, or the scorer in `options`."""
    if options["scorer"] is None:
        from tersely.rewards.verify.compare.math_verify import Engine, warm_up

        engine = Engine(options["policy"])
        warm_up(engine)
        return engine
    from tersely.rewards.verify.scorers.engine import ScorerEngine

    sys.path += [place for place in options["path"] if place not in sys.path]
    scorer = ScorerEngine(options["scorer"])
    # A scorer's libraries may map more than a worker's limit, so the limit counts from here.
    options["mapped"] = psutil.Process().memory_info().vms
    return scorer


def _serve_items(connection: socket.socket, engine: Engine | ScorerEngine, options: dict[str, Any]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _die_with_parent()
    _limit_memory(options["memory"] + options.get("mapped", 0))
    buffer = Buffer()
    high_water = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + options["memory"] * 0.4
    while True:
        try:
            message = receive(connection, buffer)
            if message is None:
                return
            reply = _answer(engine, message["gold"], message["answer"])
            full = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > high_water
            if full and reply["status"] == "incorrect":
                # sympy may turn a failed allocation into "not equal", which is not a verdict.
                reply.update(status="undecided", path="memory")
            reply["last"] = full or reply["path"] == "memory"
            connection.sendall(pack(reply))
            if reply["last"]:
                return
        except MemoryError:
            os._exit(3)


def _answer(engine: Engine | ScorerEngine, gold: str, answer: str) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        status, path = engine.compare(gold, answer)
    except MemoryError:
        status, path = "undecided", "memory"
    except RecursionError:
        status, path = "undecided", "recursion"
    except Exception as error:
        status, path = "undecided", f"error:{type(error).__name__}"
    return {"status": status, "path": path, "seconds": time.perf_counter() - began}


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):  # not Linux: the fork server's process group remains
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit_memory(limit: int) -> None:
    for name in ("RLIMIT_AS", "RLIMIT_CORE"):
        value = 0 if name == "RLIMIT_CORE" else limit
        with contextlib.suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, name), (value, value))


if __name__ == "__main__":
    serve_forks(sys.argv[1])
