"""Cache of verdicts by (reference answer, answer): rollouts of one prompt often give the same answer."""

from __future__ import annotations

from collections import OrderedDict

Entry = tuple[str, str]
_LONG = 4096


class Cache:
    """A bounded LRU cache. It has no lock: callers hold the verifier's lock."""

    def __init__(self, size: int):
        self.size = size
        self._entries: OrderedDict[tuple[str, str], Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, gold: str, answer: str) -> Entry | None:
        entry = self._entries.get((gold, answer))
        if entry is not None:
            self._entries.move_to_end((gold, answer))
        return entry

    def put(self, gold: str, answer: str, entry: Entry) -> None:
        if self.size <= 0 or len(gold) + len(answer) > _LONG:
            return
        self._entries[gold, answer] = entry
        self._entries.move_to_end((gold, answer))
        if len(self._entries) > self.size:
            self._entries.popitem(last=False)
