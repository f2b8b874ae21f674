"""`Finding`: the result of one check with a suggested fix, as `tersely doctor` and `tersely preflight` print it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

LEVELS = {"ok": "green", "note": "cyan", "warn": "yellow", "fail": "bold red"}
"""`fail`: cannot work; `warn`: may not work; `note`: information."""


@dataclass(frozen=True)
class Finding:
    """One result of a check."""

    level: str
    """One of `LEVELS`."""
    subject: str
    text: str
    fix: str = ""
    """Suggested fix; empty if nothing is wrong."""

    @property
    def line(self) -> str:
        return f"{self.subject}: {self.text}" + (f"; {self.fix}" if self.fix else "")


def failed(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level == "fail"]


def show(findings: Sequence[Finding], summary: str = "") -> None:
    """Print findings on stdout, in colour on a terminal; values are never read as markup."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    width = max((len(finding.subject) for finding in findings), default=0)
    for finding in findings:
        line = Text(f"{finding.level:<4}  ", style=LEVELS[finding.level])
        line.append(f"{finding.subject:<{width}}  ", style="bold").append(finding.text, style="")
        if finding.fix:
            line.append(f"  -> {finding.fix}", style="italic")
        console.print(line)
    if summary:
        console.print(Text(summary, style="bold"))
    sys.stdout.flush()


def as_json(findings: Sequence[Finding], **more: Any) -> str:
    """{"findings": [{level, subject, text, fix}], "failed": n, ...}"""
    import json

    return json.dumps({"findings": [asdict(f) for f in findings], "failed": len(failed(findings)), **more}, indent=2)
