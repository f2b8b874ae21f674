"""Rollouts for the tests of reward terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tersely.core.types import Rollouts


def _tensor(name: str, value):
    import torch

    kinds = {"length": torch.int64, "truncated": torch.bool, "well_formed": torch.bool}
    if name in ("correct", "budget", *kinds) and not isinstance(value, torch.Tensor):
        return torch.tensor(value, dtype=kinds.get(name, torch.float32))
    return value


@pytest.fixture(scope="session")
def make_rollouts() -> Callable[..., Rollouts]:
    """`make_rollouts(length, correct, group_size=None, **fields)`: lists become tensors, one group by default."""
    from tersely.core.memory import PromptMemory
    from tersely.core.types import Rollouts

    def make(length, correct, group_size: int | None = None, **fields) -> Rollouts:
        rows = len(length)
        size = group_size or rows
        values = {
            "group_size": size,
            "prompt_id": [f"q{i // size}" for i in range(rows)],
            "length": length,
            "correct": correct,
            "truncated": [False] * rows,
            "max_length": 4096,
            "memory": PromptMemory(),
            **fields,
        }
        return Rollouts(**{name: _tensor(name, value) for name, value in values.items()})

    return make
