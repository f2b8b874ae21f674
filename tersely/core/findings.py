"""`Finding`: one line per finding, with a suggested fix, as `tersely doctor` and `tersely preflight` print it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

LEVELS = {"ok": "green", "note": "cyan", "warn": "yellow", "fail": "bold red"}
"""`fail` is what cannot work, `warn` what may not, `note` what should be known."""


@dataclass(frozen=True)
class Finding:
    level: str
    """One of `LEVELS`."""
    subject: str
    text: str
    mend: str = ""
    """What to do about it; empty where nothing is wrong."""

    @property
    def line(self) -> str:
        return f"{self.subject}: {self.text}" + (f"; {self.mend}" if self.mend else "")


def failed(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level == "fail"]


def show(findings: Sequence[Finding], summary: str = "") -> None:
    """Print them on stdout, coloured on a terminal; values are text, never markup."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    width = max((len(finding.subject) for finding in findings), default=0)
    for finding in findings:
        line = Text(f"{finding.level:<4}  ", style=LEVELS[finding.level])
        line.append(f"{finding.subject:<{width}}  ", style="bold").append(finding.text, style="")
        if finding.mend:
            line.append(f"  -> {finding.mend}", style="italic")
        console.print(line)
    if summary:
        console.print(Text(summary, style="bold"))
    sys.stdout.flush()


def as_json(findings: Sequence[Finding], **more: Any) -> str:
    """{"findings": [{level, subject, text, mend}], "failed": n, ...}"""
    import json

    return json.dumps({"findings": [asdict(f) for f in findings], "failed": len(failed(findings)), **more}, indent=2)
