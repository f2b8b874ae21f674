"""Copies the trained weights to the reference model from time to time, for a teacher that follows the policy.

Checkpoints have the reference's weights, because a resumed run could not make those of an earlier step again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import TrainerCallback

from tersely.rl.update.vocabulary import whole

FILE = "reference.safetensors"
COPY, TRAINED = "ref", "default"
"""Names of two adapters, parts of the names of their parameters."""


def add_reference_adapter(model: Any) -> None:
    """Add a frozen copy of the trained adapter, as TRL does for an adapter that is trained further."""
    if COPY not in model.peft_config:
        model.add_adapter(COPY, model.peft_config[TRAINED])
        fill_reference_adapter(model)


def fill_reference_adapter(model: Any) -> None:
    """Copy the trained adapter to its frozen copy, if the model has one.

    TRL copies only parameters below a module with the adapter's name; a steering vector has that name itself.
    """
    for _, copy, trained in _adapter_pairs(model):
        copy.requires_grad_(False)
        copy.data.copy_(trained.data)


def _adapter_pairs(model: Any) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name and parameter of the copy, and the trained parameter."""
    if COPY not in getattr(model, "peft_config", {}):
        return
    for name, copy in model.named_parameters():
        parts = name.split(".")
        if COPY in parts:
            yield name, copy, model.get_parameter(".".join(TRAINED if part == COPY else part for part in parts))


@dataclass
class ReferenceUpdate(TrainerCallback):
    """`reference`: the reference model, or None if it is an adapter of `model`. Both without a parallel wrapper."""

    steps: int
    model: Any
    reference: Any | None
    main: bool = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self.steps == 0:
            for _name, copy, trained in self._pairs():
                with whole([copy, trained], writes=True):
                    copy.data.copy_(trained.data)

    def save(self, folder: Path) -> None:
        """Collective."""
        found: dict[str, Tensor] = {}
        for name, copy, _ in self._pairs():
            with whole([copy]):
                if self.main:
                    found[name] = copy.data.detach().to("cpu", copy=True).contiguous()
        if self.main:
            save_file(found, folder / FILE)

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Collective."""
        with safe_open(folder / FILE, "pt") as saved:
            for name, copy, _ in self._pairs():
                with whole([copy], writes=True):
                    copy.data.copy_(saved.get_tensor(name))

    def _pairs(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Name and parameter of the reference, and the trained parameter."""
        if self.reference is not None:
            named = self.reference.named_parameters()
            yield from ((name, copy, new) for (name, copy), new in zip(named, self.model.parameters(), strict=True))
            return
        yield from _adapter_pairs(self.model)
