"""DiffAdapt (2510.19669; instructions ours): a probe of the prompt selects one of three decoding settings.

    easy    temperature 0.5, cap 0.4 x budget, solve directly
    normal  temperature 0.8, cap 1.0 x budget, step by step
    hard    temperature 0.4, cap 0.5 x budget, the key insight or stop

The probe (two layers on the last hidden state of the neutral prompt's last token) comes from `tersely fit diff_adapt`.
Compare it with `forced_answer` at the same caps: part of the saving comes from the cap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from tersely.core.errors import ConfigError, require_range
from tersely.data.benchmarks import Sampling
from tersely.engines.base import Engine
from tersely.eval.decoding.base import Decoded, Prompt, Row, Session, Strategy

CLASSES = ("easy", "normal", "hard")
WAYS = {
    "easy": (0.5, 0.4, "Solve this directly and verify briefly."),
    "normal": (0.8, 1.0, "Solve this step by step."),
    "hard": (0.4, 0.5, "Find the key insight, and stop if it does not come."),
}


@dataclass(frozen=True)
class DiffAdapt(Strategy):
    needs: ClassVar[tuple[str, ...]] = ("hidden_states",)

    probe: str
    """Probe file, written by `tersely fit diff_adapt`."""
    budget: int
    """Token cap of the class `normal`."""
    instructions: bool = True

    def __post_init__(self) -> None:
        require_range("diff_adapt.budget", self.budget, at_least=1)

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        session = Session(engine, sampling, seed)
        names = self.classes(engine, [prompt.prompt_ids for prompt in prompts])
        rows = [
            Row(prompt, prompt.instructed(WAYS[name][2] if self.instructions else ""))
            for prompt, name in zip(prompts, names, strict=True)
        ]
        caps = [max(1, int(WAYS[name][1] * self.budget)) for name in names]
        session.advance(
            rows,
            [min(row.left, cap) for row, cap in zip(rows, caps, strict=True)],
            "sample",
            temperatures=[WAYS[name][0] for name in names],
        )
        return [session.decoded(row, budget=float(cap)) for row, cap in zip(rows, caps, strict=True)]

    def classes(self, engine: Engine, prompts: Sequence[Sequence[int]]) -> list[str]:
        """Class of every prompt, predicted by the probe."""
        weights = load_probe(self.probe)
        with torch.no_grad():
            model = engine.reading_model()
            states = torch.stack([last_state(model, ids) for ids in prompts]) if prompts else torch.empty(0)
            if len(states) and states.shape[1] != weights["w1"].shape[1]:
                raise ConfigError(
                    f"diff_adapt.probe: got {self.probe} for {weights['w1'].shape[1]} units; expected {states.shape[1]}"
                )
            return [CLASSES[i] for i in probe_logits(weights, states).argmax(1).tolist()] if len(states) else []


def probe_logits(weights: dict[str, Tensor], states: Tensor) -> Tensor:
    """(N, H) -> (N, 3)."""
    x = (states - weights["mean"]) / weights["scale"]
    return torch.relu(x @ weights["w1"].T + weights["b1"]) @ weights["w2"].T + weights["b2"]


def last_state(model: Any, ids: Sequence[int]) -> Tensor:
    """(H,) float32 on the CPU: last layer, last token."""
    device = next(model.parameters()).device
    output = model(torch.tensor([list(ids)], device=device), output_hidden_states=True, logits_to_keep=1)
    return output.hidden_states[-1][0, -1].float().cpu()


def load_probe(path: str) -> dict[str, Tensor]:
    """mean, scale (H,), w1 (D, H), b1 (D,), w2 (3, D), b2 (3,)."""
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise ConfigError(f"diff_adapt.probe: got {path!r}; no such file. Create one with `tersely fit diff_adapt`")
    return load_file(path)
