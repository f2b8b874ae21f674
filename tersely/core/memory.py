"""Prompt memory: values that a run keeps per prompt between visits."""

from __future__ import annotations

from collections.abc import Mapping


class PromptMemory:
    """Records of numbers by prompt id.

    One object per run: components write to it in `update`, which runs on gathered groups and is therefore the same on
    every rank; the checkpoint holds `state_dict()`. Ids are stable hashes of the dataset row, so a record survives
    restarts, a change of ranks, and a reordering of the data.
    """

    def __init__(self, records: Mapping[str, Mapping[str, float]] | None = None):
        self.records: dict[str, dict[str, float]] = {key: dict(record) for key, record in (records or {}).items()}

    def get(self, prompt_id: str, field: str, default: float | None = None) -> float | None:
        """The number stored under `field`, or `default`."""
        return self.records.get(prompt_id, {}).get(field, default)

    def set(self, prompt_id: str, field: str, value: float) -> None:
        """Store a number as a float."""
        self.records.setdefault(prompt_id, {})[field] = float(value)

    def forget(self, prompt_id: str, field: str) -> None:
        """Remove a number if it exists."""
        self.records.get(prompt_id, {}).pop(field, None)

    def state_dict(self) -> dict[str, dict[str, float]]:
        return {key: dict(record) for key, record in self.records.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        self.records = {key: dict(record) for key, record in state.items()}

    def __len__(self) -> int:
        return len(self.records)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PromptMemory) and self.records == other.records
