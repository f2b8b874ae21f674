"""Progress of an evaluation with an ETA: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TextIO


class Progress:
    """Counts samples of one benchmark. `done` were there from an earlier start and do not enter the rate."""

    def __init__(self, title: str, total: int, done: int = 0, *, stream: TextIO | None = None, every_s: float = 10.0):
        self.title, self.total, self.done, self.every_s = title, total, done, every_s
        self.stream = stream or sys.stderr
        self.fresh, self.tokens = 0, 0
        self.began = self.last = time.monotonic()
        self.bar: Any = None
        if self.stream.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=total, initial=done, desc=title, unit="sample", file=self.stream, smoothing=0.1)
        elif done:
            self._say(f"{title}: {done} of {total} samples are there already")

    def add(self, lengths: Sequence[int]) -> None:
        """Some samples are finished; `lengths` are their tokens."""
        self.done += len(lengths)
        self.fresh += len(lengths)
        self.tokens += sum(lengths)
        seconds = max(time.monotonic() - self.began, 1e-9)
        if self.bar is not None:
            self.bar.set_postfix_str(f"{self.tokens / seconds:.0f} tokens/s", refresh=False)
            self.bar.update(len(lengths))
        elif time.monotonic() - self.last >= self.every_s or self.done >= self.total:
            self.last = time.monotonic()
            self._say(self.line(seconds))

    def line(self, seconds: float) -> str:
        """`testbed: 256/1024 samples, 25 %, 450 tokens/s, ETA 0:00:31`."""
        left = timedelta(seconds=round((self.total - self.done) * seconds / max(self.fresh, 1)))
        share = 100 * self.done // max(self.total, 1)
        return (
            f"{self.title}: {self.done}/{self.total} samples, {share} %, {self.tokens / seconds:.0f} tokens/s, "
            f"{timedelta(seconds=round(seconds))} so far, ETA {left}"
        )

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def _say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)
