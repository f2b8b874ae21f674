"""SEAL (2504.07986, released replication): steers thinking away from reflection at the borders of thoughts.

    h <- h + alpha * S      at each generated token whose text ends in a double newline, in the output of one layer
    S = mean(execution) - mean(reflection and transition together), of that layer's output at the start of a thought

`tersely fit seal` computes S from the traces of an evaluated run. Alpha 0 is vanilla sampling. Scales of 0.75 and more
have caused loops in greedy decoding. Use layer 20 for 1.5B and 7B, 55 for 32B.
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
from tersely.engines.transformers import GumbelSampling
from tersely.eval.decoding.base import Decoded, Prompt, Session, Strategy, start
from tersely.eval.decoding.stepper import Stepper
from tersely.eval.decoding.stepwise import finish_rows, row_seeds

BORDER = "\n\n"


@dataclass(frozen=True)
class Seal(Strategy):
    needs: ClassVar[tuple[str, ...]] = ("model_access",)

    vector: str
    """File of S, written by `tersely fit seal`."""
    alpha: float = 1.0
    layer: int | None = None
    """None: the layer that the vector was fitted on."""

    def __post_init__(self) -> None:
        require_range("seal.alpha", self.alpha)
        require_range("seal.layer", self.layer, at_least=0)

    def __call__(self, engine: Engine, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Decoded]:
        model = engine.model
        vector, layer, border = load_vector(self.vector, model)
        session, rows = Session(engine, sampling, seed), start(prompts)
        hook = _Hook(self.alpha * vector)
        handle = layers_of(model)[layer if self.layer is None else self.layer].register_forward_hook(hook)
        try:
            self._decode(session, rows, hook, border)
        finally:
            handle.remove()
        return [session.decoded(row) for row in rows]

    def _decode(self, session: Session, rows: list[Any], hook: _Hook, border: str) -> None:
        draw = GumbelSampling(session.sampling.temperature, session.sampling.top_p, session.sampling.top_k)
        going = [i for i, row in enumerate(rows) if row.left > 0]
        if not going:
            return
        stepper = Stepper(session.engine, [rows[i].prompt_ids for i in going])
        seeds = row_seeds(session, [rows[i] for i in going], stepper.device)
        sampled: list[list[int]] = [[] for _ in rows]
        texts = [""] * len(rows)
        position = 0
        while going:
            token = draw(stepper.logits, seeds, position).argmax(1)
            position += 1
            kept = []
            for place, (i, value) in enumerate(zip(going, token.tolist(), strict=True)):
                sampled[i].append(value)
                texts[i] = (texts[i] + session.tokenizer.decode([value]))[-8:]
                if value not in stepper.stops and len(sampled[i]) < rows[i].left:
                    kept.append(place)
            going = [going[place] for place in kept]
            if not going:
                break
            index = torch.tensor(kept, device=stepper.device)
            token, seeds = token[index], seeds[index]
            stepper.select(index)
            hook.rows = torch.tensor([texts[i].endswith(border) for i in going], device=stepper.device)
            stepper.step(token)
        finish_rows(session, rows, sampled, "steered")


class _Hook:
    """Adds the vector to the marked rows; does nothing during the prefill phase."""

    def __init__(self, vector: Tensor):
        self.vector = vector
        self.rows: Tensor | None = None

    def __call__(self, module: Any, inputs: Any, output: Any) -> Any:
        if self.rows is None or not bool(self.rows.any()):
            return output
        hidden = output[0] if isinstance(output, tuple) else output
        moved = hidden + self.rows.to(hidden.dtype).view(-1, 1, 1) * self.vector.to(hidden)
        return (moved, *output[1:]) if isinstance(output, tuple) else moved


def layers_of(model: Any) -> Any:
    """The decoder layers of a transformers model."""
    layers = getattr(getattr(model, "model", model), "layers", None)
    if layers is None:
        raise ConfigError(f"seal: got {type(model).__name__}; expected a model with model.layers")
    return layers


def load_vector(path: str, model: Any) -> tuple[Tensor, int, str]:
    """Read (S (H,), layer, border of thoughts) from a file; raises `ConfigError` if it does not fit the model."""
    from safetensors import safe_open

    if not Path(path).is_file():
        raise ConfigError(f"seal.vector: got {path!r}; no such file. Create one with `tersely fit seal`")
    with safe_open(path, framework="pt") as file:
        vector, metadata = file.get_tensor("vector"), file.metadata() or {}
    if vector.shape != (model.config.hidden_size,):
        raise ConfigError(
            f"seal.vector: got {path} with shape {tuple(vector.shape)}; expected {model.config.hidden_size} units"
        )
    return vector.to(next(model.parameters()).device), int(metadata.get("layer", 20)), metadata.get("border", BORDER)
