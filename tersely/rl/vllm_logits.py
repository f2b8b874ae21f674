"""HAPO's adaptive temperature inside vLLM: a logits processor, loaded by every engine through the entry point group
`vllm.logits_processors`, asleep until a request asks for it.

A request asks by `extra_args["tersely_temperature"]` (`vllm_xargs` over HTTP), the JSON text that
`HAPOTemperature.engine_arguments` writes: parameters, and the statistics of the previous batch. The processor runs on the
raw logits, before vLLM divides by the request's temperature T_base, and so divides by T_t / T_base.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from vllm.v1.sample.logits_processor import LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from tersely.algorithms.hapo_temperature import HAPOTemperature

KEY = "tersely_temperature"


class AdaptiveTemperature(LogitsProcessor):
    """Rows that ask, grouped by what they ask for: one pass over their logits."""

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Raises `ValueError` (HTTP 400) for a text that is none of ours."""
        if (text := _asked(sampling_params)) is not None:
            sampling_of(text)

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool):
        self.texts: dict[int, str] = {}
        self.groups: list[tuple[HAPOTemperature, Tensor | None]] = []
        self.device, self.rows = device, 0

    def is_argmax_invariant(self) -> bool:
        """It never moves the argmax, but those run after the temperature, and the entropy is of the raw logits."""
        return False

    def update_state(self, batch_update: Any) -> None:
        changed = process_dict_updates(self.texts, batch_update, lambda params, *_: _asked(params))
        if batch_update is not None and (changed or batch_update.batch_size != self.rows):
            self.rows = batch_update.batch_size
            self.groups = [(sampling_of(text), self._rows_of(text)) for text in dict.fromkeys(self.texts.values())]

    def _rows_of(self, text: str) -> Tensor | None:
        """Batch rows that ask for this; None where all do."""
        rows = [row for row, asked in self.texts.items() if asked == text]
        return None if len(rows) == self.rows else torch.tensor(rows, device=self.device)

    def apply(self, logits: Tensor) -> Tensor:
        for sampling, rows in self.groups:
            part = logits if rows is None else logits[rows]
            factor = sampling.temperature(part, sampling.current) / sampling.base_temperature
            if rows is None:
                logits.div_(factor.unsqueeze(1))
            else:
                logits[rows] = part / factor.unsqueeze(1)
        return logits


def _asked(params: Any) -> str | None:
    if not params.extra_args or params.temperature == 0:
        return None
    return params.extra_args.get(KEY)


@lru_cache(maxsize=8)
def sampling_of(text: str) -> HAPOTemperature:
    """The sampling that `engine_arguments` described. Raises `ValueError` for anything else."""
    try:
        settings = json.loads(text)
        statistics = settings.pop("statistics")
        sampling = HAPOTemperature(**settings)
        sampling.load_state_dict({"current": statistics})
    except (TypeError, AttributeError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{KEY} is {text!r:.200}; it must be what HAPOTemperature.engine_arguments writes") from error
    return sampling
