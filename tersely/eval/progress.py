"""Shows the progress of an evaluation with an ETA: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TextIO


class Progress:
    """Counts samples of one benchmark. `done`: samples from an earlier start, which do not count in the rate."""

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
            self._say(f"{title}: {done} of {total} samples already exist")

    def add(self, lengths: Sequence[int]) -> None:
        """Count finished samples; `lengths`: their tokens."""
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
        """Progress line: `testbed: 256/1024 samples, 25 %, 450 tokens/s, ETA 0:00:31`."""
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
