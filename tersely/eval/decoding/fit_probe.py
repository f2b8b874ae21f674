"""Fits DiffAdapt's probe, two layers that predict easy, normal or hard from the prompt's last hidden state.

Labels come from the samples of a problem: mostly incorrect is hard; otherwise a mean token entropy above the median of
the solved problems is easy (correct although the model hesitates), and one below it is normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tersely.core.errors import ConfigError
from tersely.engines.base import Engine
from tersely.eval.decoding.diff_adapt import CLASSES, last_state, probe_logits
from tersely.eval.decoding.traces import Trace

UNITS, STEPS, RATE, DECAY = 64, 400, 1e-2, 1e-3


def fit_probe(engine: Engine, traces: Sequence[Trace], out: Path) -> dict[str, Any]:
    """Fit the probe and write it to `out`; returns problems per class and the accuracy on a held-out fifth."""
    from safetensors.torch import save_file

    by_problem: dict[str, list[Trace]] = {}
    for trace in traces:
        by_problem.setdefault(trace.prompt_id, []).append(trace)
    known = [group for group in by_problem.values() if any(trace.correct is not None for trace in group)]
    if len(known) < 10:
        raise ConfigError(
            f"the run has {len(known)} problems with a verdict; expected at least 10. Hundreds are better"
        )
    rates = torch.tensor([_mean([t.correct for t in group if t.correct is not None]) for group in known])
    spread = torch.tensor([_mean([mean_entropy(engine, trace) for trace in group]) for group in known])
    labels = label(rates, spread)
    with torch.no_grad():
        states = torch.stack([last_state(engine.model, group[0].prompt_ids) for group in known])
    held = torch.arange(len(known)) % 5 == 0
    weights = train(states[~held], labels[~held])
    save_file({name: value.contiguous() for name, value in weights.items()}, out)
    right = (probe_logits(weights, states[held]).argmax(1) == labels[held]).float().mean()
    counts = {name: int((labels == i).sum()) for i, name in enumerate(CLASSES)}
    return {**counts, "held_out_accuracy": round(float(right), 3)}


def label(rates: Tensor, entropies: Tensor) -> Tensor:
    """(P,) solve rates and mean entropies -> (P,) class numbers."""
    solved = rates >= 0.5
    middle = entropies[solved].median() if solved.any() else torch.tensor(0.0)
    return torch.where(solved, torch.where(entropies > middle, 0, 1), 2)


def train(states: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """(P, H) states and (P,) labels -> the probe's tensors; deterministic."""
    generator = torch.Generator().manual_seed(0)
    hidden = states.shape[1]
    weights = {
        "mean": states.mean(0),
        "scale": states.std(0).clamp(min=1e-6) if len(states) > 1 else torch.ones(hidden),
        "w1": torch.randn(UNITS, hidden, generator=generator) / hidden**0.5,
        "b1": torch.zeros(UNITS),
        "w2": torch.randn(len(CLASSES), UNITS, generator=generator) / UNITS**0.5,
        "b2": torch.zeros(len(CLASSES)),
    }
    learned = [weights[name].requires_grad_() for name in ("w1", "b1", "w2", "b2")]
    optimizer = torch.optim.AdamW(learned, lr=RATE, weight_decay=DECAY)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(probe_logits(weights, states), labels).backward()
        optimizer.step()
    return {name: value.detach() for name, value in weights.items()}


@torch.no_grad()
def mean_entropy(engine: Engine, trace: Trace) -> float:
    """Mean entropy of the model over the tokens of a trace, nats."""
    ids = engine.tokenizer.encode(trace.text, add_special_tokens=False)
    if not ids:
        return 0.0
    device = next(engine.model.parameters()).device
    logits = engine.model(torch.tensor([[*trace.prompt_ids, *ids]], device=device), logits_to_keep=len(ids) + 1).logits[
        0, :-1
    ]
    logp = torch.log_softmax(logits.float(), 1)
    return float(-(logp.exp() * logp).sum(1).mean())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
