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
COPY, TRAINED = ".ref.", ".default."
"""In the names of the parameters of two adapters."""


def add_reference_adapter(model: Any) -> None:
    """Add a frozen copy of the trained adapter, as TRL does for an adapter that is trained further."""
    if "ref" in model.peft_config:
        return
    model.add_adapter("ref", model.peft_config["default"])
    for name, parameter in model.named_parameters():
        if COPY in name:
            parameter.requires_grad_(False)
            parameter.data.copy_(model.get_parameter(name.replace(COPY, TRAINED)).data)


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
        for name, copy in self.model.named_parameters():
            if COPY in name:
                yield name, copy, self.model.get_parameter(name.replace(COPY, TRAINED))
