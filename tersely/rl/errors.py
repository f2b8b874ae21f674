"""Exceptions that end a run: `RunStopped`, `StoppedByGuard`."""

from __future__ import annotations


class RunStopped(RuntimeError):
    """The run cannot go on; the message says what was seen and what to change. The last whole checkpoint stays."""


class StoppedByGuard(RunStopped):
    """A guard's threshold was passed. Resumed as it is, the run would do the same again."""

    exit_code = 3
