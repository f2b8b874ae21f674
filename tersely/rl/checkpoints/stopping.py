"""A request to save and stop, from the scheduler or by hand: SIGUSR1, or the end of the allotted time.

The signal is blocked, not handled: it stays pending until somebody looks, interrupts nothing, and children inherit the
block, so that a scheduler which signals every process of a job step kills no verifier and no engine. `block` must come
before the first thread is started, for a thread that does not block it would die of it.
"""

from __future__ import annotations

import os
import signal
import time

SIGNAL = signal.SIGUSR1
STOP_AT = "TERSELY_STOP_AT"
"""Environment variable: when the job ends, seconds since 1970."""
SAVED_AND_STOPPED = 75
"""Exit status of a run that saved and stopped because it was asked to: EX_TEMPFAIL, `--resume` goes on."""


class SavedAndStopped(RuntimeError):
    """Saved a whole checkpoint and stopped before the planned end; `--resume` goes on from it."""

    @property
    def exit_code(self) -> int:
        """75; but 0 under torchrun and `accelerate launch`, whose agent takes any other code for a crash.

        A run directory without `final/` is then what tells an unfinished run.
        """
        return 0 if "TORCHELASTIC_RUN_ID" in os.environ else SAVED_AND_STOPPED


def block() -> None:
    """Let the signal wait until `request` looks."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {SIGNAL})


def request(needed_s: float, now: float | None = None) -> str | None:
    """Why this process should save and stop, or None. needed_s: seconds that one more step and its saving take."""
    if SIGNAL in signal.sigpending():
        return "it was asked to by SIGUSR1"
    end = os.environ.get(STOP_AT, "")
    left = float(end) - (time.time() if now is None else now) if end else float("inf")
    if left < needed_s:
        return f"{left:.0f} s are left of the job's time, and the next step with its saving may take {needed_s:.0f} s"
    return None
