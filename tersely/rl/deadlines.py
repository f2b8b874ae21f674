"""No wait without an end: each rank says what it is doing, and one that does it for too long is stopped by name.

Every rank keeps `run_dir/ranks/rank-<n>.json`: its process, host, phase, and when it was last alive. A thread of its own
writes it, so that a rank that waits is told from one that is gone. Where a phase outlasts the deadline, or a collective
operation breaks, the files of the others say who was waited for.
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

from tersely.checks import SpecError
from tersely.rl.checkpoint import write_json
from tersely.rl.stopping import SavedAndStopped

TEARDOWN_S = 30
"""Seconds that a process may take to end after a broken collective, whose threads can hang in their destructors."""
COLLECTIVE_WORDS = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "timed out waiting")


class Watch:
    """This rank's phase, its heartbeat, and the end of a phase that outlasts `deadline_s`."""

    def __init__(self, run_dir: str | Path, deadline_s: float, rank: int = 0, ranks: int = 1):
        if not deadline_s > 0:
            raise SpecError(f"deadline_seconds is {deadline_s}; it must be above 0")
        self.folder, self.deadline_s, self.rank, self.ranks = Path(run_dir) / "ranks", deadline_s, rank, ranks
        self.interval = min(5.0, deadline_s / 8)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
        self.now("starting")

    def now(self, phase: str) -> None:
        """This rank gets on: it does `phase` from here."""
        self.phase, self._since = phase, time.monotonic()

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write()
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    def others(self) -> str:
        """One clause for each other rank: gone, silent, or alive and where."""
        return "; ".join(self._about(rank) for rank in range(self.ranks) if rank != self.rank)

    def _about(self, rank: int) -> str:
        try:
            found = json.loads((self.folder / f"rank-{rank}.json").read_text())
        except (OSError, ValueError):
            return f"rank {rank} has never been heard of"
        who = f"rank {rank} (process {found['pid']} on {found['host']}, in: {found['phase']})"
        silent = time.time() - found["alive"]
        if found["host"] == socket.gethostname() and not Path(f"/proc/{found['pid']}").exists():
            return f"{who} is gone; its own output says why, unless it was killed"
        if silent > 3 * self.interval + 1:
            return f"{who} has not been heard of for {silent:.0f} s: killed, stopped, or its host is out of reach"
        return f"{who} is alive"

    def _write(self) -> None:
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "phase": self.phase, "alive": time.time()}
        with suppress(OSError):  # a full disk is noticed by whoever needs what it writes
            write_json(self.folder / f"rank-{self.rank}.json", facts)

    def _watch(self) -> None:
        while not self._ended.wait(self.interval):
            self._write()
            waited = time.monotonic() - self._since
            if waited > self.deadline_s:
                self._give_up(waited)

    def _give_up(self, waited: float) -> None:
        others = f" The others: {self.others()}." if self.ranks > 1 else ""
        print(
            f"error: rank {self.rank} has been in '{self.phase}' for {waited:.0f} s, past deadline_seconds "
            f"{self.deadline_s:.0f}.{others} Where it stands follows. The last whole checkpoint stays; `--resume` goes "
            "on from it. Raise deadline_seconds where this phase may take longer",
            file=sys.stderr,
            flush=True,
        )
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
        os._exit(1)


_watch: Watch | None = None


def now(phase: str) -> None:
    """Tell this process's watch, if there is one, that it gets on."""
    if _watch is not None:
        _watch.now(phase)


@contextmanager
def watched(run_dir: str | Path, deadline_s: float) -> Iterator[None]:
    """Watch this rank inside the block; a broken collective is said with who was waited for, a full disk as such."""
    global _watch
    watch = Watch(run_dir, deadline_s, int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    watch.start()
    _watch = watch
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
                f"the disk of {run_dir} is full (in: {watch.phase}). The last whole checkpoint stays; make room and "
                "--resume, or keep fewer by save_total_limit"
            ) from error
        if watch.ranks > 1 and broken_collective(error):
            time.sleep(2 * watch.interval if watch.interval < 1 else 1)  # whoever broke it may be ending just now
            faulthandler.dump_traceback_later(TEARDOWN_S, exit=True)
            reason = " ".join(str(error).split())[:200]
            raise RunStopped(
                f"rank {watch.rank} lost the others in '{watch.phase}': {watch.others()}. The last whole checkpoint "
                f"stays; `--resume` goes on from it ({reason})"
            ) from error
        raise
    finally:
        watch.stop()
        _watch = None


def leave_group() -> None:
    """Wait for the other ranks and end the process group, so that none breaks a collective of another by its end.

    Only where all ranks come here: after a failure the others may be gone, and nobody waits for them.
    """
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        from accelerate import PartialState

        now("leaving the other ranks")
        PartialState().wait_for_everyone()
        PartialState().destroy_process_group()


def broken_collective(error: BaseException) -> bool:
    """Did a collective operation fail, on gloo or NCCL?"""
    import torch

    kinds = (torch.distributed.DistError,) if torch.distributed.is_available() else ()
    text = str(error).lower()
    return isinstance(error, kinds) or (
        isinstance(error, RuntimeError) and any(words in text for words in COLLECTIVE_WORDS)
    )


def disk_full(error: BaseException, folder: str | Path) -> bool:
    """Is this error, or one that caused it, a full disk? Writers wrap it in errors of their own."""
    import errno
    import shutil

    seen: Any = error
    while seen is not None:
        if getattr(seen, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    writer = any(words in str(error) for words in ("PytorchStreamWriter", "unexpected pos", "inline_container"))
    return writer and shutil.disk_usage(folder).free < 1 << 20
