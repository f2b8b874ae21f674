"""Adds, adjusts and removes padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def padded(rows: Sequence[Sequence[float]], fill: float, side: str, multiple_of: int | None = None) -> Tensor:
    """Pad lists of unequal length to one (n, longest) tensor; float if `fill` is a float."""
    width = max(map(len, rows))
    if multiple_of:
        width = -(-width // multiple_of) * multiple_of
    found = torch.full((len(rows), width), fill)
    for i, row in enumerate(rows):
        where = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        found[i, where] = torch.tensor(row, dtype=found.dtype)
    return found


def fit_columns(values: Tensor, columns: int) -> Tensor:
    """Pad or cut (n, T') to (n, T), because other ranks may have longer or shorter rows."""
    if values.shape[1] >= columns:
        return values[:, :columns]
    return torch.nn.functional.pad(values, (0, columns - values.shape[1]))


def without_padding(inputs: dict[str, Any]) -> dict[str, Any]:
    """The micro-batch without columns that are padding in every row; they are masked anyway."""
    length = int(inputs["completion_mask"].sum(1).max().clamp(min=1))
    total = inputs["completion_mask"].shape[1]
    start = inputs["prompt_mask"].shape[1] - int(inputs["prompt_mask"].sum(1).max())
    trimmed = {
        key: value[:, :length]
        if isinstance(value, Tensor) and value.dim() == 2 and value.shape[1] == total and not key.startswith("prompt")
        else value
        for key, value in inputs.items()
    }
    return {**trimmed, **{key: inputs[key][:, start:] for key in ("prompt_ids", "prompt_mask")}}
