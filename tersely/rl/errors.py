"""Exceptions that end a run: `RunStopped`, `StoppedByGuard`."""

from __future__ import annotations


class RunStopped(RuntimeError):
    """The run cannot continue; the message has the cause and a fix. The last complete checkpoint is kept."""


class StoppedByGuard(RunStopped):
    """A guard stopped the run. Resumed without changes, the run would stop again."""

    exit_code = 3
