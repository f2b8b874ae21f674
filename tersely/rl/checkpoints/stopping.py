"""Requests to save and stop, from the scheduler or by hand: SIGUSR1, or the end of the job's time.

The signal is blocked, not handled: it stays pending until `request` checks it, interrupts nothing, and children inherit the
block, so that a scheduler that signals every process of a job step kills no verifier and no engine. Call `block` before
the first thread starts, because a thread that does not block the signal would end the process.
"""

from __future__ import annotations

import os
import signal
import time

SIGNAL = signal.SIGUSR1
STOP_AT = "TERSELY_STOP_AT"
"""Environment variable: end of the job, seconds since 1970."""
SAVED_AND_STOPPED = 75
"""Exit status of a run that saved and stopped on request: EX_TEMPFAIL; continue with `--resume`."""


class SavedAndStopped(RuntimeError):
    """The run saved a complete checkpoint and stopped before the planned end; continue with `--resume`."""

    @property
    def exit_code(self) -> int:
        """75, or 0 under torchrun and `accelerate launch`, whose agent reports any other status as a crash.

        In that case, an unfinished run is a run directory without `final/`.
        """
        return 0 if "TORCHELASTIC_RUN_ID" in os.environ else SAVED_AND_STOPPED


def block() -> None:
    """Block the signal until `request` checks it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {SIGNAL})


def request(needed_s: float, now: float | None = None) -> str | None:
    """Reason to save and stop, or None. needed_s: seconds for one more step and a save."""
    if SIGNAL in signal.sigpending():
        return "requested by SIGUSR1"
    end = os.environ.get(STOP_AT, "")
    left = float(end) - (time.time() if now is None else now) if end else float("inf")
    if left < needed_s:
        return f"{left:.0f} s of the job's time are left; the next step and a save may take {needed_s:.0f} s"
    return None
