"""HAPO's adaptive temperature as a vLLM logits processor, for both of vLLM's model runners.

An engine loads `AdaptiveTemperature` only where it is given its name (`engines.sampling.PROCESSOR`). A request asks for it by
`extra_args["tersely_temperature"]` (`vllm_xargs` over HTTP), the JSON text that `HAPOTemperature.engine_arguments` writes:
parameters, and the statistics of the previous batch. Both runners call it on the raw logits, before they divide by the
request's temperature T_base, so it divides by T_t / T_base.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from vllm.v1.sample.logits_processor import LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from tersely.algorithms.sampling.hapo_temperature import HAPOTemperature

try:
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as V2LogitsProcessor
except ImportError:  # before 0.31 an engine with a logits processor always runs model runner V1
    V2LogitsProcessor = object  # type: ignore[assignment, misc]

KEY = "tersely_temperature"


class AdaptiveTemperature(LogitsProcessor, V2LogitsProcessor):
    """Class name for engines and servers; creates the variant for the calling model runner.

    The engine chooses the runner (by Triton, the platform, the model and the environment), so the class cannot be chosen in
    advance. Model runner V1 creates processors from (config, device, pin_memory), V2 from (config, request states).
    """

    def __new__(cls, vllm_config: Any, where: Any, *pin_memory: bool) -> Any:
        return TemperatureV1(where) if pin_memory else TemperatureV2(where)

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Raise `ValueError` (HTTP 400) for an invalid argument text."""
        if (text := _asked(sampling_params)) is not None:
            sampling_of(text)


class TemperatureV1(LogitsProcessor):
    """Variant for model runner V1, where vLLM reports moved rows. Rows with equal arguments are scaled together."""

    def __init__(self, device: torch.device):
        self.texts: dict[int, str] = {}
        self.groups: list[tuple[HAPOTemperature, Tensor | None]] = []
        self.device, self.rows = device, 0

    def is_argmax_invariant(self) -> bool:
        """False, although it keeps the argmax: argmax-invariant processors get scaled logits, this one needs raw logits."""
        return False

    def update_state(self, batch_update: Any) -> None:
        changed = process_dict_updates(self.texts, batch_update, lambda params, *_: _asked(params))
        if batch_update is not None and (changed or batch_update.batch_size != self.rows):
            self.rows = batch_update.batch_size
            self.groups = [(sampling_of(text), self._rows_of(text)) for text in dict.fromkeys(self.texts.values())]

    def _rows_of(self, text: str) -> Tensor | None:
        """Batch rows with these arguments; None for all rows."""
        rows = [row for row, asked in self.texts.items() if asked == text]
        return None if len(rows) == self.rows else torch.tensor(rows, device=self.device)

    def apply(self, logits: Tensor) -> Tensor:
        for sampling, rows in self.groups:
            part = logits if rows is None else logits[rows]
            factor = _factor(sampling, part)
            if rows is None:
                logits.div_(factor)
            else:
                logits[rows] = part / factor
        return logits


class TemperatureV2(V2LogitsProcessor):
    """Variant for model runner V2, where a request keeps its slot and each row of logits has a slot number.

    `apply` never waits for the device: arguments are looked up there, and only requests are counted here.
    """

    def __init__(self, states: Any):
        self.texts: list[str | None] = [None] * states.max_num_reqs
        self.known: list[str] = []
        self.numbers = torch.zeros(states.max_num_reqs, dtype=torch.int64, device=states.device)
        """Per slot: 0 without arguments, or the index of its text in `known`, from 1."""
        self.changed = False

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        self.texts[req_idx] = _asked(sampling_params)
        self.changed = True
        return self.texts[req_idx] is not None

    def apply_staged_writes(self) -> None:
        if self.changed:
            self.known = list(dict.fromkeys(text for text in self.texts if text is not None))
            places = {text: number for number, text in enumerate(self.known, 1)}
            self.numbers.copy_(torch.tensor([places[text] if text is not None else 0 for text in self.texts]))
            self.changed = False

    def apply(self, logits: Tensor, ctx: Any) -> Tensor:
        asked = [self.texts[slot] for slot in ctx.idx_mapping_np.tolist()]
        numbers = self.numbers[ctx.expanded_idx_mapping]
        for text in dict.fromkeys(asked):
            if text is None:
                continue
            factor = _factor(sampling_of(text), logits)
            if set(asked) != {text}:
                factor = torch.where((numbers == self.known.index(text) + 1).unsqueeze(1), factor, 1.0)
            logits.div_(factor)
        return logits


def _factor(sampling: HAPOTemperature, logits: Tensor) -> Tensor:
    """(R, 1) T_t / T_base of each row."""
    return (sampling.temperature(logits, sampling.current) / sampling.base_temperature).unsqueeze(1)


def _asked(params: Any) -> str | None:
    if not params.extra_args or params.temperature == 0:
        return None
    return params.extra_args.get(KEY)


@lru_cache(maxsize=8)
def sampling_of(text: str) -> HAPOTemperature:
    """Rebuild the sampling from the text of `engine_arguments`. Raises `ValueError` for anything else."""
    try:
        settings = json.loads(text)
        statistics = settings.pop("statistics")
        sampling = HAPOTemperature(**settings)
        sampling.load_state_dict({"current": statistics})
    except (TypeError, AttributeError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{KEY}: got {text!r:.200}; expected what HAPOTemperature.engine_arguments writes") from error
    return sampling
