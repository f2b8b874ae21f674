"""The longest sequence of an evaluation, so that an engine reserves memory for that and not for the model's whole context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tersely.eval.benchmarks import Benchmark, load_benchmark

STRATEGY_TOKENS = 1024
"""Room for what a decoding strategy adds to prompts and answers: instructions, forced answers, probes."""


def needed_context(
    tokenizer: Any,
    benchmarks: Sequence[Benchmark],
    strategies: Mapping[str, Sequence[Any]],
    max_new_tokens: int | None = None,
    **how: Any,
) -> int:
    """Tokens of the longest prompt and its answer over the benchmarks.

    `strategies` are those of each benchmark by name, `how` the options that choose and phrase its problems (limit,
    instruction, system_prompt).
    """
    longest = 0
    for benchmark in benchmarks:
        _, rows, _ = load_benchmark(benchmark, **how)
        prompts = (
            tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False) for row in rows
        )
        room = 0 if all(chosen.name == "vanilla" for chosen in strategies[benchmark.name]) else STRATEGY_TOKENS
        cap = max_new_tokens or benchmark.sampling.max_new_tokens
        longest = max(longest, max(map(len, prompts), default=0) + cap + room)
    return longest
