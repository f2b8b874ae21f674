"""Watchdog: each rank records its phase; a run without progress is ended, and the rank is named.

Progress is a new phase (`now`) or a heartbeat inside one (`beat`): a decoding step of an engine (tokens that a server
counts), a finished request, a micro-batch, a part of the log-prob pass. `deadline_seconds` bounds the time without any,
independent of the length of a step. A rank that waits for others has no progress itself, so it also checks theirs: it ends
the run if no rank has made progress for `deadline_seconds`, counted from half of it, when it starts checking.
`ddp_timeout` (default: a day) only limits waits that this misses.

Every rank writes `run_dir/ranks/rank-<n>.json`: process, host, phase, heartbeats, and the last time it was alive. A separate
thread writes it, which distinguishes a waiting rank from a dead one. After a timeout or a broken collective operation, the
files of the other ranks show which rank was missing.
"""

from __future__ import annotations

import faulthandler
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tersely.core import heartbeat
from tersely.core.errors import ConfigError
from tersely.core.files import write_json
from tersely.core.heartbeat import now
from tersely.rl.checkpoints.stopping import SavedAndStopped

TEARDOWN_S = 30
"""Time limit for a process to end after a broken collective, whose threads can hang in their destructors, seconds."""
NEW_FOLDER_S = 30.0
"""Seconds before the files are written if the run has no folder yet, so that a rejected recipe leaves no folder."""
COLLECTIVE_WORDS = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "timed out waiting")


class Watch:
    """Records this rank's phase and heartbeats, and ends a run without progress for `deadline_s`."""

    def __init__(self, run_dir: str | Path, deadline_s: float, rank: int = 0, ranks: int = 1):
        if not deadline_s > 0:
            raise ConfigError(f"deadline_seconds: got {deadline_s}; expected above 0")
        self.folder, self.deadline_s, self.rank, self.ranks = Path(run_dir) / "ranks", deadline_s, rank, ranks
        self.interval = min(5.0, deadline_s / 8)
        self.beats = 0
        self._began = time.monotonic()
        self._moved: dict[int, tuple[int, float]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
        self.now("starting")

    def now(self, phase: str) -> None:
        """Record that this rank starts `phase`."""
        self.phase = phase
        self.beat()

    def beat(self) -> None:
        """Record progress within the current phase."""
        self.beats, self._since = self.beats + 1, time.monotonic()

    def start(self) -> None:
        self._write()
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    def others(self) -> str:
        """State of each other rank: gone, silent, or alive with its phase."""
        return "; ".join(self._about(rank) for rank in range(self.ranks) if rank != self.rank)

    def _about(self, rank: int) -> str:
        try:
            found = json.loads((self.folder / f"rank-{rank}.json").read_text())
        except (OSError, ValueError):
            return f"rank {rank} has not started"
        who = f"rank {rank} (process {found['pid']} on {found['host']}, in: {found['phase']})"
        silent = time.time() - found["alive"]
        if found["host"] == socket.gethostname() and not psutil.pid_exists(found["pid"]):
            return f"{who} is gone; its output has the reason, unless it was killed"
        if silent > 3 * self.interval + 1:
            return f"{who} is silent for {silent:.0f} s: killed, stopped, or its host is unreachable"
        return f"{who} is alive"

    def _write(self) -> None:
        status = {"pid": os.getpid(), "host": socket.gethostname(), "phase": self.phase, "alive": time.time()}
        status["beats"] = self.beats
        if not self.folder.parent.exists() and time.monotonic() - self._began < NEW_FOLDER_S:
            return
        with suppress(OSError):  # a full disk is detected elsewhere
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / f"rank-{self.rank}.json", status)

    def _watch(self) -> None:
        while not self._ended.wait(self.interval):
            self._write()
            waited = time.monotonic() - self._since
            if waited <= self.deadline_s / 2:
                self._moved.clear()
            elif not self._others_move() and waited > self.deadline_s:
                self._give_up(waited)

    def _others_move(self) -> bool:
        """True if another rank has made progress within the deadline; uses counters, so that clocks of hosts do not matter."""
        at = time.monotonic()
        for rank in range(self.ranks):
            if rank == self.rank:
                continue
            try:
                beats = int(json.loads((self.folder / f"rank-{rank}.json").read_text())["beats"])
            except (OSError, ValueError, KeyError):
                continue
            if self._moved.get(rank, (-1, at))[0] != beats:
                self._moved[rank] = (beats, at)
        return any(at - moved <= self.deadline_s for _, moved in self._moved.values())

    def _give_up(self, waited: float) -> None:
        others = f" The others: {self.others()}." if self.ranks > 1 else ""
        print(
            f"error: rank {self.rank} has been in '{self.phase}' for {waited:.0f} s without progress, past deadline_seconds "
            f"{self.deadline_s:.0f}.{_lock_waited_for()}{others} Its stack follows. The last complete checkpoint is kept; "
            "continue with `--resume`. Raise deadline_seconds if one micro-batch or checkpoint takes longer",
            file=sys.stderr,
            flush=True,
        )
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
        os._exit(1)


def _lock_waited_for() -> str:
    """Text about the lock of a torch extension build, if the main thread waits for it; a killed build leaves it."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if frame.f_code.co_filename.endswith("file_baton.py") and "self" in frame.f_locals:
            path = Path(frame.f_locals["self"].lock_file_path)
            age = f", {time.time() - path.stat().st_mtime:.0f} s old" if path.exists() else ""
            return f" It waits for the build lock {path}{age}. If no process builds there, a killed one left it: remove it."
        frame = frame.f_back
    return ""


@contextmanager
def watched(run_dir: str | Path, deadline_s: float) -> Iterator[None]:
    """Context manager: watch this rank; report a broken collective with the missing ranks, and a full disk."""
    watch = Watch(run_dir, deadline_s, int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    watch.start()
    heartbeat.listener = watch
    try:
        yield
        leave_group()
    except SavedAndStopped:
        leave_group()
        raise
    except Exception as error:
        from tersely.rl.guards import RunStopped

        if disk_full(error, run_dir):
            raise RunStopped(
                f"the disk of {run_dir} is full (in: {watch.phase}). The last complete checkpoint is kept. Free disk space and "
                "use --resume, or lower save_total_limit"
            ) from error
        if watch.ranks > 1 and broken_collective(error):
            time.sleep(2 * watch.interval if watch.interval < 1 else 1)  # the rank that broke it may be about to end
            faulthandler.dump_traceback_later(TEARDOWN_S, exit=True)
            reason = " ".join(str(error).split())[:200]
            raise RunStopped(
                f"rank {watch.rank}: lost the other ranks in phase '{watch.phase}': {watch.others()}. The last complete "
                f"checkpoint is kept; continue with `--resume` ({reason})"
            ) from error
        raise
    finally:
        watch.stop()
        heartbeat.listener = None


def leave_group() -> None:
    """Wait for the other ranks and end the process group, so that no rank breaks another's collective when it ends.

    Only if all ranks get here: after a failure the others may be gone, so there is no wait.
    """
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        from accelerate import PartialState

        now("leaving the other ranks")
        PartialState().wait_for_everyone()
        PartialState().destroy_process_group()


def broken_collective(error: BaseException) -> bool:
    """True if a gloo or NCCL collective failed."""
    import torch

    kinds = (torch.distributed.DistError,) if torch.distributed.is_available() else ()
    text = str(error).lower()
    return isinstance(error, kinds) or (
        isinstance(error, RuntimeError) and any(words in text for words in COLLECTIVE_WORDS)
    )


def disk_full(error: BaseException, folder: str | Path) -> bool:
    """True if this error, or one that caused it, is a full disk; writers wrap it in other errors."""
    import errno
    import shutil

    seen: Any = error
    while seen is not None:
        if getattr(seen, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    writer = any(words in str(error) for words in ("PytorchStreamWriter", "unexpected pos", "inline_container"))
    return writer and shutil.disk_usage(folder).free < 1 << 20
