"""Messages of the library: what the logger `tersely` receives is printed on standard output, one line per message.

    logging.getLogger("tersely").setLevel("WARNING")    no progress, only warnings
    logging.getLogger("tersely").handlers.clear()       nothing is printed; add your own handlers

Warnings begin with `warning: `. On a terminal they are coloured.
Only the main process of a run logs progress: callers ask `is_main_process`.
"""

from __future__ import annotations

import logging
import os
import sys

from tersely.core.findings import Finding


class Lines(logging.Handler):
    """Prints the message as it is, without wrapping. The stream is looked up at each message."""

    def emit(self, record: logging.LogRecord) -> None:
        from rich.console import Console
        from rich.text import Text

        warning = record.levelno >= logging.WARNING
        try:
            text = f"{record.levelname.lower()}: {record.getMessage()}" if warning else record.getMessage()
            Console(file=sys.stdout, soft_wrap=True).print(Text(text, style="yellow" if warning else ""))
        except Exception:
            self.handleError(record)


def get_logger(name: str) -> logging.Logger:
    """The logger of a module, `get_logger(__name__)`; the first call gives `tersely` its handler and the level INFO."""
    root = logging.getLogger("tersely")
    if not root.handlers and root.level == logging.NOTSET:
        root.addHandler(Lines())
        root.setLevel(logging.INFO)
        root.propagate = False
    return logging.getLogger(name)


def log_line(text: str) -> None:
    """Log a line of progress of a command."""
    get_logger("tersely").info(text)


def log_finding(finding: Finding) -> None:
    """Log the result of a check: `warn` and `fail` as warnings, others as progress."""
    if finding.level in ("warn", "fail"):
        get_logger("tersely").warning(finding.line)
    else:
        log_line(f"{finding.level}: {finding.line}")


def is_main_process() -> bool:
    """True on rank 0, from the launcher's environment, before there is a process group."""
    return os.environ.get("RANK", "0") == "0"
