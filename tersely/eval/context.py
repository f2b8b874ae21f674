"""Computes the longest sequence of an evaluation, so that the engine does not reserve the model's full context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tersely.data.benchmarks import Benchmark, load_benchmark
from tersely.engines.chat import Prompting
from tersely.eval.trained_prompt import asked

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STRATEGY_TOKENS = 1024
"""Tokens that a decoding strategy may add to prompts and answers: instructions, forced answers, probes."""


def needed_context(
    tokenizer: PreTrainedTokenizerBase,
    benchmarks: Sequence[Benchmark],
    strategies: Mapping[str, Sequence[Any]],
    max_new_tokens: int | None = None,
    prompting: Prompting | None = None,
    limit: int | None = None,
    instruction: str | None = None,
    system_prompt: str | None = None,
) -> int:
    """Tokens of the longest prompt plus answer over the benchmarks.

    `strategies`: benchmark name -> strategies. `prompting`: the model's trained prompting; instruction and system_prompt
    override it.
    """
    longest, prompting = 0, prompting or Prompting()
    for benchmark in benchmarks:
        sentence, system = asked(prompting, benchmark, instruction, system_prompt)
        _, rows, _ = load_benchmark(benchmark, limit=limit, instruction=sentence, system_prompt=system)
        prompts = (prompting.ids(tokenizer, row["prompt"]) for row in rows)
        room = 0 if all(chosen.name == "vanilla" for chosen in strategies[benchmark.name]) else STRATEGY_TOKENS
        cap = max_new_tokens or benchmark.sampling.max_new_tokens
        longest = max(longest, max(map(len, prompts), default=0) + cap + room)
    return longest
