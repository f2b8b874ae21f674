"""Builds the accelerate command of `tersely launch local`, runs it under the supervisor, logs it, and restarts it.

    this process -> supervisor (supervisor.py) -> accelerate launch -> the ranks -> their child processes

Ctrl-C or SIGTERM asks the ranks to save and stop at the next step; a second one, or `--grace` seconds, ends them.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

from tersely.core.errors import ConfigError, nearest
from tersely.engines.registry import needs_servers
from tersely.launch import sweep
from tersely.launch.ranks import Devices, devices_of
from tersely.rl.update.batch_size import PLANNED_WORLD_SIZE

SAVED_AND_STOPPED, INVALID_CONFIG, STOPPED_BY_GUARD = 75, 2, 3
NOT_RESTARTED = (SAVED_AND_STOPPED, INVALID_CONFIG, STOPPED_BY_GUARD)
"""Exit statuses of a training run that a restart would not fix."""
PAUSE_S = 5.0
"""Pause before a restart: ports and GPU memory are freed shortly after a process has ended."""
TAIL = 400
STATUS = re.compile(r"(?:non-zero exit status|exitcode\s*:)\s*(-?\d+)")
"""How accelerate and torchrun print a rank's exit status; their own status is always 1."""
ERROR = re.compile(r"(?:\[rank\d+\]:? ?)?error: ")
ON_CPU = ("--multi_gpu", "--num_machines", "1", "--dynamo_backend", "no")
"""`--cpu` would start a single process and ignore `--num_processes`; without a GPU the ranks use gloo."""


def start_of(variant: sweep.Variant, options: Any, rest: Sequence[str]) -> Start:
    """The command of one run; `rest`: the user's overrides."""
    from tersely.core.redact import secret_values, struck
    from tersely.launch.preflight.machine import gpu_names, visible_gpus

    recipe, words = variant.recipe, [*rest, *variant.words]
    run_dir = Path(recipe.run_dir)
    serve, names = needs_servers(recipe), gpu_names(visible_gpus())
    devices = devices_of(recipe, names, serve=serve, processes=options.processes, servers=options.rollout_servers)
    command = training_command(options, words, devices)
    if serve:
        command = [*serving_command(options.recipe, words, devices, run_dir / "logs"), "--", *command]
    secrets = secret_values(recipe.written)
    shown = [struck(word, secrets) for word in command]
    return Start(variant.name, command, run_dir, tuple(secrets), shown, devices)


@dataclass(frozen=True)
class Start:
    """Folder and command of one run."""

    name: str
    """"" without a sweep."""
    command: list[str]
    run_dir: Path
    secrets: tuple[str, ...]
    shown: list[str]
    """The command with secrets redacted."""
    devices: Devices


def check_recipes(variants: Sequence[sweep.Variant], starts: Sequence[Start]) -> None:
    """Raise what `train --dry-run` raises, for all runs, before anything starts."""
    import yaml

    from tersely.launch.preflight.recipe_check import check_in_process

    with tempfile.TemporaryDirectory() as folder:
        files: dict[int, list[str]] = {}
        for variant, start in zip(variants, starts, strict=True):
            path = Path(folder) / f"{variant.name or 'recipe'}.yaml"
            path.write_text(yaml.safe_dump(variant.recipe.to_dict(), allow_unicode=True), encoding="utf-8")
            files.setdefault(start.devices.ranks, []).append(str(path))
        for ranks, paths in files.items():
            check_in_process([*paths, "--ranks", str(ranks)])


def serving_command(recipe: str, overrides: Sequence[str], devices: Devices, logs: Path) -> list[str]:
    """Command prefix that starts the servers, one GPU each if there are GPUs, before the command that follows."""
    words = [sys.executable, "-m", "tersely.launch.servers", recipe, *overrides]
    words += ["--number", str(devices.servers), "--logs", str(logs)]
    if devices.training:
        words += ["--training-devices", ",".join(devices.training)]
        words += [word for name in devices.serving for word in ("--server-devices", name)]
    return words


def training_command(options: Any, overrides: Sequence[str], devices: Devices) -> list[str]:
    """Arguments of the accelerate command, without --resume."""
    config, processes = options.accelerate_config, devices.ranks
    if config is None and not devices.training and processes > 1:
        how = list(ON_CPU)
    else:
        file = accelerate_file(config or ("zero2" if processes > 1 else "single_gpu"))
        how = ["--config_file", str(file), *own_file_words(file)]
    if not devices.training:
        how += ["--mixed_precision", "no"]
    if processes > 1:
        how += ["--main_process_port", "0"]  # accelerate chooses a free port
    start = [sys.executable, "-m", "accelerate.commands.launch", *how, "--num_processes", str(processes)]
    return [*start, "-m", "tersely.launch.train", "--config", options.recipe, *overrides]


def own_file_words(file: Path) -> list[str]:
    """Options that override a user's accelerate file.

    DeepSpeed's other launchers write the environment, including keys, to `.deepspeed_env`; `gpu_ids` would replace
    CUDA_VISIBLE_DEVICES, which the number of ranks comes from.
    """
    return (
        []
        if file.parent.parent.name == "configs"
        else ["--deepspeed_multinode_launcher", "standard", "--gpu_ids", "all"]
    )


def accelerate_file(name: str) -> Path:
    """Path of an accelerate config: a shipped name or a file."""
    folder = Path(str(files("tersely.configs"))) / "accelerate"
    shipped = sorted(path.stem for path in folder.glob("*.yaml"))
    if name in shipped:
        return folder / f"{name}.yaml"
    if Path(name).is_file():
        return Path(name)
    raise ConfigError(
        f"--accelerate-config: got {name!r}; expected a file or a shipped config; {nearest(name, shipped)}"
    )


class Launch:
    """Runs the attempts of one run, in order."""

    def __init__(
        self,
        command: list[str],
        run_dir: Path,
        grace_s: int,
        secrets: Sequence[str] = (),
        devices: Devices | None = None,
    ):
        self.command, self.run_dir, self.grace_s, self.secrets, self.devices = (
            command,
            run_dir,
            grace_s,
            secrets,
            devices,
        )
        self.guard: subprocess.Popen | None = None
        self.asked: int | None = None
        """The signal that requested a stop."""
        self.tail: deque[str] = deque(maxlen=TAIL)
        self._terminal = True

    def run(self, retries: int, resume: bool) -> int:
        """Run all attempts; returns the exit status of the last one."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGALRM, self._end)
        # the parent process may block some signals, and all child processes would inherit that
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1})
        for left in range(retries, -1, -1):
            status = self.attempt(resume)
            if self.asked is not None or left == 0 or status in (0, *NOT_RESTARTED):
                break
            self.say(f"launch: exit status {status}; restarting with --resume, {left} of {retries} restarts left")
            self._pause()
            if self.asked is not None:
                break
            resume = True
        return status

    def attempt(self, resume: bool) -> int:
        """Run one attempt; its output goes to the terminal and to a log file."""
        log = next_log(self.run_dir)
        command = [*self.command, *(["--resume"] if resume else [])]
        self.tail.clear()
        with log.open("w", encoding="utf-8", errors="replace") as file:
            self.say(f"launch: {shlex.join(command)}", file)
            self.say(f"launch: log in {log}", file)
            if self.devices is not None:
                self.say(f"launch: {self.devices.line()}", file)
            self.guard = subprocess.Popen(
                [sys.executable, "-m", "tersely.launch.supervisor", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                bufsize=1,
                start_new_session=True,
                env=self._environment(),
            )
            if self.asked is not None:  # during the start
                self._end()
            assert self.guard.stdout is not None
            for line in self.guard.stdout:
                self.tail.append(line)
                self.say(line.rstrip("\n"), file)
            status = self.guard.wait()
            self.guard = None
            signal.alarm(0)
            status = self._status(status)
            if status and (error := next((line for line in self.tail if ERROR.match(line)), None)):
                self.say(error.rstrip("\n"), file)  # torchrun's traceback follows the first print
            self.say(f"launch: ended with exit status {status}: {self._meaning(status)}", file)
        return status

    def _environment(self) -> dict[str, str]:
        """Environment of the ranks: the training GPUs, and the number of ranks."""
        found = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if self.devices is not None:
            found[PLANNED_WORLD_SIZE] = str(self.devices.ranks)
            if self.devices.training:
                found["CUDA_VISIBLE_DEVICES"] = ",".join(self.devices.training)
        return found

    def _status(self, status: int) -> int:
        """The rank's exit status: accelerate's is always 1, and torchrun's is 0 for a saved stop."""
        if status == 1 and (found := STATUS.search("".join(self.tail))):
            status = int(found[1]) if int(found[1]) >= 0 else 128 - int(found[1])
        if status == 0 and not (self.run_dir / "final").exists():
            return SAVED_AND_STOPPED
        if self.asked is not None and status not in (0, SAVED_AND_STOPPED):
            return 128 + self.asked
        return status

    def _meaning(self, status: int) -> str:
        if status == 0:
            return f"finished; the weights are in {self.run_dir / 'final'}"
        if status == SAVED_AND_STOPPED:
            return "saved and stopped before the end; continue with --resume"
        if self.asked is not None:
            return "ended without saving; --resume continues from the last complete checkpoint"
        if status == STOPPED_BY_GUARD:
            return "stopped by a guard, and a restart would stop again; the last complete checkpoint is kept"
        return (
            "invalid configuration, see the lines above"
            if status == INVALID_CONFIG
            else "failed; the last complete checkpoint is kept"
        )

    def say(self, line: str, file: IO[str] | None = None) -> None:
        """Write a line to the terminal and the log, with secrets redacted. If one of the two fails, the other continues."""
        from tersely.core.redact import struck

        line = struck(line, self.secrets)
        if self._terminal:
            try:
                print(line, flush=True)
            except OSError:
                self._terminal = False
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if file is not None:
            try:
                file.write(line + "\n")
                file.flush()
            except OSError:
                file = None  # the disk is full; the ranks report it themselves

    def _pause(self) -> None:
        end = time.monotonic() + PAUSE_S
        while self.asked is None and time.monotonic() < end:
            time.sleep(0.1)

    def _stop(self, number: int, _frame: object) -> None:
        """First signal: save and stop. Second signal: end now. SIGUSR1 never ends the run."""
        again, self.asked = self.asked is not None and number != signal.SIGUSR1, number
        if self.guard is None:
            return
        if again:
            self._end()
            return
        sys.stderr.write(f"launch: saving and stopping within {self.grace_s} s; a second signal ends the run now\n")
        self.guard.send_signal(signal.SIGUSR1)
        signal.alarm(max(1, self.grace_s))

    def _end(self, *_: object) -> None:
        if self.guard is not None:
            self.guard.send_signal(signal.SIGTERM)


def next_log(run_dir: Path) -> Path:
    """Path of the next log: run_dir/logs/attempt-<n>.log, with the first unused n above the existing ones."""
    folder = run_dir / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"run_dir: cannot write to {run_dir} ({error.strerror}). Choose another folder with --run_dir"
        ) from None
    numbers = [int(found[1]) for path in folder.iterdir() if (found := re.fullmatch(r"attempt-(\d+)\.log", path.name))]
    return folder / f"attempt-{max(numbers, default=0) + 1}.log"
