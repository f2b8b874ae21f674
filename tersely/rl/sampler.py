"""Rollouts from a transformers model, reproducible sample by sample.

Sampling is the Gumbel-max trick: argmax(logits / temperature + g) is a draw from softmax(logits / temperature) when g is
standard Gumbel noise. The noise is a hash of (seed of the sample, position, token id), so that a sample is the same
alone, in any batch, on any rank. transformers' own `generate` decodes; the noise is a logits processor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from tersely.rl.engine import Generation, GenerationRequest

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64, the splitmix64 increment
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's own keeps the sign)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """splitmix64's finaliser, on int64 with wrap-around."""
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def gumbel_noise(seeds: Tensor, position: int, vocabulary: int) -> Tensor:
    """(R, V) float32 standard Gumbel noise for R samples at one position; `seeds` (R,) int64."""
    place = torch.tensor(position + 1, dtype=torch.int64, device=seeds.device)
    row = _mix(seeds + place * _GOLDEN).unsqueeze(1)
    token = torch.arange(1, vocabulary + 1, dtype=torch.int64, device=seeds.device) * _GOLDEN
    bits = _shift(_mix(row + token), 40)  # 24 bits: exact in float32
    uniform = (bits.float() + 0.5) * 2.0**-24
    return -torch.log(-torch.log(uniform))


class GumbelSampling:
    """The logits processor: temperature, truncation, noise; the greedy choice after it is the sample."""

    def __init__(
        self, seeds: Tensor, prompt_length: int, temperature: float | Callable[[Tensor], Tensor], warpers: list
    ):
        self.seeds, self.prompt_length = seeds, prompt_length
        self.temperature, self.warpers = temperature, warpers

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.float()
        scores = self.temperature(scores) if callable(self.temperature) else scores / self.temperature
        for warper in self.warpers:
            scores = warper(input_ids, scores)
        return scores + gumbel_noise(self.seeds, input_ids.shape[1] - self.prompt_length, scores.shape[1])


class TransformersEngine:
    """Generates with a transformers model. The weights are the trainer's own, so there is nothing to synchronise.

    `unwrapped` returns a context manager that yields the plain model (gathered under ZeRO-3 or FSDP, gradient
    checkpointing off); without it the model is used as it is. Temperature 0 decodes greedily.
    """

    reports_logprobs = False

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        unwrapped: Callable[[], AbstractContextManager[Any]] | None = None,
        rows_at_once: int | None = None,
    ):
        self.model, self.tokenizer = model, tokenizer
        self.unwrapped = unwrapped or (lambda: nullcontext(model))
        self.rows_at_once = rows_at_once

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        *,
        temperature: float | Callable[[Tensor], Tensor] = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        extra_args: dict | None = None,
    ) -> list[Generation]:
        """One generation a request, in order. Rows of a batch stop at their own `max_new_tokens` or at EOS."""
        if not requests:
            return []
        with self.unwrapped() as model, torch.no_grad():
            was_training = model.training
            model.eval()
            try:
                size = self.rows_at_once or len(requests)
                return [
                    generation
                    for start in range(0, len(requests), size)
                    for generation in self._batch(model, requests[start : start + size], temperature, top_p, top_k)
                ]
            finally:
                model.train(was_training)

    def _batch(self, model, requests, temperature, top_p, top_k) -> list[Generation]:
        from transformers import GenerationConfig, LogitsProcessorList

        device = next(model.parameters()).device
        longest = max(len(request.prompt_ids) for request in requests)
        pad, stop = self._pad_id(), self.stop_ids(model)
        ids = torch.full((len(requests), longest), pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, request in enumerate(requests):
            ids[row, longest - len(request.prompt_ids) :] = torch.tensor(request.prompt_ids)
            mask[row, longest - len(request.prompt_ids) :] = 1
        processors = LogitsProcessorList()
        if callable(temperature) or temperature > 0:
            seeds = torch.tensor([request.seed for request in requests], dtype=torch.int64, device=device)
            processors.append(GumbelSampling(seeds, longest, temperature, _truncation(top_p, top_k)))
        config = GenerationConfig(
            max_new_tokens=max(request.max_new_tokens for request in requests),
            do_sample=False,
            pad_token_id=pad,
            eos_token_id=stop,
            disable_compile=True,
        )
        output = model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            generation_config=config,
            logits_processor=processors,
        )
        stops = set(stop)
        return [
            _cut(tokens, stops, request.max_new_tokens)
            for tokens, request in zip(output[:, longest:].tolist(), requests, strict=True)
        ]

    def stop_ids(self, model: Any) -> list[int]:
        """Every id that ends a completion: the tokenizer's EOS and those the model's generation config declares."""
        declared = getattr(model.generation_config, "eos_token_id", None)
        declared = declared if isinstance(declared, list) else [] if declared is None else [declared]
        return list(dict.fromkeys([self.tokenizer.eos_token_id, *declared]))

    def _pad_id(self) -> int:
        pad = self.tokenizer.pad_token_id
        return pad if pad is not None else self.tokenizer.eos_token_id

    def sync_weights(self, model: Any, version: int) -> None:
        """Nothing to do: the weights are shared."""

    def facts(self) -> dict[str, Any]:
        return {"engine": "transformers"}

    def close(self) -> None:
        """Nothing to release."""


def _truncation(top_p: float, top_k: int) -> list:
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    top_k_warper = [TopKLogitsWarper(top_k)] if top_k > 0 else []
    return top_k_warper + ([TopPLogitsWarper(top_p)] if top_p < 1.0 else [])


def _cut(tokens: list[int], stops: set[int], cap: int) -> Generation:
    tokens = tokens[:cap]
    for index, token in enumerate(tokens):
        if token in stops:
            return Generation(tuple(tokens[: index + 1]), None, "eos")
    return Generation(tuple(tokens), None, "length")
