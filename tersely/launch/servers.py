"""Starts rollout servers, then the training: `python -m tersely.launch.servers RECIPE ... -- COMMAND`.

    free ports -> one `tersely serve` each -> all healthy -> COMMAND --servers [...] -> it ends -> the servers end

If one server does not come up, the training does not start. No server outlives the training or its parent process. Each
start generates a key, unless TERSELY_SERVER_KEY is set.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from tersely.core.paths import path_option, place_option
from tersely.engines.server.auth import VARIABLE
from tersely.engines.server.process import ServerProcess
from tersely.launch.cli.parser import whole

START_S = 600.0
"""Time limit for a server to come up; enough to read a large model from a slow disk."""


def main(argv: Sequence[str]) -> int:
    """Start the servers and run the command; returns the command's exit status."""
    own, command = list(argv[: argv.index("--")]), list(argv[argv.index("--") + 1 :])
    parser = argparse.ArgumentParser(prog="tersely.launch.servers")
    parser.add_argument("recipe", type=place_option)
    parser.add_argument("--number", type=whole(1), default=1)
    parser.add_argument("--logs", type=path_option, required=True)
    parser.add_argument("--server-devices", action="append", default=[], help="CUDA_VISIBLE_DEVICES of one server")
    parser.add_argument("--training-devices")
    options, overrides = parser.parse_known_args(own)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    os.environ.setdefault(VARIABLE, secrets.token_hex(16))
    environment = dict(os.environ)
    if options.training_devices:
        environment["CUDA_VISIBLE_DEVICES"] = options.training_devices
    with servers(options.recipe, overrides, options.logs, options.number, options.server_devices) as started:
        addresses = json.dumps([server.address for server in started])
        training = subprocess.Popen([*command, "--servers", addresses], env=environment)
        try:
            gone: set[str] = set()
            while training.poll() is None:
                report_ended(started, gone)
                time.sleep(0.2)
            return training.returncode if training.returncode >= 0 else 128 - training.returncode
        finally:
            if training.poll() is None:
                training.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    training.wait(5)


@contextlib.contextmanager
def servers(
    recipe: str, overrides: Sequence[str], logs: Path, number: int, devices: Sequence[str] = ()
) -> Iterator[list[ServerProcess]]:
    """Start `number` servers on the loopback address and wait until they are healthy; their logs also go to stderr."""
    from tersely.engines.server.launch import free_port

    logs.mkdir(parents=True, exist_ok=True)
    attempt = 1 + max([int(p.stem.rpartition("-")[2]) for p in logs.glob("server-*-attempt-*.log")], default=0)
    started: list[ServerProcess] = []
    ended = threading.Event()
    try:
        for index in range(number):
            port, log = free_port(), logs / f"server-{index}-attempt-{attempt}.log"
            words = [sys.executable, "-m", "tersely.launch.cli.serve", recipe, *overrides, "--port", str(port)]
            started.append(ServerProcess(words, f"http://127.0.0.1:{port}", log, _environment(index, devices)))
            say(f"server {index}: {started[-1].address}, log in {log}")
            threading.Thread(target=_follow, args=(index, log, ended), daemon=True).start()
        for index, server in enumerate(started):
            server.wait_until_up(START_S, partial(_report, index))
            say(f"server {index}: up")
        yield started
    finally:
        ended.set()
        _close_all(started)


def report_ended(started: Sequence[ServerProcess], gone: set[str]) -> None:
    """Report once which server has ended, with the end of its log; the training decides whether it can continue."""
    for index, server in enumerate(started):
        if server.address not in gone and server.ended:
            gone.add(server.address)
            say(f"server {index} at {server.address} has ended; the end of {server.log}:\n{server.tail()}")


def _report(index: int, text: str) -> None:
    say(f"server {index}: {text}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _environment(index: int, devices: Sequence[str]) -> Mapping[str, str]:
    if index >= len(devices):
        return os.environ
    return {**os.environ, "CUDA_VISIBLE_DEVICES": devices[index]}


def _follow(index: int, log: Path, ended: threading.Event) -> None:
    """Copy the server's log to stderr, line by line."""
    with log.open(errors="replace") as file:
        rest = ""
        while True:
            last = ended.is_set()
            rest += file.read()
            *lines, rest = rest.split("\n")
            for line in filter(str.strip, lines):
                say(f"server {index}: {line}")
            if last:
                return
            ended.wait(0.5)


def _close_all(started: Sequence[ServerProcess]) -> None:
    """Stop all servers at the same time, and wait for each."""
    threads = [threading.Thread(target=server.close) for server in started]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    from tersely.launch.cli.main import run_command

    sys.exit(run_command(main, sys.argv[1:]))
