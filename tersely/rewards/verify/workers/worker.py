"""The fork server process, which has math-verify loaded, and the workers that it forks.

Loading sympy takes more than a second, forking a process that has loaded it a few milliseconds, so a killed worker is
replaced at once. The fork server (`nursery`) is a fresh interpreter, never a fork of the owner, whose threads and devices
it must not inherit. It has one thread and owns its workers' process group. When the owner's socket closes or the owner is
gone, it kills the group and itself, so no process outlives the owner.
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


def nursery(arguments: str) -> None:
    """Serve forks over the socket named in `arguments` (JSON: fd, memory, recycle, policy, scorer, path, parent)."""
    options = json.loads(arguments)
    os.setsid()
    control = socket.socket(fileno=options["fd"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        engine = _engine(options)
    except BaseException as error:
        control.sendall(pack({"error": f"{type(error).__name__}: {error}"}))
        os._exit(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
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
                _work(socket.socket(fileno=descriptors[0]), engine, options)
                os._exit(0)
            for descriptor in descriptors:
                os.close(descriptor)
            control.sendall(pack({"pid": pid}))
    except OSError:
        pass
    finally:
        os.killpg(0, signal.SIGKILL)


def _engine(options: dict[str, Any]) -> Engine | ScorerEngine:
    """What the workers compare with: math-verify, or the scorer that `options` names."""
    if options["scorer"] is None:
        from tersely.rewards.verify.compare.math_verify import Engine, warm_up

        engine = Engine(options["policy"])
        warm_up(engine)
        return engine
    from tersely.rewards.verify.scorers.engine import ScorerEngine

    sys.path += [place for place in options["path"] if place not in sys.path]
    scorer = ScorerEngine(options["scorer"])
    # A scorer's libraries may map more than the limit of a worker: the limit is for what an answer adds.
    options["mapped"] = psutil.Process().memory_info().vms
    return scorer


def _work(connection: socket.socket, engine: Engine | ScorerEngine, options: dict[str, Any]) -> None:
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
                # An allocation that failed deep inside is swallowed as "not equal", which is not a verdict.
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
    nursery(sys.argv[1])
