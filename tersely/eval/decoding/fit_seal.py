"""Fits SEAL's steering vector from traces: S = mean(execution) - mean(reflection and transition together).

A thought is the text between two borders of the thinking; its state is the layer's output at the last token of the
preceding border. Keywords in the lower-cased thought mark a transition or a reflection; any other thought is execution.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tersely.core.errors import ConfigError
from tersely.engines.base import Engine
from tersely.eval.decoding.seal import layers_of
from tersely.eval.decoding.traces import Trace
from tersely.eval.metrics.segments import kind_of, segments

DEPTH = 0.7  # layer 20 of the 28 of a 1.5B or 7B Qwen2


def thoughts(text: str, border: str) -> list[tuple[int, str]]:
    """(character just after the preceding border, thought) for the thoughts of the thinking part except the first."""
    return [(start, thought) for start, thought in segments(text, border) if start]


def fit_seal(
    engine: Engine, traces: Sequence[Trace], out: Path, layer: int | None = None, border: str = "\n\n"
) -> dict[str, Any]:
    """Fit the vector and write it to `out`; returns layer and counts. Raises `ConfigError` for a missing layer or class."""
    from safetensors.torch import save_file

    layers = layers_of(engine.model)
    layer = round(DEPTH * (len(layers) - 1)) if layer is None else layer
    if not 0 <= layer < len(layers):
        raise ConfigError(f"--layer: got {layer}; expected 0 to {len(layers) - 1}")
    sums: dict[str, Tensor] = {}
    counts = dict.fromkeys(("execution", "reflection", "transition"), 0)
    for trace in traces:
        places = thoughts(trace.text, border)
        if not places:
            continue
        states, ends = _states(engine, trace, layer)
        for opened, thought in places:
            token = next((i for i, end in enumerate(ends) if end >= opened), None)
            if token is not None:
                kind = kind_of(thought)
                counts[kind] += 1
                sums[kind] = sums.get(kind, torch.zeros_like(states[0])) + states[token]
    others = counts["reflection"] + counts["transition"]
    if not counts["execution"] or not others:
        raise ConfigError(
            f"the traces have {counts['execution']} thoughts of execution and {others} of reflection or transition; expected "
            "both. Use more traces, or another --border"
        )
    aside = sum(sums[kind] for kind in ("reflection", "transition") if kind in sums)
    vector = sums["execution"] / counts["execution"] - aside / others
    save_file({"vector": vector.contiguous()}, out, metadata={"layer": str(layer), "border": border})
    return {"layer": layer, **counts, "norm": round(float(vector.norm()), 3)}


@torch.no_grad()
def _states(engine: Engine, trace: Trace, layer: int) -> tuple[Tensor, list[int]]:
    """(T, H) outputs of the layer on the tokens of the text, and the character where each token ends."""
    ids = engine.tokenizer.encode(trace.text, add_special_tokens=False)
    ends, total = [], 0
    for token in ids:
        total += len(engine.tokenizer.decode([token]))
        ends.append(total)
    kept: list[Tensor] = []
    handle = layers_of(engine.model)[layer].register_forward_hook(
        lambda module, inputs, output: kept.append(output[0] if isinstance(output, tuple) else output)
    )
    try:
        device = next(engine.model.parameters()).device
        engine.model(torch.tensor([[*trace.prompt_ids, *ids]], device=device), logits_to_keep=1)
    finally:
        handle.remove()
    return kept[0][0, len(trace.prompt_ids) :].float().cpu(), ends
